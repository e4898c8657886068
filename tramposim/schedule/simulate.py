"""Simulate a world: SimPy drives the scheduling points, native batches the calls between.

Scheduling points are the ticks of every CPU, interrupts, and the end of the measurement. At
each one the CPU concerned catches up in one batch; then the point's own action happens.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import simpy

from tramposim._native.batch import CallQueue
from tramposim._native.cpucalls import CpuCalls
from tramposim._native.eventlog import EventLog
from tramposim._native.histogram import LatencyHistogram
from tramposim.errors import InputError
from tramposim.schedule.arrivals import arrival_source
from tramposim.schedule.contention import Contended, Contention
from tramposim.schedule.cost import CostModel, Nested
from tramposim.schedule.cpu import Cpu
from tramposim.schedule.world import Competitor, FlowResult, Interrupts, World, WorldResult

__all__ = ["Watcher", "simulate"]

Watcher = Callable[[float], bool]
"""Called with the simulated seconds now and then; returns False to stop there."""

_Process = Generator[simpy.Event, Any, None]

_FIRST_LOOK_S = 8e-6
"""When CPUs that write the same lines are first told of each other."""

_STREAMS_PER_KIND = 1 << 32
"""Streams of random numbers: tasks' flows count from 0, competing tasks from here downwards,
interrupts upwards."""


def simulate(
    world: World,
    costs: CostModel,
    watch: Watcher | None = None,
    *,
    found: Callable[[int], CpuCalls] | None = None,
    nested: Nested | None = None,
    contended: Contended | None = None,
    log: EventLog | None = None,
) -> WorldResult:
    """Run `world` with calls at `costs` and return what happened.

    With `found` (given a CPU's number) a call costs by what it finds on its CPU instead;
    `contended`: what they write that calls on other CPUs write, too.
    `nested` says what the calls of interrupt handlers cost; needed if they make any. `log` takes
    what happens; competing tasks are numbered behind the others.

    The same world and costs give the same result on every machine. Worlds that differ in
    costs only see the same arrivals. Raises `InputError` for a world that cannot be.
    """
    return _Simulation(world, costs, found, nested, contended, log).run(watch)


class _Simulation:
    """The state of one run."""

    def __init__(
        self,
        world: World,
        costs: CostModel,
        found: Callable[[int], CpuCalls] | None,
        nested: Nested | None,
        contended: Contended | None,
        log: EventLog | None,
    ) -> None:
        self.world = world
        self.nested = nested
        self.nested_calls = self.recursion_misses = 0
        if nested is None and any(interrupts.calls for interrupts in world.interrupts):
            raise InputError("interrupts call the traced function, but not at what cost")
        self.costs = {
            flow.function: costs.call_cost(flow.function)
            for task in world.tasks
            for flow in task.flows
        }
        self.end = world.clock.from_seconds(world.duration_s)
        self.environment = simpy.Environment()
        switch_time = world.clock.from_cycles(world.switch_cycles)
        self.cpus = [
            Cpu(switch_time, found(number) if found else None, number, log)
            for number in range(world.cpus)
        ]
        self.latencies = {function: LatencyHistogram() for function in self.costs}
        calls = [cpu.calls for cpu in self.cpus if cpu.calls is not None]
        self.contention = (
            Contention(contended, calls, len(world.tasks), world.seed)
            if contended is not None and len(calls) > 1
            else None
        )
        self.queues = self._place_tasks()
        movable = [
            queue for task, queue in zip(world.tasks, self.queues, strict=True) if not task.pinned
        ]
        competing = list(self._place_competitors())
        movable += [queue for task, queue in competing if not task.pinned]
        if log is not None:
            for number, queue in enumerate([*self.queues, *(queue for _, queue in competing)]):
                queue.keep(log, number)
        self.migrations = 0
        self.movable = frozenset(movable if world.cpus > 1 else ())

    def run(self, watch: Watcher | None) -> WorldResult:
        environment, stop = self.environment, self.environment.event()
        for index, cpu in enumerate(self.cpus):
            environment.process(self._ticks(cpu))
            for kind, interrupts in enumerate(self.world.interrupts):
                stream = _STREAMS_PER_KIND + index * len(self.world.interrupts) + kind
                environment.process(self._interrupts(cpu, interrupts, kind, stream))
        if self.contention is not None:
            environment.process(self._contend(self.contention))
        if watch is not None:
            environment.process(self._watch(watch, stop))
        at_end = environment.timeout(self.end)
        environment.run(until=environment.any_of([at_end, stop]))
        now = int(environment.now)
        for cpu in self.cpus:
            cpu.advance(now)
        return self._result(now)

    def _place_tasks(self) -> list[CallQueue]:
        world, queues = self.world, []
        stream = 0
        for task in world.tasks:
            queue = CallQueue()
            for flow in task.flows:
                source = arrival_source(flow.arrivals, world.clock, world.seed, stream)
                called = world.clock.from_cycles(self.costs[flow.function].traced_cycles)
                work = world.clock.from_cycles(flow.work_cycles)
                queue.add_flow(
                    source,
                    max(1, work) if self.cpus[task.cpu].calls else called + work,
                    self.latencies[flow.function],
                    called,
                )
                stream += 1
            self.cpus[task.cpu].add(queue)
            queues.append(queue)
        return queues

    def _place_competitors(self) -> Iterator[tuple[Competitor, CallQueue]]:
        clock = self.world.clock
        for number, competitor in enumerate(self.world.competitors):
            stream = _STREAMS_PER_KIND - 1 - number
            queue = CallQueue()
            queue.add_flow(
                arrival_source(competitor.arrivals, clock, self.world.seed, stream),
                max(1, clock.from_cycles(competitor.cycles)),
                LatencyHistogram(),
            )
            queue.compete(clock.per_subcycle(competitor.lines_per_s), competitor.yields)
            self.cpus[competitor.cpu].add(queue)
            yield competitor, queue

    def _ticks(self, cpu: Cpu) -> _Process:
        clock = self.world.clock
        tick_time = clock.from_cycles(self.world.tick_cycles)
        period = clock.exact_from_seconds(1) / Fraction(self.world.tick_hz)
        count = 1
        while (now := round(count * period)) < self.end:
            yield self.environment.timeout(now - self.environment.now)
            if self.movable:
                self._push_work(cpu, now)
            cpu.tick(now, tick_time)
            if self.movable:
                self._pull_work(cpu, now)
            count += 1

    def _contend(self, contention: Contention) -> _Process:
        """Tell CPUs of each other, soon after the beginning and then once a tick."""
        clock = self.world.clock
        gap, longest = (
            clock.from_seconds(_FIRST_LOOK_S),
            round(clock.exact_from_seconds(1) / Fraction(self.world.tick_hz)),
        )
        while True:
            yield self.environment.timeout(gap)
            now = int(self.environment.now)
            for cpu in self.cpus:
                cpu.advance(now)
            contention.learn(now)
            gap = min(2 * gap, longest)

    def _push_work(self, cpu: Cpu, now: int) -> None:
        """A CPU hands a task that waits to one without work."""
        if cpu.tasks < 2 or not cpu.waits(now, self.movable):
            return
        idle = next((other for other in self.cpus if other is not cpu and other.idle(now)), None)
        task = cpu.give(now, self.movable) if idle is not None else None
        if idle is not None and task is not None:
            idle.add(task)
            self.migrations += 1

    def _pull_work(self, cpu: Cpu, now: int) -> None:
        """A CPU without work takes a task that waits on the CPU with the most tasks."""
        busiest = max(self.cpus, key=lambda other: other.tasks)
        if busiest is cpu or busiest.tasks < 2 or not cpu.idle(now):
            return
        task = busiest.give(now, self.movable)
        if task is not None:
            cpu.add(task)
            self.migrations += 1

    def _interrupts(self, cpu: Cpu, interrupts: Interrupts, kind: int, stream: int) -> _Process:
        world = self.world
        source = arrival_source(interrupts.arrivals, world.clock, world.seed, stream)
        time = world.clock.from_cycles(interrupts.cycles)
        nested = partial(self._nested, interrupts.calls) if interrupts.calls else None
        while (arrival := source.next()) is not None and arrival < self.end:
            yield self.environment.timeout(arrival - self.environment.now)
            cpu.interrupt(arrival, time, nested, kind)

    def _nested(self, calls: int, position: tuple[int, int] | None) -> int:
        """Time that an interrupt's traced calls take, made at this place of the task's call."""
        assert self.nested is not None
        cycles, skipped = self.nested.cycles, 0
        if position is not None:
            (cost,) = {cost.traced_cycles for cost in self.costs.values()}
            cycles, skipped = self.nested.at(position[0] / position[1], cost)
        self.nested_calls += calls
        self.recursion_misses += calls * skipped
        return self.world.clock.from_cycles(calls * cycles)

    def _watch(self, watch: Watcher, stop: simpy.Event) -> _Process:
        clock = self.world.clock
        while True:
            yield self.environment.timeout(max(1, self.end // 200))
            if not watch(clock.to_seconds(self.environment.now)):
                stop.succeed()

    def _result(self, now: int) -> WorldResult:
        flows = tuple(
            FlowResult(function, latency.count, latency, self.costs[function].added_cycles)
            for function, latency in self.latencies.items()
        )
        lags = [now - queue.next_arrival for queue in self.queues if queue.next_arrival is not None]
        return WorldResult(
            elapsed=now,
            cpus=tuple(cpu.result() for cpu in self.cpus),
            flows=flows,
            switches=sum(cpu.switches for cpu in self.cpus),
            migrations=self.migrations,
            behind=max([0, *lags]),
            complete=now >= self.end,
            nested_calls=self.nested_calls,
            recursion_misses=self.recursion_misses,
            found=tuple(cpu.calls for cpu in self.cpus if cpu.calls is not None),
        )
