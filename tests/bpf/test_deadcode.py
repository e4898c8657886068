"""Code that no path reaches, against what captured kernels removed."""

from __future__ import annotations

import dataclasses
import lzma
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tramposim.bpf.asm import assemble
from tramposim.bpf.deadcode import live_program
from tramposim.bpf.disasm import disassemble
from tramposim.bpf.environment import FixupEnvironment, StructureOffsets
from tramposim.bpf.fixup import fixup
from tramposim.bpf.insn import Insn, decode
from tramposim.bpf.weak import without_missing_symbols
from tramposim.errors import InputError, UnsupportedError
from tramposim.spec import Arch, Kernel, Map, MapFlag, MapType, ProgKind, Program, Relocation

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
    assert ("if r2 == 7 goto +1" in lines) is False
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
        "call pc+3",
        "if r0 == 3 goto +1",
        "call kfunc#0",
        "exit",
        "r0 = r1",
        "exit",
    ]
    assert result.kfuncs == ((3, "bpf_session_is_return"),)
    assert result.lines == ((0, "a"), (1, "c"))


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
    assert len(decode(live_program(program, (7, 2)).program.insns)) == 4


def test_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded ones pass, whatever is known at first; one that changes nothing is refused."""
    (bounded,) = assemble(
        ".map m array key=4 value=8 entries=1\nr2 = map[m][0] ll\nr1 = *(u64 *)(r2 + 0)\n"
        "l: if r1 > 10 goto out\nr1 += 1\ngoto l\nout: r0 = 0\nexit"
    )
    assert live_program(bounded, (7, 2)).program.insns == bounded.insns
    for text in ("l: goto l", "l: r1 = *(u64 *)(r1 + 0)\nr0 = 0\nif r0 != 5 goto l\nexit"):
        (endless,) = assemble(text)
        with pytest.raises(InputError, match="endless loop"):
            live_program(endless, (7, 0))
    (long,) = assemble("r1 = 0\nl: r1 += 1\nif r1 != 90000 goto l\nr0 = 0\nexit")
    monkeypatch.setattr("tramposim.bpf.explore.LIMIT", 1000)
    with pytest.raises(UnsupportedError, match="1,000 steps"):
        live_program(long, (7, 2))


KINDS = {"fentry": ProgKind.FENTRY, "fexit": ProgKind.FEXIT}
TYPES = {1: MapType.HASH, 2: MapType.ARRAY, 3: MapType.PROG_ARRAY, 5: MapType.PERCPU_HASH,
         6: MapType.PERCPU_ARRAY, 9: MapType.LRU_HASH}  # fmt: skip
FILES = ("x86_64-7.0.13-default-jit", "arm64-6.12.107-max-jit")
MORE = ("x86_64-7.2.13-default-jit", "arm64-7.2.13-max-jit", "x86_64-7.3-rc7-default-jit")


def comparable(code: bytes) -> list[Insn]:
    """Instructions without what linking fills in, and pseudo marks that the JIT ignores."""
    insns = decode(code)
    for index, insn in enumerate(insns):
        if insn.opcode == 0x18 or (insn.opcode == 0x85 and insn.src == 1):
            imm = 0 if insn.opcode == 0x85 else insn.imm
            insns[index] = Insn(insn.opcode, insn.dst, 0, insn.offset, imm)
    return insns


@pytest.mark.parametrize("name", [*FILES, *(pytest.param(n, marks=pytest.mark.slow) for n in MORE)])
def test_random_programs_are_rewritten_as_by_the_kernel(shared: Path, name: str) -> None:
    """Dead branches, tail calls and stacks; programs with a context of packets are refused.

    In up to three programs of a hundred the kernel's bounds differ in a branch or two.
    """
    with lzma.open(shared / "golden" / f"{name}.jsonl.xz", "rt") as lines:
        boot, *records = [msgspec.json.decode(line) for line in lines]
    maps = {
        name: Map(name, TYPES[d["type"]], d["key"], d["value"], d["max"])
        for name, d in boot["map_defs"].items()
        if d["type"] in TYPES
    }
    value = boot["offsets"]["bpf_array_value"]
    env = FixupEnvironment(
        Kernel(Arch(boot["arch"]), boot["kernel"]),
        boot["symbols"],
        {name: info["addr"] for name, info in boot["maps"].items()},
        StructureOffsets(value),
        address_bits=52,
        private_stack=lambda size, align: 0x1000,
    )
    equal, differing = 0, []
    for record in records:
        if not record["id"].startswith("rand") or not record.get("main"):
            continue
        names = dict.fromkeys(name for _, _, name in record["relocs"] if name in maps)
        program = Program(
            record["id"],
            KINDS.get(record["ptype"], ProgKind.SOCKET),
            bytes.fromhex(record["insns"]),
            tuple(maps[name] for name in names),
            tuple((i, Relocation(kind), name) for i, kind, name in record["relocs"]),
        )
        try:
            ours = fixup(program, env).functions
        except UnsupportedError:
            continue
        theirs = record.get("funcs") or [record["main"]]
        codes = [comparable(bytes.fromhex(one["insnsi"])) for one in theirs]
        reach = [bool(one["aux_fields"]["tail_call_reachable"]) for one in theirs]
        depths = [one["aux_fields"]["stack_depth"] for one in theirs]
        if [comparable(f.insns) for f in ours] != codes:
            differing.append(record["id"])
            continue
        assert [f.stack_depth for f in ours] == depths, record["id"]
        if [f.tail_call_reachable for f in ours] != reach:
            differing.append(record["id"])
            continue
        equal += 1
    assert equal > 40
    assert len(differing) <= max(2, 3 * (equal + len(differing)) // 95), differing
