"""One CPU at its scheduling points: ticks, interrupts, tasks that come and go."""

from __future__ import annotations

from collections.abc import Callable, Container

from tramposim._native.batch import CallQueue
from tramposim._native.cpucalls import CpuCalls
from tramposim._native.eventlog import EventLog, What
from tramposim._native.runqueue import RunQueue
from tramposim.schedule.world import CpuResult

__all__ = ["Cpu"]


class Cpu:
    """A CPU that catches up with the simulation in one native batch per scheduling point.

    Its tasks take turns: the current one runs until it has no call left or a tick gives
    the CPU to the next. `calls` knows what traced calls find here; None: they cost the same.
    `log` takes what happens, as on CPU `number`.
    """

    def __init__(
        self,
        switch_time: int,
        calls: CpuCalls | None = None,
        number: int = 0,
        log: EventLog | None = None,
    ) -> None:
        self._queue = RunQueue(switch_time, calls, number, log)
        self.calls = calls

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return len(self._queue)

    @property
    def switches(self) -> int:
        """Task switches so far."""
        return self._queue.switches

    def add(self, task: CallQueue) -> None:
        """Put a task behind the others."""
        self._queue.add(task)

    def advance(self, now: int) -> None:
        """Let the CPU run until `now`."""
        self._queue.advance(now)

    def tick(self, now: int, time: int) -> None:
        """The scheduler tick at `now`, which takes `time`: the next task's turn."""
        self._queue.advance(now)
        self._queue.rotate()
        self._queue.take(time, What.TICK)

    def interrupt(
        self,
        now: int,
        time: int,
        nested: Callable[[tuple[int, int] | None], int] | None = None,
        kind: int = 0,
    ) -> None:
        """An interrupt at `now` that takes the CPU for `time`; its `kind` is for the log.

        `nested` is told where in a traced call the task stands (`CallQueue.position`), and
        returns the time that the handler's own traced calls take.
        """
        self._queue.advance(now)
        if nested is not None:
            time += nested(self._queue.position())
        self._queue.take(time, What.INTERRUPT, kind)

    def idle(self, now: int) -> bool:
        """Whether no task of this CPU has work at `now`."""
        self._queue.advance(now)
        return self._queue.idle()

    def waits(self, now: int, movable: Container[CallQueue]) -> CallQueue | None:
        """A waiting task that has work and is movable, or None."""
        self._queue.advance(now)
        waiting = (task for task in self._queue.waiting() if task in movable)
        return next((task for task in waiting if task.runnable_at(now)), None)

    def give(self, now: int, movable: Container[CallQueue]) -> CallQueue | None:
        """Hand over that task."""
        task = self.waits(now, movable)
        if task is not None:
            self._queue.remove(task)
        return task

    def result(self) -> CpuResult:
        """What the CPU did so far."""
        return CpuResult(self._queue.busy, self._queue.taken, self._queue.competing)
