"""Code that no path reaches, against what captured kernels removed."""

from __future__ import annotations

import dataclasses
import lzma
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tramposim.bpf.asm import assemble
from tramposim.bpf.disasm import disassemble
from tramposim.bpf.environment import FixupEnvironment
from tramposim.bpf.insn import decode
from tramposim.bpf.deadcode import live_program
from tramposim.bpf.weak import without_missing_symbols
from tramposim.spec import Arch, Kernel, Map, MapFlag, MapType, ProgKind, Program, Relocation

OR, MULTIPLY = (0x47, 0x4F, 0x44, 0x4C), (0x2F, 0x2C)
CONSTANTS = Map(
    "c.rodata", MapType.ARRAY, 4, 8, 1, content=b"\7\0\0\0\xff", flags=MapFlag.RDONLY_PROG
)


def shrunk(text: str, **changes: Any) -> list[str]:
    (program,) = assemble(text)
    program = dataclasses.replace(program, **changes)
    return [line for line in disassemble(live_program(program, (7, 2)).program.insns) if line]


@pytest.mark.parametrize(
    ("load", "offset", "taken"),
    [
        ("r2 = *(u32 *)(r1 + 0)", 0, True),
        ("r2 = *(u32 *)(r1 + 4)", 0, False),
        ("r1 += 3\nr2 = *(u8 *)(r1 - 3)", 0, True),
        ("r2 = *(s8 *)(r1 + 0)\nr2 += 8", 4, True),
    ],
)
def test_branches_on_constants_in_read_only_data(load: str, offset: int, taken: bool) -> None:
    text = f"r1 = {offset << 32} ll\n{load}\nr0 = 1\nif r2 == 7 goto +1\nr0 = 2\nexit\n"
    kind = Relocation.MAP_VALUE
    arguments = {"maps": (CONSTANTS,), "relocations": ((0, kind, CONSTANTS.name),)}
    lines = shrunk(text, **arguments)
    assert ("r0 = 2" in lines) is not taken
    assert ("goto +0" in lines) is taken
    writable = dataclasses.replace(CONSTANTS, flags=0)
    assert "if r2 == 7 goto +1" in shrunk(text, **(arguments | {"maps": (writable,)}))


def test_jumps_and_tables_follow() -> None:
    text = """
        r6 = 1
        if r6 == 1 goto live
        call bpf_ktime_get_ns
        r1 = 5 ll
    loop:
        r6 += 1
        if r1 > 7 goto loop
    live:
        call f
        if r0 == 3 goto end
        call bpf_session_is_return
    end:
        exit
    f:
        r0 = r1
        exit
    """
    (program,) = assemble(text)
    program = dataclasses.replace(program, lines=((0, "a"), (3, "b"), (7, "c")))
    (kfunc,) = program.kfuncs
    assert kfunc[0] == 9
    result = live_program(program, (7, 2)).program
    assert [line for line in disassemble(result.insns) if line] == [
        "r6 = 1",
        "goto +0",
        "call pc+3",
        "if r0 == 3 goto +1",
        "call kfunc#0",
        "exit",
        "r0 = r1",
        "exit",
    ]
    assert result.kfuncs == ((4, "bpf_session_is_return"),)
    assert result.lines == ((0, "a"), (2, "c"))


def test_weak_symbols_that_are_missing_are_zero() -> None:
    (program,) = assemble("r1 = 0 ll\nr0 = 1\nif r1 != 0 goto +1\nexit\nr0 = 9\nexit\n")
    weak = dataclasses.replace(
        program,
        insns=program.insns[:1] + b"\x31" + program.insns[2:],
        relocations=((0, Relocation.WEAK_SYMBOL, "bpf_no_such"),),
    )
    kernel = Kernel(Arch.X86_64)
    assert without_missing_symbols(weak, FixupEnvironment(kernel, {}, {})) == program
    there = FixupEnvironment(kernel, {"bpf_no_such": 0xFFFFFFFF81234567}, {})
    assert without_missing_symbols(weak, there) == weak
    traced = dataclasses.replace(weak, target="bpf_no_such")
    assert without_missing_symbols(traced, FixupEnvironment(kernel, {}, {})) == traced
    assert len(decode(live_program(program, (7, 2)).program.insns)) == 5


def test_what_is_not_well_formed_is_left_alone() -> None:
    for text in ("goto +1\nr0 = 1\nexit\n", "r0 = 1\nif r0 == 1 goto +9\nexit\n"):
        (program,) = assemble(text)
        assert live_program(program, (7, 2)).program is program


@pytest.mark.parametrize("name", ["x86_64-7.2.13-default-jit", "x86_64-6.12.107-default-jit"])
def test_nothing_is_removed_that_the_kernel_keeps(shared: Path, name: str) -> None:
    """Counted are operations that no rewriting of the kernel adds."""
    with lzma.open(shared / "golden" / f"{name}.jsonl.xz", "rt") as lines:
        _, *records = [msgspec.json.decode(line) for line in lines]
    removed = checked = 0
    for record in records:
        if record.get("load_errno") or not record.get("insns") or "main" not in record:
            continue
        maps = dict.fromkeys(name for _, _, name in record["relocs"])
        program = Program(
            record["id"],
            ProgKind.SOCKET,
            bytes.fromhex(record["insns"]),
            tuple(Map(name, MapType.ARRAY, 4, 8, 1) for name in maps),
            tuple((i, Relocation(kind), name) for i, kind, name in record["relocs"]),
        )
        result = live_program(program, (7, 2)).program
        loaded = record.get("funcs") or [record["main"]]
        kept = [insn for f in loaded for insn in decode(bytes.fromhex(f["insnsi"]))]
        for opcode in (*OR, *MULTIPLY):
            ours = sum(insn.opcode == opcode for insn in decode(result.insns))
            assert ours >= sum(insn.opcode == opcode for insn in kept), record["id"]
        removed += result is not program
        checked += 1
    assert checked > 100
    assert removed > 20
