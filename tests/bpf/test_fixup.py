"""Verifier-side rewriting against the instructions that kernels handed to their JITs."""

from __future__ import annotations

import lzma
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tramposim.bpf.asm import assemble
from tramposim.bpf.fixup import FixupEnvironment, StructureOffsets, fixup
from tramposim.bpf.insn import Insn, decode
from tramposim.errors import InputError, UnsupportedError
from tramposim.spec import Arch, Kernel, Map, MapType, ProgKind, Program, Relocation

KINDS = {"fe": "fentry", "fx": "fexit", "fm": "fmod_ret", "fs": "fsession", "lsm": "lsm"}
FILES = [
    "smoke-x86_64",
    "smoke-arm64",
    pytest.param("x86_64-6.12.107-default-trampolines", marks=pytest.mark.slow),
    pytest.param("x86_64-7.2.13-default-trampolines", marks=pytest.mark.slow),
    pytest.param("arm64-7.0.13-max-trampolines", marks=pytest.mark.slow),
    pytest.param("arm64-7.2.13-max-trampolines", marks=pytest.mark.slow),
]


def as_loaded(record: dict[str, Any], boot: dict[str, Any]) -> tuple[Program, dict[str, int], int]:
    """The program as given to the kernel, and its maps' addresses from what came out."""
    insns = decode(bytes.fromhex(record["insns"]))
    out = decode(bytes.fromhex(record["main"]["insnsi"]))
    before = [i for i, insn in enumerate(insns) if insn.opcode == 0x18]
    after = [i for i, insn in enumerate(out) if insn.opcode == 0x18]
    value_offset = 264 if boot["kernel"].startswith("6.12") else 304
    names = {number: name for name, number in boot["btf_ids"].items()}
    addresses = {}
    for index, kind, name in record["relocs"]:
        place = after[before.index(index)]
        low, high = out[place].imm & 0xFFFFFFFF, out[place + 1].imm & 0xFFFFFFFF
        inside = value_offset + insns[index + 1].imm if kind == "v" else 0
        addresses[name] = (high << 32 | low) - inside
    program = Program(
        name=record["body"],
        kind=ProgKind(KINDS[record["kind"]]),
        insns=bytes.fromhex(record["insns"]),
        maps=tuple(
            Map(name, MapType.HASH, 8, 8, 1024)
            if name == "h"
            else Map(name, MapType.ARRAY, 4, 4096, 1)
            for name in addresses
        ),
        relocations=tuple((i, Relocation(kind), name) for i, kind, name in record["relocs"]),
        kfuncs=tuple(
            (i, names[x.imm]) for i, x in enumerate(insns) if x.opcode == 0x85 and x.src == 2
        ),
    )
    return program, addresses, value_offset


@pytest.mark.parametrize("name", FILES)
def test_programs_of_captured_trampolines(shared: Path, name: str) -> None:
    with lzma.open(shared / "golden" / f"{name}.jsonl.xz", "rt") as lines:
        boot, *cases = [msgspec.json.decode(line) for line in lines]
    kernel = Kernel(Arch(boot["arch"]), boot["kernel"])
    checked = 0
    for case in cases:
        for record in case.get("progs", ()):
            if not record.get("main") or record["kind"] not in KINDS:
                continue
            program, maps, value_offset = as_loaded(record, boot)
            env = FixupEnvironment(kernel, boot["symbols"], maps, StructureOffsets(value_offset))
            loaded = fixup(program, env)
            (function,) = loaded.functions
            main = record["main"]
            assert function.insns.hex() == main["insnsi"], case["id"]
            assert function.stack_depth == main["aux_fields"]["stack_depth"], case["id"]
            if "call_session_cookie" in main["prog_fields"]:
                assert loaded.uses_session_cookie == main["prog_fields"]["call_session_cookie"]
            checked += 1
    assert checked


MAP_TYPES = {
    1: MapType.HASH,
    2: MapType.ARRAY,
    3: MapType.PROG_ARRAY,
    6: MapType.PERCPU_ARRAY,
    9: MapType.LRU_HASH,
}
SWEEPS = (
    "alu32", "alu64", "mem", "atomic", "lookup", "probemem", "helper", "ld64", "endian",
    "maygoto", "sub", "stack",
)  # fmt: skip


def comparable(code: bytes) -> list[Insn]:
    """Instructions without what linking fills in, and pseudo marks that the JIT ignores."""
    insns = decode(code)
    for index, insn in enumerate(insns):
        if insn.opcode == 0x18 or (insn.opcode == 0x85 and insn.src == 1):
            imm = 0 if insn.opcode == 0x85 else insn.imm
            insns[index] = Insn(insn.opcode, insn.dst, 0, insn.offset, imm)
    return insns


