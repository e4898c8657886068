"""Attribution of cycles: parts sum to the call, events name the instructions that facts name."""

from __future__ import annotations

import pytest
from msgspec import structs

from tramposim.spec import Arch, Entry, Kernel
from tramposim.study.explain import Explanation, explain
from tramposim.study.measure import measure
from tramposim.study.scenario import parse_scenario
from tramposim.study.subject import DEFAULT_CORES, Subject, function_of
from tramposim.timing import Core, load_core


def _explained(kernel: Kernel, words: str, body: str = "empty") -> Explanation:
    core = load_core(DEFAULT_CORES[kernel.arch])
    return explain(Subject(kernel, function_of(), parse_scenario(words), body), core)


@pytest.mark.parametrize("arch", list(Arch))
@pytest.mark.parametrize("words", ["untraced", "fsession+cookie", "fentry*2+fexit"])
def test_parts_sum_to_the_call(arch: Arch, words: str) -> None:
    found = _explained(Kernel(arch), words)
    assert found.cycles == pytest.approx(found.timing.cycles_per_call, rel=1e-9)
    assert sum(link.cycles for link in found.path) == pytest.approx(found.cycles, rel=1e-9)
    for part in found.totals:
        assert sum(part.groups.values()) == pytest.approx(part.cycles, rel=1e-9)
    instructions = sum(part.instructions for part in found.totals)
    assert instructions == pytest.approx(found.timing.instructions_per_call)
    assert sum(part.uops for part in found.totals) == pytest.approx(found.timing.uops_per_call)


def test_a_state_that_repeats_after_many_calls_sums_up_too() -> None:
    core = load_core("neoverse-n2")
    found = explain(
        Subject(Kernel(Arch.ARM64), function_of(), parse_scenario("fentry"), "count"), core
    )
    assert found.cycles == pytest.approx(found.timing.cycles_per_call, rel=1e-9)


def test_a_function_that_several_parts_call_is_counted_with_each() -> None:
    found = _explained(Kernel(Arch.X86_64), "fsession")
    entered = [p for p in found.parts if p.function == "__bpf_prog_enter_recur"]
    assert [part.part for part in entered] == ["enter fentry[0]", "enter fexit[0]"]
    assert entered[0].instructions == entered[1].instructions > 20
    # whoever touches a line first pays for it when it is cold
    assert entered[0].code_lines > entered[1].code_lines == 0


def test_call_mode_leaves_a_call_without_return() -> None:
    # facts/cores.md: SKIP_FRAME's missing return mispredicts once per call; jmp mode does not
    by_call = _explained(Kernel(Arch.X86_64, entry=Entry.CALL), "fexit")
    by_jmp = _explained(Kernel(Arch.X86_64, entry=Entry.JMP), "fexit")
    kinds = {event.kind for event in by_jmp.events}
    assert "return mispredict" not in kinds
    missed = [event for event in by_call.events if event.kind == "return mispredict"]
    assert missed
    assert any("bpf_fentry_test1" in event.first for event in missed)
    assert {"function entry", "prologue", "call original"} <= {p.part for p in by_call.totals}


def _longer(core: Core, section: str, name: str) -> Core:
    """The core with one parameter a cycle larger."""
    fields = getattr(core, section)
    parameter = getattr(fields, name)
    larger = structs.replace(parameter, value=parameter.value + 1)
    return structs.replace(core, **{section: structs.replace(fields, **{name: larger})})


@pytest.mark.parametrize(
    ("name", "words", "section", "parameter", "reason"),
    [
        ("neoverse-n1", "fsession", "memory", "forward_block", "blocked store forwarding"),
        ("golden-cove", "fexit", "branches", "redirect_return", "misprediction"),
        ("icelake-server", "fsession", "memory", "forward_latency", "store forwarding"),
    ],
)
def test_a_wait_on_the_path_that_lasts_longer_makes_the_call_longer(
    name: str, words: str, section: str, parameter: str, reason: str
) -> None:
    """As often as the path waits for something, so many cycles more if that takes one more."""
    core = load_core(name)
    entry = Entry.CALL if core.arch is Arch.X86_64 else None
    subject = Subject(Kernel(core.arch, entry=entry), function_of(), parse_scenario(words))
    found = explain(subject, core)
    waited = sum(link.cycles for link in found.path if link.reason == reason)
    times = waited / getattr(getattr(core, section), parameter).value
    longer = measure(subject, _longer(core, section, parameter)).cycles_per_call
    assert longer - found.cycles == pytest.approx(times, abs=1.01)
