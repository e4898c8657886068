"""Mutation test: changes of single instructions are caught, those that mean nothing left out."""

import random
from pathlib import Path

import pytest

from tramposim.spec import Arch
from tramposim.study.codeflow import CodeFlow
from tramposim.study.equivalence import reason_of
from tramposim.study.mutants import KINDS, Mutant, decode_code, mutants_of
from tramposim.study.mutation import Outcome, main, outcomes_of

WANTED = 0.95
"""Share of the mutants that matter which the rules must catch."""


def share(outcomes: list[Outcome], what: str) -> float:
    mine = [o for o in outcomes if o.what == what and not o.equivalent]
    return sum(bool(o.rule) for o in mine) / len(mine)


@pytest.mark.parametrize("arch", list(Arch))
def test_mutants_of_the_smoke_files(shared: Path, arch: Arch) -> None:
    path = shared / "golden" / f"smoke-{arch}.jsonl.xz"
    outcomes = list(outcomes_of(path, per_code=12, every=2, runs=12))
    assert len(outcomes) > 250
    assert {outcome.kind for outcome in outcomes} == set(KINDS)
    assert share(outcomes, "image") >= WANTED
    assert share(outcomes, "program") >= WANTED


@pytest.mark.slow
@pytest.mark.parametrize("name", ["x86_64-7.2.13-default", "arm64-7.2.13-max"])
@pytest.mark.parametrize(
    ("kind", "every", "each"), [("trampolines", 12, 4), ("structops", 12, 4), ("jit", 24, 6)]
)
def test_mutants_of_a_whole_file(shared: Path, name: str, kind: str, every: int, each: int) -> None:
    path = shared / "golden" / f"{name}-{kind}.jsonl.xz"
    outcomes = list(outcomes_of(path, per_code=each, every=every))
    for what in {outcome.what for outcome in outcomes}:
        assert share(outcomes, what) >= WANTED


def reason(arch: Arch, code: str, offset: int, new: str, kind: str = "register") -> str:
    data, changed = bytes.fromhex(code), bytes.fromhex(new)
    flow = CodeFlow(arch, data, 0x1000, passes_arguments=False)
    old = data[offset : offset + len(changed)]
    return reason_of(flow, Mutant(kind, offset, old, changed))


@pytest.mark.parametrize(
    ("arch", "code", "offset", "new", "kind", "expected"),
    [
        # mov rcx, rdi before xor eax, eax; ret: rcx is never read
        (Arch.X86_64, "4889f9 31c0 c3", 0, "4889fa", "register", "dead"),
        # mov rax, rdi; ret: the result is read
        (Arch.X86_64, "4889f8 c3", 0, "4889f0", "register", ""),
        # behind ret
        (Arch.X86_64, "c3 4889f8", 1, "4889f0", "register", "unreachable"),
        # xor eax, eax and mov rcx, rdi change places
        (Arch.X86_64, "31c0 4889f9 c3", 0, "4889f931c0", "swap", "independent"),
        # mov rax, rdi; mov rdi, rsi: not the same in the other order
        (Arch.X86_64, "4889f8 4889f7 c3", 0, "4889f74889f8", "swap", ""),
        (Arch.X86_64, "4889f8 4889c6 4889f0 c3", 0, "4889c64889f8", "swap", ""),
        # test rax, rax; je -> jbe
        (Arch.X86_64, "4885c0 7402 31c0 c3", 3, "7602", "condition", "same condition"),
        (Arch.X86_64, "4885c0 7402 31c0 c3", 3, "7502", "condition", ""),
        # movk lsl 16 and movk lsl 32 after movz
        (
            Arch.ARM64, "000080d2 2000a0f2 4000c0f2 c0035fd6", 4, "4000c0f22000a0f2",
            "swap", "computes the same",
        ),
        # mov x9, x0 -> mov x9, x1, never read; str x0, [sp] is not dropped
        (Arch.ARM64, "e90300aa 000080d2 c0035fd6", 0, "e90301aa", "register", "dead"),
        (Arch.ARM64, "e00300f9 000080d2 c0035fd6", 0, "1f2003d5", "drop", ""),
    ],
)  # fmt: skip
def test_what_counts_as_equivalent(
    arch: Arch, code: str, offset: int, new: str, kind: str, expected: str
) -> None:
    assert reason(arch, code, offset, new, kind) == expected


@pytest.mark.parametrize("arch", list(Arch))
def test_mutants_differ_in_one_or_two_instructions(shared: Path, arch: Arch) -> None:
    code = bytes.fromhex(
        "554889e5488975f84885ff740531c0e9000000004889f8c9c3" if arch is Arch.X86_64
        else "fd7bbfa9fd030091e00300f9400000b4000080d2fd7bc1a8c0035fd6"
    )  # fmt: skip
    decoded = {one.offset: one for one in decode_code(arch, code, 0x1000)}
    for mutant in mutants_of(arch, code, 0x1000, random.Random(1)):
        new = mutant.apply(code)
        assert len(new) == len(code)
        assert new != code
        size = len(decoded[mutant.offset].code)
        if mutant.kind == "swap":
            size += len(decoded[mutant.offset + size].code)
        differs = [index for index in range(len(code)) if new[index] != code[index]]
        assert mutant.offset <= min(differs)
        assert max(differs) < mutant.offset + size


def test_the_command_prints_a_table(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = shared / "golden" / "smoke-arm64.jsonl.xz"
    assert main([str(path), "--per-code", "1", "--every", "8", "--runs", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| arch | what | kind | mutants | equivalent |")
    assert any("| all |" in line for line in lines)
