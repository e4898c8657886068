# cython: language_level=3
"""One CPU's time, given to its tasks, to interrupts and to task switches.

Between two scheduling points everything is native: the current task runs until it has no
call left, then the next one in turn that has. Times are in subcycles (2**-16 core cycles).
"""

from libc.stdint cimport int64_t

from tramposim._native.arrivals cimport LAST_TIME, NEVER
from tramposim._native.batch cimport CallQueue
from tramposim._native.eventlog cimport INTERRUPT, SWITCH, EventLog
from tramposim._native.cpucalls cimport CpuCalls


cdef class RunQueue:
    """The tasks (`CallQueue`) of a CPU, in turn; `clock` is the time up to which it has run.

    `busy` is the time spent on calls, `competing` on tasks that make none, `taken` on interrupts
    and switches; `switches` is the number of those.
    """

    cdef list queues
    cdef Py_ssize_t current
    cdef int64_t switch_time
    cdef int64_t taken_until
    cdef readonly int64_t clock
    cdef readonly int64_t busy
    cdef readonly int64_t competing
    cdef readonly int64_t taken
    cdef readonly int64_t switches
    cdef CpuCalls found
    cdef EventLog log
    cdef int cpu

    def __init__(self, int64_t switch_time=0, CpuCalls found=None, int cpu=0, EventLog log=None):
        if not 0 <= switch_time <= LAST_TIME // 4:
            raise ValueError("a task switch takes no negative time")
        self.queues = []
        self.switch_time = switch_time
        self.found = found
        self.cpu = cpu
        self.log = log

    def __len__(self):
        return len(self.queues)

    def add(self, CallQueue queue not None):
        """Put a task behind the others; its calls find what this CPU holds."""
        queue.on(self.found, self.cpu)
        self.queues.insert(self.current, queue)
        if len(self.queues) > 1:
            self.current += 1

    def remove(self, CallQueue queue not None):
        """Take away a task that is not current."""
        cdef Py_ssize_t position = self.queues.index(queue)
        if position == self.current:
            raise ValueError("the current task of a CPU cannot be taken away")
        del self.queues[position]
        if position < self.current:
            self.current -= 1

    def waiting(self):
        """The tasks behind the current one, in turn."""
        return [*self.queues[self.current + 1 :], *self.queues[: self.current]]

    def idle(self):
        """Whether no task has work now."""
        return self.first_runnable(0) < 0

    def position(self):
        """`CallQueue.position` of the current task."""
        return self.queues[self.current].position() if self.queues else None

    def take(self, int64_t time, int what=INTERRUPT, int number=0):
        """Something takes the CPU for `time`, after what has already taken it.

        `what` is `TICK` or `INTERRUPT` (its kind's `number`), for the log.
        """
        if not 0 <= time <= LAST_TIME // 4:
            raise ValueError("an interrupt takes no negative time")
        self.withhold(time, what, number)

    cdef void withhold(self, int64_t time, int what, int number) noexcept:
        cdef int64_t begin = max(self.taken_until, self.clock)
        self.taken_until = begin + time
        if self.log is not None:
            self.log.add(what, self.cpu, number, begin, begin + time)

    def rotate(self):
        """At a tick: the next task that has work gets the CPU, the current one waits."""
        cdef Py_ssize_t turn = self.first_runnable(1)
        if turn > 0:
            self.switch_to(turn)

    def advance(self, int64_t now):
        """Let the CPU run until `now`; times must not go back (`ValueError`)."""
        cdef Py_ssize_t turn
        cdef int64_t until
        if not self.clock <= now <= LAST_TIME:
            raise ValueError(f"time goes from {self.clock} to {now}")
        while self.clock < now:
            if self.taken_until > self.clock:
                until = min(now, self.taken_until)
                self.taken += until - self.clock
                self.clock = until
            elif len(self.queues) <= 1:
                if self.queues:
                    self.run_current(now, False)
                self.clock = now
            else:
                turn = self.first_runnable(0)
                if turn == 0:
                    self.run_first(now)
                elif turn > 0:
                    self.switch_to(turn)
                else:
                    self.clock = min(now, self.upcoming())

    cdef int run_first(self, int64_t now) except -1:
        """The current task, until a task that calls wakes up and it yields to that."""
        cdef CallQueue queue = <CallQueue>self.queues[self.current]
        cdef int64_t time, until = now
        cdef Py_ssize_t k, woken = -1
        if queue.yields:
            for k in range(len(self.queues)):
                time = (<CallQueue>self.queues[k]).wakes(self.clock)
                if time < until:
                    until, woken = time, k
        if until > self.clock:
            self.clock = self.run_current(until, True)
        if woken >= 0 and self.clock == until:
            self.switch_to((woken - self.current) % len(self.queues))
        return 0

    cdef int64_t run_current(self, int64_t now, bint stop_when_idle) except -1:
        cdef CallQueue queue = <CallQueue>self.queues[self.current]
        cdef int64_t before = queue.busy
        cdef int64_t end = queue.run(self.clock, now, stop_when_idle)
        cdef int64_t spent = queue.busy - before
        queue.sleeps = not queue.runnable_at(end)
        if queue.competes:
            self.competing += spent
            if self.found is not None and spent:
                self.found.displaced(spent, queue.lines)
        else:
            self.busy += spent
        return end

    cdef Py_ssize_t first_runnable(self, Py_ssize_t start) except -2:
        """Turns from the current task to the first with work, from `start` on; -1 if none."""
        cdef Py_ssize_t turn, count = len(self.queues)
        for turn in range(start, count):
            if (<CallQueue>self.queues[(self.current + turn) % count]).runnable_at(self.clock):
                return turn
        return -1

    cdef int64_t upcoming(self) except -1:
        cdef int64_t time = NEVER
        for queue in self.queues:
            time = min(time, (<CallQueue>queue).upcoming())
        return time

    cdef void switch_to(self, Py_ssize_t turn) noexcept:
        self.current = (self.current + turn) % len(self.queues)
        self.switches += 1
        self.withhold(self.switch_time, SWITCH, 0)
