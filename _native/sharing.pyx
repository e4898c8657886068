# cython: language_level=3
"""Lines that calls on several CPUs write, as the calls of one CPU find them.

How often other CPUs write them is told from outside (`contend`); whether they did so since this
CPU's last call is drawn at random, as for independent writes.
"""

from libc.stdint cimport int64_t

from tramposim._native.arrivals cimport LAST_TIME
from tramposim._native.rng cimport Xoshiro, portable_exp, uniform


cdef class SharedWrites:
    """What other CPUs do to the lines that calls on this one write, by `Groups`.

    `waited`: subcycles spent so far on waiting for lines that several CPUs want.
    """

    def contend(self, int group, double rate, int64_t wait):
        """Other CPUs write a group's lines at `rate` (per subcycle); a call that has to fetch
        them waits `wait` subcycles for others that want them too."""
        if not 0 <= group < TASK or not rate >= 0.0 or not 0 <= wait <= LAST_TIME >> 16:
            raise ValueError("no such group of lines, or a rate or wait out of range")
        self.rates[group] = rate
        self.waits[group] = wait

    def taken(self, int group):
        """Calls that found a group's lines on another CPU."""
        if not 0 <= group < GROUPS:
            raise ValueError("no such group of lines")
        return self.stolen[group]

    cdef int lost(self, int64_t now, Xoshiro *random) noexcept nogil:
        """Groups, as bits, that are on another CPU when a call begins at `now`."""
        cdef int group, found = 0
        cdef int64_t elapsed = now - self.then
        cdef double expected
        for group in range(<int>TASK):
            if self.rates[group] > 0.0 and self.called:
                expected = self.rates[group] * <double>elapsed
                if expected >= 40.0 or uniform(random) > portable_exp(-expected):
                    found |= 1 << group
                    self.stolen[group] += 1
        self.then, self.called = now, True
        if self.moved:
            self.moved = False
            found |= 1 << <int>TASK
            self.stolen[<int>TASK] += 1
        return found

    cdef int64_t wait(self, int lost) noexcept nogil:
        """Subcycles that a call waits which has lost these groups."""
        cdef int group
        cdef int64_t time = 0
        for group in range(<int>TASK):
            if lost >> group & 1:
                time += self.waits[group]
        self.waited += time
        return time
