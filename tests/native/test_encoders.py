"""Encodings as triples: operation, bytes, and what an outside disassembler reads in them.

The texts were checked against the operations by hand and with llvm-mc when recorded.
"""

from pathlib import Path

import pytest

from tramposim._native import arm64_asm, x86_64_asm
from tramposim._native.asmplan import Isa, Plan
from tramposim.errors import BuildError

capstone = pytest.importorskip("capstone")

ISAS = {"x86_64": x86_64_asm.ISA, "arm64": arm64_asm.ISA}
ADDRESS = {"x86_64": 0xFFFFFFFFC0001000, "arm64": 0xFFFF800080001000}


def triples(arch: str) -> list[tuple[str, list[int], str, str]]:
    rows = []
    for line in (Path(__file__).parent / f"{arch}_triples.txt").read_text().splitlines():
        operation, code, text = line.split(" | ")
        name, *operands = operation.split()
        rows.append((name, [int(operand, 16) for operand in operands], code, text))
    return rows


def disassemble(arch: str, code: bytes) -> str:
    mode = {
        "x86_64": (capstone.CS_ARCH_X86, capstone.CS_MODE_64),
        "arm64": (capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM),
    }[arch]
    insns = capstone.Cs(*mode).disasm(code, ADDRESS[arch])
    return "; ".join(f"{insn.mnemonic} {insn.op_str}".strip() for insn in insns)


@pytest.mark.parametrize("arch", ISAS)
def test_triples(arch: str) -> None:
    for name, operands, code, text in triples(arch):
        emitted = ISAS[arch].encode_one(name, *operands, address=ADDRESS[arch])
        assert emitted.hex() == code, (name, operands)
        assert disassemble(arch, emitted) == text, (name, operands)


@pytest.mark.parametrize("arch", ISAS)
def test_every_operation_has_a_triple(arch: str) -> None:
    assert {row[0] for row in triples(arch)} == set(ISAS[arch].names)


@pytest.mark.parametrize(
    ("isa", "name", "operands"),
    [
        (x86_64_asm.ISA, "push", (16,)),
        (x86_64_asm.ISA, "push", (-1,)),
        (x86_64_asm.ISA, "load64", (0, 5, 1 << 31)),
        (x86_64_asm.ISA, "call", (1 << 40,)),
        (x86_64_asm.ISA, "jmp_short", (200,)),
        (x86_64_asm.ISA, "nop", (0,)),
        (arm64_asm.ISA, "ldr", (0, 31, 4)),
        (arm64_asm.ISA, "ldr", (0, 31, 32768)),
        (arm64_asm.ISA, "ldr", (32, 31, 0)),
        (arm64_asm.ISA, "stp_pre", (29, 30, 31, -520)),
        (arm64_asm.ISA, "bl", (1 << 28,)),
        (arm64_asm.ISA, "bl", (2,)),
        (arm64_asm.ISA, "mov_addr", (0, 0x1234)),
        (arm64_asm.ISA, "movi", (32, 0)),
    ],
)
def test_operands_out_of_range_are_refused(isa: Isa, name: str, operands: tuple[int, ...]) -> None:
    with pytest.raises(BuildError, match=name):
        isa.encode_one(name, *operands)


@pytest.mark.parametrize("arch", ISAS)
def test_plan_places_labels_parts_and_slots(arch: str) -> None:
    plan = Plan(ISAS[arch])
    value = plan.slot()
    end = plan.label()
    plan.part()
    plan.op(*(("jcc_short", 4, end) if arch == "x86_64" else ("cbz", 0, end)))
    plan.op("movi", 0, value + 1)
    plan.bind(end)
    plan.part()
    plan.align(16)
    code = plan.emit(ADDRESS[arch], [0x1233])
    skip = {"x86_64": "7405b834120000", "arm64": "400000b480468252"}[arch]
    assert code.code.hex().startswith(skip)
    assert code.labels == [len(skip) // 2 if arch == "arm64" else 7]
    assert code.parts == [0, code.labels[0]]
    assert len(code.code) == 16
    assert plan.emit(ADDRESS[arch], [0x1233]).code == code.code


@pytest.mark.parametrize("arch", ISAS)
def test_plan_refuses_what_it_cannot_place(arch: str) -> None:
    plan = Plan(ISAS[arch])
    label = plan.label()
    plan.op("movi", 0, label)
    with pytest.raises(BuildError, match="nowhere bound"):
        plan.emit(0, [])
    plan.bind(label)
    with pytest.raises(BuildError, match="slot values"):
        plan.emit(0, [1])
    with pytest.raises(BuildError, match="changes its length"):
        plan.emit({"x86_64": 0xFFFFFFFF, "arm64": 0xFFFC}[arch], [])
    plan.bind(label)
    with pytest.raises(BuildError, match="bound twice"):
        plan.emit(0, [])
    with pytest.raises(BuildError, match="no operation"):
        plan.op("frobnicate")
    with pytest.raises(BuildError, match="operands"):
        plan.op("nop", 1, 2)
