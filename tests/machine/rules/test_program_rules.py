"""Compiled programs beside the interpreter: golden ones pass, wrong ones differ."""

from pathlib import Path

import pytest

from tramposim.capture.programs import program_context, read_program
from tramposim.capture.records import Capture, ProgRecord
from tramposim.errors import TramposimError
from tramposim.machine.rules.compiled import CompiledProgram
from tramposim.machine.rules.differential import check_program
from tramposim.machine.rules.listing import Listing
from tramposim.machine.rules.probe import Probe
from tramposim.machine.rules.rule import Rule
from tramposim.machine.rules.subject import compiled_program
from tramposim.spec import Arch
from tramposim.study.validate import chunks_of

FILES = {
    Arch.X86_64: "x86_64-7.2.13-default-jit.jsonl.xz",
    Arch.ARM64: "arm64-7.2.13-max-jit.jsonl.xz",
}


def programs(shared: Path, name: str, every: int = 1) -> list[tuple[str, CompiledProgram]]:
    path = shared / "golden" / name
    capture = Capture(path)
    context = program_context(path, capture.boot)
    found = []
    for number, (where, record) in enumerate(capture):
        if isinstance(record, ProgRecord) and number % every == 0:
            captured = read_program(record, context, where)
            if captured is not None:
                chunks = chunks_of(captured.code, record.func_lens, where)
                subject = compiled_program(
                    captured.env, captured.program.functions, captured.addresses, chunks
                )
                found.append((record.id, subject))
    return found


@pytest.mark.parametrize("arch", list(Arch))
def test_golden_programs_pass(shared: Path, arch: Arch) -> None:
    probe = Probe(arch)
    checked = 0
    for name, program in programs(shared, FILES[arch], every=12):
        report = check_program(probe, program, runs=4)
        assert (name, report.violations) == (name, ())
        checked += 1
    assert checked >= 80


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_golden_programs_of_all_files_pass(shared: Path, part: int) -> None:
    """Every 16th program of every file, in four parts of about a minute."""
    for path in sorted((shared / "golden").glob("*-jit.jsonl.xz"))[part::4]:
        found = programs(shared, path.name, every=16)
        probe = Probe(found[0][1].arch)
        for name, program in found:
            report = check_program(probe, program, runs=6)
            assert (path.name, name, report.violations) == (path.name, name, ())


def with_code(program: CompiledProgram, old: str, new: str) -> CompiledProgram:
    from dataclasses import replace

    address, code = program.listing.chunks[0]
    before = bytes.fromhex(old)
    assert before in code
    at = code.rindex(before)
    code = code[:at] + bytes.fromhex(new) + code[at + len(before) :]
    return replace(program, listing=Listing(program.arch, (address, code)))


@pytest.mark.parametrize(
    ("arch", "old", "new", "rules"),
    [
        # xor eax, eax -> mov eax, ecx: returns what is not 0
        (Arch.X86_64, "31c0c9", "89c8c9", {Rule.RESULT}),
        # leave -> nop
        (Arch.X86_64, "c9c3", "90c3", {Rule.RETURN_ADDRESS, Rule.EXECUTION}),
        # paciasp -> nop
        (Arch.ARM64, "3f2303d5", "1f2003d5", {Rule.POINTER_AUTH}),
        # autiasp -> nop
        (Arch.ARM64, "bf2303d5", "1f2003d5", {Rule.POINTER_AUTH}),
        # endbr64 of the tail call entry -> nops
        (Arch.X86_64, "4889e5f30f1efa", "4889e590909090", {Rule.LANDING_PAD}),
        # mov x9, x30 that trampolines need -> nop
        (Arch.ARM64, "e9031eaa", "1f2003d5", {Rule.PATCHABLE_NOP}),
    ],
)
def test_what_is_wrong_is_told(
    shared: Path, arch: Arch, old: str, new: str, rules: set[Rule]
) -> None:
    subject = next(p for n, p in programs(shared, FILES[arch]) if n == "sweep.helper.14")
    report = check_program(Probe(arch), with_code(subject, old, new), runs=4)
    found = {violation.rule for violation in report.violations}
    assert found
    assert found <= rules


def test_the_counterexample_is_minimal_and_deterministic(shared: Path) -> None:
    """The smallest input has no word that could be zero; the same seed gives the same one."""
    name, subject = next(
        (n, p) for n, p in programs(shared, FILES[Arch.X86_64]) if n == "sweep.helper.14"
    )
    broken = with_code(subject, "31c0c9", "89c8c9")
    reports = [check_program(Probe(Arch.X86_64), broken, seed=5, runs=4) for _ in range(2)]
    assert name
    assert reports[0].counterexample == reports[1].counterexample
    example = reports[0].counterexample
    assert example is not None
    assert example.memory == ()


def test_no_code_is_an_error() -> None:
    with pytest.raises(TramposimError):
        Probe(Arch.X86_64).load(Listing(Arch.X86_64, (0xFFFFFFFFC0000000, b"")))
