# cython: language_level=3
"""A log of what CPUs do: requests, other tasks, ticks, interrupts, switches.

It holds the first `room` events; those after them are not kept. Times are in subcycles.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

cdef enum:
    MOST_EVENTS = 1 << 24


cdef class EventLog:
    """The first `room` events of a simulation; `full`: there were more."""

    def __cinit__(self):
        self.events = NULL

    def __init__(self, Py_ssize_t room):
        if self.events != NULL or not 1 <= room <= MOST_EVENTS:
            raise ValueError(f"a log of 1 to {MOST_EVENTS} events, made once")
        self.events = <Event *>malloc(room * sizeof(Event))
        if self.events == NULL:
            raise MemoryError
        self.room = room

    def __dealloc__(self):
        free(self.events)

    def __len__(self):
        return self.count

    cdef Event *add(self, int what, int cpu, int number, int64_t begin, int64_t end) noexcept nogil:
        """A new event, or NULL if there is no room for it."""
        cdef Event *event
        if self.count == self.room:
            self.full = True
            return NULL
        event = &self.events[self.count]
        self.count += 1
        event.what, event.cpu, event.number = what, cpu, number
        event.begin, event.end = begin, end
        event.arrival = begin
        event.into = event.called = 0
        event.done = True
        return event

    def take(self):
        """The events: (what, cpu, number, begin, end, arrival, into, called, done)."""
        cdef Py_ssize_t i
        cdef Event *event
        found = []
        for i in range(self.count):
            event = &self.events[i]
            found.append((event.what, event.cpu, event.number, event.begin, event.end,
                          event.arrival, event.into, event.called, event.done))
        return found
