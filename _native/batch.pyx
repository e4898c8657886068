# cython: language_level=3
"""Calls in batches: everything that happens on a CPU between two scheduling points.

A `CallQueue` is one task's first-come-first-served queue of calls, fed by one or more
flows (an arrival source with the cost of its calls). It runs only while a CPU is given to
it: each `run(now, until)` is one batch without any Python in it. A call in service when the
batch ends goes on in the next one (preemptive resume). Arrivals are drawn one ahead, so that
memory stays the same however far an overloaded queue falls behind.

Times are in subcycles (2**-16 core cycles), so that costs keep their fractions of a cycle
and all sums are exact integers.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, realloc

from tramposim._native.arrivals cimport (
    CLOSED, LAST_TIME, NEVER, ArrivalSource, source_next,
)
from tramposim._native.batch cimport FlowState
from tramposim._native.eventlog cimport COMPETING, REQUEST, Event, EventLog
from tramposim._native.histogram cimport LatencyHistogram, record
from tramposim._native.cpucalls cimport CpuCalls

cdef enum:
    MOST_FLOWS = 4096


cdef class CallQueue:
    """First-come-first-served calls of one task; see the module's text."""

    def __cinit__(self):
        self.serving = -1
        self.sleeps = True
        self.histograms = []
        self.sources = []

    def __dealloc__(self):
        free(self.flows)

    def add_flow(
        self,
        ArrivalSource source not None,
        int64_t service,
        LatencyHistogram histogram not None,
        int64_t called=0,
    ):
        """Feed the queue from `source`; each of its calls takes `service` subcycles (> 0), the
        first `called` of them in the traced function.

        `histogram` counts the times from arrival to completion of the completed calls; it may
        be shared by flows and queues.
        """
        if self.n_flows == MOST_FLOWS:
            raise ValueError(f"a queue takes at most {MOST_FLOWS} flows")
        if not 1 <= service <= LAST_TIME:
            raise ValueError("a call takes at least one subcycle")
        if self.clock:
            raise ValueError("flows are added before the queue first runs")
        cdef FlowState *grown = <FlowState *>realloc(
            self.flows, (self.n_flows + 1) * sizeof(FlowState)
        )
        if grown == NULL:
            raise MemoryError
        self.flows = grown
        cdef FlowState *flow = &self.flows[self.n_flows]
        flow.source = source.source
        flow.service = service
        flow.called = called
        flow.next_arrival = source_next(&flow.source)
        self.sources.append(source)
        self.histograms.append(histogram)
        self.n_flows += 1

    def position(self):
        """How far into its traced calls the call in service is: (subcycles, of how many).

        None if none is in service, or it is past them.
        """
        cdef int64_t done = self.wanted - self.remaining
        if self.serving < 0 or done >= self.called:
            return None
        return done, self.called

    cpdef void on(self, CpuCalls found, int cpu=0) noexcept:
        """CPU number `cpu` runs the queue from now on, and calls cost what `found` says; a
        flow's `service` is then what a call takes besides."""
        self.cpu = cpu
        if self.competes:
            return
        self.moved = self.found is not None and found is not None and found is not self.found
        self.found = found

    def compete(self, uint64_t lines_per_subcycle, bint yields):
        """The queue's work is no traced calls: it takes the CPU from those that make them.

        While it runs it passes `lines_per_subcycle` (2**-48 lines) through the caches. If it
        `yields`, a task that calls runs as soon as it gets work; else that waits for its turn.
        """
        if self.clock or self.found is not None:
            raise ValueError("a queue competes from the beginning")
        self.competes = True
        self.yields = yields
        self.lines = lines_per_subcycle

    def keep(self, EventLog log not None, int number):
        """Log what the requests do, as those of task `number`."""
        self.log = log
        self.number = number

    @property
    def next_arrival(self):
        """When the next call not yet begun arrives or arrived; None if none will."""
        cdef int64_t time = self.upcoming()
        return None if time == NEVER else time

    @property
    def runnable(self):
        """Whether there is work at the time up to which the queue has run."""
        return self.runnable_at(self.clock)

    cpdef bint runnable_at(self, int64_t time) noexcept:
        """Whether a call is in service or has arrived by `time`."""
        return self.serving >= 0 or self.upcoming() <= time

    cdef int64_t upcoming(self) noexcept nogil:
        """When the next call not yet begun arrives or arrived, or NEVER."""
        return self.flows[self.first()].next_arrival if self.n_flows else NEVER

    cdef int64_t wakes(self, int64_t now) noexcept nogil:
        """When, from `now` on, a task that calls and has run out of work has some again."""
        cdef int64_t time
        if self.competes or not self.sleeps:
            return NEVER
        time = self.upcoming()
        return time if time > now else now

    cdef int first(self) noexcept nogil:
        cdef int i, best = 0
        for i in range(1, self.n_flows):
            if self.flows[i].next_arrival < self.flows[best].next_arrival:
                best = i
        return best

    cpdef int64_t run(self, int64_t now, int64_t until, bint stop_when_idle=False) except -1:
        """Give the queue a CPU from `now` to `until`; returns the time at which it ends.

        That is `until`, or with `stop_when_idle` the time at which no arrived call was left.
        Batches must follow each other in time; raises `ValueError` if they do not.
        """
        if not self.clock <= now <= until <= LAST_TIME:
            raise ValueError(f"batch {now} to {until} after one that ended at {self.clock}")
        if self.n_flows == 0:
            self.clock = now if stop_when_idle else until
            return self.clock
        cdef LatencyHistogram histogram
        self.clock = now
        while True:
            if self.serving < 0 and not self.begin(until, stop_when_idle):
                break
            # one flow at a time: its histogram is fetched once for all calls until the
            # next call of another flow
            histogram = <LatencyHistogram>self.histograms[self.serving]
            with nogil:
                self.serve(histogram, until, stop_when_idle)
            if self.serving >= 0 and self.clock == until:
                break
        if not stop_when_idle:
            self.clock = until
        return self.clock

    cdef bint begin(self, int64_t until, bint stop_when_idle) noexcept nogil:
        """Take the next call into service if it arrives before `until`."""
        cdef int index = self.first()
        cdef FlowState *flow = &self.flows[index]
        cdef int64_t start = flow.next_arrival
        if start <= self.clock:
            start = self.clock
        elif stop_when_idle:
            return False
        if start >= until:
            return False
        self.serving = index
        self.arrival = flow.next_arrival
        self.remaining = flow.service
        self.called = flow.called
        if self.found is not None:
            if self.moved:
                self.found.shared.moved = True
                self.moved = False
            self.called = self.found.price(start)
            self.remaining += self.called
        self.wanted = self.remaining
        self.clock = start
        flow.next_arrival = (
            NEVER if flow.source.kind == CLOSED else source_next(&flow.source)
        )
        return True

    cdef void serve(
        self, LatencyHistogram histogram, int64_t until, bint stop_when_idle
    ) noexcept nogil:
        """Serve the call in service, and those after it while they are of the same flow."""
        cdef int index = self.serving
        cdef FlowState *flow = &self.flows[index]
        while self.serving == index:
            if self.remaining > until - self.clock:
                self.note(until, False)
                self.remaining -= until - self.clock
                self.busy += until - self.clock
                self.clock = until
                return
            self.note(self.clock + self.remaining, True)
            self.clock += self.remaining
            self.busy += self.remaining
            self.serving = -1
            record(histogram, self.clock - self.arrival)
            if flow.source.kind == CLOSED:
                flow.next_arrival = self.clock + flow.source.step
                if flow.next_arrival > LAST_TIME:
                    flow.next_arrival = NEVER
            if not self.begin(until, stop_when_idle):
                return

    cdef void note(self, int64_t end, bint done) noexcept nogil:
        """Log that the request in service is served until `end`."""
        cdef Event *event
        if self.log is None or end == self.clock:
            return
        event = self.log.add(
            COMPETING if self.competes else REQUEST, self.cpu, self.number, self.clock, end
        )
        if event != NULL:
            event.arrival = self.arrival
            event.into = self.wanted - self.remaining
            event.called = self.called
            event.done = done