@pytest.mark.parametrize("name", ["x86_64-7.2.13-default-jit", "arm64-7.2.13-max-jit"])
def test_systematic_programs_are_rewritten_as_by_the_kernel(shared: Path, name: str) -> None:
    """Division checks, map lookups, loads through kernel pointers, extended cmpxchg results."""
    with lzma.open(shared / "golden" / f"{name}.jsonl.xz", "rt") as lines:
        boot, *records = [msgspec.json.decode(line) for line in lines]
    maps = {
        name: Map(name, MAP_TYPES[d["type"]], d["key"], d["value"], d["max"])
        for name, d in boot["map_defs"].items()
        if d["type"] in MAP_TYPES
    }
    addresses = {name: info["addr"] for name, info in boot["maps"].items()}
    kernel = Kernel(Arch(boot["arch"]), boot["kernel"])
    env = FixupEnvironment(kernel, boot["symbols"], addresses, address_bits=52)
    checked = 0
    for record in records:
        family = record["id"].split(".")[1]
        if record["id"].split(".")[0] != "sweep" or family not in SWEEPS or record["load_errno"]:
            continue
        traces = record["ptype"] not in ("socket", "tc", "xdp", "cgskb")
        program = Program(
            name=record["id"],
            kind=ProgKind.FENTRY if traces else ProgKind.SOCKET,
            insns=bytes.fromhex(record["insns"]),
            maps=tuple(maps[name] for name in {name for _, _, name in record["relocs"]}),
            relocations=tuple((i, Relocation(kind), name) for i, kind, name in record["relocs"]),
        )
        functions = fixup(program, env).functions
        inputs = record.get("funcs") or [record["main"]]
        assert len(functions) == len(inputs)
        for function, given in zip(functions, inputs, strict=True):
            assert comparable(function.insns) == comparable(bytes.fromhex(given["insnsi"]))
            assert function.stack_depth == given["aux_fields"]["stack_depth"], record["id"]
        checked += 1
    assert checked > 60


ENV = FixupEnvironment(
    Kernel(Arch.X86_64),
    {"__bpf_call_base": 0x1000, "bpf_ktime_get_ns": 0x3000, "cpu_number": 0xFFFFFFFF80001000},
    {"counts": 0xFFFF888012345600},
)


def test_percpu_array_lookup_is_inlined() -> None:
    """The sequence of kernel/bpf/arraymap.c, as captured programs of the rand set show it."""
    (program,) = assemble(
        ".map counts percpu_array key=4 value=8 entries=4\n"
        "r1 = map[counts] ll\nr2 = r10\nr2 += -8\ncall bpf_map_lookup_elem\nexit"
    )
    insns = fixup(program, ENV).functions[0].insns.hex()
    expected = (
        "0701000030010000 6120000000000000 3500050004000000 6700000003000000"
        "0f10000000000000 7900000000000000 bf00ffff00000000 0500010000000000 b700000000000000"
    )
    assert expected.replace(" ", "") in insns


def test_jumps_over_inlined_code_are_corrected() -> None:
    (program,) = assemble(
        ".section fsession\nif r1 == 0 goto out\ncall bpf_session_cookie\nout: r0 = 0\nexit"
    )
    loaded = fixup(program, ENV)
    assert decode(loaded.functions[0].insns)[0].offset == 6
    assert loaded.uses_session_cookie


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (".section fentry\ncall bpf_session_cookie\nexit", InputError),
        ("call bpf_spin_lock\nexit", UnsupportedError),
        ("r2 = addr_space_cast(r1, 0, 1)\nr0 = 0\nexit", UnsupportedError),
        ("callx r1\nexit", UnsupportedError),
        ("r0 = *(u8 *)skb[0]\nexit", UnsupportedError),
        ("call no_such_function\nexit", UnsupportedError),
        ("call 9999\nexit", UnsupportedError),
        ("r0 = 0", InputError),
        ("goto +5\nexit", InputError),
        ("exit\nr0 = 0\nexit", InputError),
        ("r0 = *(u32 *)(r1 + 0)\nexit", UnsupportedError),
    ],
)
def test_what_cannot_be_rewritten_is_refused(text: str, error: type[Exception]) -> None:
    (program,) = assemble(text)
    with pytest.raises(error):
        fixup(program, ENV)


def test_deep_stacks_of_tracing_programs_are_private() -> None:
    """Captured programs have a private stack from 56 bytes on, none up to 48."""
    asked: list[tuple[int, int]] = []

    def allocate(size: int, align: int) -> int:
        asked.append((size, align))
        return 0x1234

    env = replace(ENV, private_stack=allocate)
    for depth in (48, 56):
        (program,) = assemble(f".section fentry\n*(u64 *)(r10 - {depth}) = 0\nr0 = 0\nexit")
        (function,) = fixup(program, env).functions
        assert function.private_stack == (0 if depth == 48 else 0x1234)
    assert asked == [(56 + 16, 8)]
    with pytest.raises(UnsupportedError, match="private stack"):
        fixup(program, ENV)


@pytest.mark.parametrize(
    ("depths", "private"),
    [((64, 112), (True, True)), ((184, 16), (True, False)), ((0, 112), (False, True))],
)
def test_each_function_has_its_own_private_stack(
    depths: tuple[int, int], private: tuple[bool, bool]
) -> None:
    """Depths and private stacks of captured programs of two functions."""
    uses = [f"*(u64 *)(r10 - {depth}) = 0\n" if depth else "" for depth in depths]
    text = f".section fentry\n{uses[0]}call f\nr0 = 0\nexit\nf:\n{uses[1]}r0 = 0\nexit\n"
    (program,) = assemble(text)
    env = replace(ENV, private_stack=lambda size, align: 0x1234)
    functions = fixup(program, env).functions
    assert tuple(f.stack_depth for f in functions) == depths
    assert tuple(bool(f.private_stack) for f in functions) == private
