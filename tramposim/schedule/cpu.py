"""One CPU: gives its time to its tasks, to interrupts and to task switches."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from tramposim._native.batch import CallQueue
from tramposim.schedule.world import CpuResult

__all__ = ["Cpu", "RunningTask"]


@dataclass(slots=True)
class RunningTask:
    """A task's queue of calls and whether it may move to another CPU."""

    queue: CallQueue
    pinned: bool


class Cpu:
    """A CPU up to the time `clock` (subcycles); advanced at scheduling points only.

    `tasks` is its run queue: the first one is current. The current task runs until it has
    no call left or the tick rotates the queue.
    """

    def __init__(self, switch_time: int) -> None:
        self.tasks: deque[RunningTask] = deque()
        self.clock = 0
        self.switches = 0
        self._switch_time = switch_time
        self._taken_until = 0
        self._taken = 0
        self._busy = 0

    def advance(self, now: int) -> None:
        """Let the CPU run until `now`: in one native batch if nothing takes it away."""
        while self.clock < now:
            if self._taken_until > self.clock:
                until = min(now, self._taken_until)
                self._taken += until - self.clock
                self.clock = until
            elif len(self.tasks) > 1:
                self._run_one_of_many(now)
            else:
                if self.tasks:
                    self._run(self.tasks[0].queue, now, stop_when_idle=False)
                self.clock = now

    def take(self, time: int) -> None:
        """An interrupt takes the CPU for `time`, after those that it already has."""
        self._taken_until = max(self._taken_until, self.clock) + time

    def rotate(self, now: int) -> None:
        """At a tick: the current task goes behind the others that have work."""
        self.advance(now)
        if len(self.tasks) > 1 and any(task.queue.runnable_at(now) for task in self._others()):
            self._switch_to(1)

    def give(self, now: int) -> RunningTask | None:
        """Hand over a waiting task that has work and is not pinned, or None."""
        self.advance(now)
        for task in self._others():
            if not task.pinned and task.queue.runnable_at(now):
                self.tasks.remove(task)
                return task
        return None

    def idle(self, now: int) -> bool:
        """Whether no task of this CPU has work at `now`."""
        self.advance(now)
        return not any(task.queue.runnable_at(now) for task in self.tasks)

    def result(self) -> CpuResult:
        """What the CPU did up to its clock."""
        return CpuResult(self._busy, self._taken)

    def _others(self) -> list[RunningTask]:
        return list(self.tasks)[1:]

    def _run(self, queue: CallQueue, now: int, *, stop_when_idle: bool) -> int:
        before = queue.busy
        end = queue.run(self.clock, now, stop_when_idle)
        self._busy += queue.busy - before
        return end

    def _run_one_of_many(self, now: int) -> None:
        for position, task in enumerate(self.tasks):
            if task.queue.runnable_at(self.clock):
                if position:
                    self._switch_to(position)
                else:
                    self.clock = self._run(task.queue, now, stop_when_idle=True)
                return
        arrivals = [
            task.queue.next_arrival for task in self.tasks if task.queue.next_arrival is not None
        ]
        self.clock = min([now, *arrivals])

    def _switch_to(self, position: int) -> None:
        self.tasks.rotate(-position)
        self.switches += 1
        self.take(self._switch_time)
