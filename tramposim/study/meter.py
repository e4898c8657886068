"""What calls cost for `load`: the same measurement as `compare` makes, once per scenario."""

from __future__ import annotations

from dataclasses import dataclass

from tramposim.machine.traced import TracedWorld
from tramposim.schedule.cost import Nested
from tramposim.spec import Arch, Attachment, Kernel, Prototype
from tramposim.study.bodies import programs_of
from tramposim.study.kernels import kernel_of
from tramposim.study.load import CallMeter, MeteredCall
from tramposim.study.measure import WARM_CALLS, measure
from tramposim.study.recursion import nested_costs
from tramposim.study.scenario import parse_scenario
from tramposim.study.subject import Subject, cores_of
from tramposim.study.warmth import Warmth, measure_warmth
from tramposim.study.workload_schema import Workload
from tramposim.timing import Core

__all__ = ["MeasuredCalls", "meters_of"]


@dataclass(frozen=True, slots=True)
class MeasuredCalls:
    """A `CallMeter` that executes the calls and times them on a core model, hot."""

    kernel: Kernel
    core: Core
    prototype: Prototype

    @property
    def arch(self) -> Arch:
        """Architecture of the calls."""
        return self.kernel.arch

    @property
    def clock_ghz(self) -> float:
        """Nominal clock of the core."""
        return self.core.clock_ghz

    def call(self, scenario: str, body: str) -> MeteredCall:
        """One hot call; raises what building, executing and timing raise."""
        measured = measure(
            Subject(self.kernel, self.prototype, parse_scenario(scenario), body), self.core
        )
        facts = {
            "core": self.core.name,
            "core_error": self.core.error,
            "kernel": self.kernel.version,
            "entry": measured.entry,
            "returns": self.kernel.returns.value,
        }
        return MeteredCall(measured.cycles_per_call, facts)

    def found(self, scenario: str, body: str, alone: bool, migrating: bool) -> Warmth:
        """What calls cost by what they find; raises what building and timing raise."""
        hot = self.call(scenario, body).cycles
        return measure_warmth(self._world(scenario, body), self.core, hot, alone, migrating)

    def _world(self, scenario: str, body: str) -> TracedWorld:
        attachments = [Attachment(p) for p in programs_of(parse_scenario(scenario), body)]
        world = TracedWorld(self.kernel, self.prototype, attachments)
        world.run(WARM_CALLS, trace=False)
        return world

    def nested(self, scenario: str, body: str) -> Nested:
        """What calls of interrupt handlers cost."""
        subject = Subject(self.kernel, self.prototype, parse_scenario(scenario), body)
        return nested_costs(subject, self.core)


def meters_of(workload: Workload) -> list[CallMeter]:
    """One meter per architecture of the workload's machine, with its core and kernel."""
    machine = workload.machine
    named = [machine.cores[arch] for arch in machine.arch if arch in machine.cores]
    cores = cores_of(machine.arch, named)
    return [
        MeasuredCalls(
            kernel_of(arch, machine.kernel, machine.entry, machine.returns),
            cores[arch],
            workload.prototype,
        )
        for arch in machine.arch
    ]
