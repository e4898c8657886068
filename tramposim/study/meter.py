"""What calls cost for `load`: the same measurement as `compare` makes, once per scenario.

The programs of a scenario are those with a body that is known here, or a user's own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from tramposim.machine.traced import TracedFunction
from tramposim.schedule.cost import Nested
from tramposim.spec import Arch, Kernel, Prototype
from tramposim.study.bodies import programs_of
from tramposim.study.costs import NO_COSTS
from tramposim.study.kernels import kernel_of
from tramposim.study.load import CallMeter, MeteredCall
from tramposim.study.measure import Measurement, attach_programs, measure, settle
from tramposim.study.own import Group, OwnPrograms, execute_group
from tramposim.study.records import Value
from tramposim.study.recursion import nested_costs
from tramposim.study.scenario import UNTRACED, parse_scenario
from tramposim.study.subject import Subject, cores_of
from tramposim.study.warmth import Warmth, measure_warmth
from tramposim.study.workload_schema import Workload
from tramposim.timing import Core

__all__ = ["MeasuredCalls", "OwnCalls", "meters_of"]


@dataclass(frozen=True, slots=True)
class _CoreCalls(ABC):
    """A `CallMeter` that executes the calls and times them on a core model, hot."""

    kernel: Kernel
    core: Core

    @property
    def arch(self) -> Arch:
        """Architecture of the calls."""
        return self.kernel.arch

    @property
    def clock_ghz(self) -> float:
        """Nominal clock of the core."""
        return self.core.clock_ghz

    @property
    def costs(self) -> Mapping[str, float]:
        """Stated cycles of helpers."""
        return NO_COSTS

    @abstractmethod
    def call(self, scenario: str, body: str) -> MeteredCall:
        """One hot call; raises what building, executing and timing raise."""

    @abstractmethod
    def subject(self, scenario: str, body: str) -> Subject:
        """What is called."""

    @abstractmethod
    def attach(self, scenario: str, body: str) -> TracedFunction:
        """A kernel of its own with the programs attached, not yet called."""

    def found(
        self, scenario: str, body: str, hot_cycles: float, alone: bool, migrating: bool
    ) -> Warmth:
        """What calls cost by what they find; raises what building and timing raise."""
        world = self.attach(scenario, body)
        return measure_warmth(world, self.core, hot_cycles, alone, migrating, settle(world))

    def nested(self, scenario: str, body: str) -> Nested:
        """What calls of interrupt handlers cost."""
        attach = partial(self.attach, scenario, body)
        return nested_costs(self.subject(scenario, body), self.core, attach, self.costs)


@dataclass(frozen=True, slots=True)
class MeasuredCalls(_CoreCalls):
    """Calls with programs attached whose bodies are known here."""

    prototype: Prototype

    def call(self, scenario: str, body: str) -> MeteredCall:
        """One hot call; raises what building, executing and timing raise."""
        measured = measure(self.subject(scenario, body), self.core)
        return MeteredCall(measured.cycles_per_call, _facts(measured))

    def subject(self, scenario: str, body: str) -> Subject:
        """What is called."""
        return Subject(self.kernel, self.prototype, parse_scenario(scenario), body)

    def attach(self, scenario: str, body: str) -> TracedFunction:
        """A kernel of its own with the programs attached, not yet called."""
        subject = self.subject(scenario, body)
        return attach_programs(subject, programs_of(subject.scenario, body))


@dataclass(frozen=True, slots=True)
class OwnCalls(_CoreCalls):
    """Calls with groups of a user's programs attached.

    Scenario and body of a call are those of its group.
    """

    own: OwnPrograms

    @property
    def costs(self) -> Mapping[str, float]:
        """Stated cycles of helpers."""
        return self.own.costs

    def call(self, scenario: str, body: str) -> MeteredCall:
        """One hot call; raises what `execute_group` and timing raise."""
        group = self._group(scenario, body)
        executed = execute_group(self.kernel, self.own.traced, group, self.costs, "hot")
        measured = executed.timed(self.core)
        facts = {
            **_facts(measured),
            "function": self.own.traced.name,
            "role": group.role,
            **measured.attached.stated_record,
        }
        return MeteredCall(measured.cycles_per_call, facts)

    def subject(self, scenario: str, body: str) -> Subject:
        """What is called."""
        group = self._group(scenario, body)
        prototype = self.own.traced.function.prototype
        return Subject(self.kernel, prototype, group.scenario, group.body)

    def attach(self, scenario: str, body: str) -> TracedFunction:
        """A kernel of its own with the programs attached, not yet called."""
        programs = self._group(scenario, body).programs
        function = self.own.traced.function
        return attach_programs(self.subject(scenario, body), programs, function, self.costs)

    def _group(self, scenario: str, body: str) -> Group:
        if scenario == UNTRACED:
            return Group((), UNTRACED)
        return next(g for g in self.own.groups if (g.scenario.word, g.body) == (scenario, body))


def _facts(measured: Measurement) -> dict[str, Value]:
    """What a row says of how its call was measured."""
    kernel = measured.subject.kernel
    return {
        "core": measured.core.name,
        "core_error": measured.core.error,
        "kernel": kernel.version,
        "entry": measured.attached.entry,
        "returns": kernel.returns.value,
    }


def meters_of(workload: Workload, own: OwnPrograms | None = None) -> list[CallMeter]:
    """One meter per architecture of the workload's machine, with its core and kernel.

    With `own` the calls are of the function that these programs trace, with them attached.
    """
    machine = workload.machine
    named = [machine.cores[arch] for arch in machine.arch if arch in machine.cores]
    cores = cores_of(machine.arch, named)
    kernels = [
        kernel_of(arch, machine.kernel, machine.entry, machine.returns) for arch in machine.arch
    ]
    if own is not None:
        return [OwnCalls(kernel, cores[kernel.arch], own) for kernel in kernels]
    return [MeasuredCalls(kernel, cores[kernel.arch], workload.prototype) for kernel in kernels]
