"""What machine instructions read and write: registers, flags, memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tramposim.machine.disassembly import Instruction
from tramposim.machine.rules.listing import Flow, flow_of
from tramposim.spec import Arch
from tramposim.study.mutants import Decoded

__all__ = ["Effect", "acts", "constant_of", "effect_of", "full_name", "is_part"]

_X86_SIZES = {
    **{f"{p}{r}{s}": f"r{r}{s}" for r in "abcd" for p, s in (("e", "x"), ("", "x"))},
    **{f"{r}{half}": f"r{r}x" for r in "abcd" for half in "lh"},
    **{f"{p}{r}": f"r{r}" for r in ("si", "di", "bp", "sp") for p in ("e", "")},
    **{f"{r}l": f"r{r}" for r in ("si", "di", "bp", "sp")},
    **{f"r{n}{s}": f"r{n}" for n in range(8, 16) for s in "dwb"},
}
_ATOMICS = (
    "ldadd", "ldset", "ldclr", "ldeor", "ldsm", "ldum", "stadd", "stset", "stclr", "steor",
    "swp", "cas", "ldx", "stx", "ldax", "stlx", "ldar", "stlr",
)  # fmt: skip
_NAMES = re.compile(r"\b(?:[xw]\d+|w?sp)\b")
_FLAGS = {"rflags", "eflags", "nzcv", "flags"}


@dataclass(frozen=True, slots=True)
class Effect:
    """What an instruction reads and writes; `partial` writes leave a part of the register."""

    reads: frozenset[str]
    writes: frozenset[str]
    partial: frozenset[str]
    loads: frozenset[tuple[str, int]]
    stores: frozenset[tuple[str, int]]
    control: bool
    special: bool
    atomic: bool
    addresses: frozenset[str]


_SPECIAL = (
    "int3", "hlt", "ud2", "lfence", "mfence", "endbr64", "rdmsr", "wrmsr", "in", "out", "cli",
    "sti", "syscall", "brk", "svc", "hlt", "msr", "dmb", "dsb", "isb", "bti", "xchg", "lock",
    "div", "idiv",
)  # fmt: skip


def effect_of(arch: Arch, one: Decoded) -> Effect:
    """What an instruction reads and writes."""
    insn = one.insn
    reads, writes = insn.regs_access()
    name = insn.mnemonic
    written = [insn.reg_name(reg) for reg in writes]
    flow = flow_of(arch, Instruction(insn.address, one.code, name, insn.op_str))
    read = {full_name(arch, insn.reg_name(reg)) for reg in reads}
    if _clears(one):
        read = set()
    if name in ("paciasp", "autiasp"):
        read, written = {"x30", "sp"}, ["x30"]
    if arch is Arch.ARM64 and name in ("cmp", "cmn", "tst", "ccmp", "ccmn"):
        # capstone calls the first register of these written.
        read = {full_name(arch, register) for register in _NAMES.findall(insn.op_str)}
        read |= {"flags"} if name.startswith("cc") else set()
        written = ["nzcv"]
    atomic = arch is Arch.ARM64 and name.startswith(_ATOMICS)
    if atomic:
        # capstone does not tell the registers of these.
        used = _NAMES.findall(insn.op_str)
        read = {full_name(arch, register) for register in used}
        written = used
    partial = {full_name(arch, reg) for reg in written if arch is Arch.X86_64 and is_part(reg)}
    loads, stores = _memory(arch, insn)
    first = name.split()[0]
    special = (
        atomic
        or first in _SPECIAL
        or (
            arch is Arch.ARM64
            and first.startswith(("ld", "st"))
            and (first[2:3] == "x" or first[2:3] == "a" or first[2:3] == "l")
        )
    )
    return Effect(
        frozenset(read - {""}),
        frozenset({full_name(arch, reg) for reg in written} - {""}),
        frozenset(partial),
        frozenset(loads),
        frozenset(stores),
        flow is not Flow.NONE,
        special,
        atomic or first == "lock",
        frozenset(_addresses(arch, insn)),
    )


def _addresses(arch: Arch, insn: Any) -> Iterator[str]:
    """Registers that the address of an access is made from."""
    memory = 3
    for operand in insn.operands:
        if operand.type == memory:
            for register in (operand.mem.base, operand.mem.index):
                if register:
                    yield full_name(arch, insn.reg_name(register))


def _clears(one: Decoded) -> bool:
    """Whether it is x86_64's way to write zero, which needs no old value."""
    insn = one.insn
    if insn.mnemonic not in ("xor", "sub") or len(insn.operands) != 2:
        return False
    first, second = insn.operands
    return bool(first.type == second.type == 1 and first.reg == second.reg)


def full_name(arch: Arch, name: str | None) -> str:
    """The whole register that a name stands for, all flags as one; empty for zero registers."""
    if name is None:
        return ""
    if name in _FLAGS:
        return "flags"
    if arch is Arch.X86_64:
        return _X86_SIZES.get(name, name)
    if name in ("xzr", "wzr"):
        return ""
    if name == "wsp":
        return "sp"
    return {"fp": "x29", "lr": "x30"}.get(name, "x" + name[1:] if name[0] == "w" else name)


def is_part(name: str) -> bool:
    """Whether writing this x86_64 register leaves the rest of it."""
    if name.startswith("r") and not name.endswith(("w", "b")):
        return False
    return not (name.startswith("e") or name.endswith("d"))


def _memory(arch: Arch, insn: object) -> tuple[set[tuple[str, int]], set[tuple[str, int]]]:
    """(address expression, bytes) of loads and stores; bytes 0 if not known."""
    loads: set[tuple[str, int]] = set()
    stores: set[tuple[str, int]] = set()
    operands = getattr(insn, "operands", [])
    name = getattr(insn, "mnemonic", "")
    text = getattr(insn, "op_str", "")
    if arch is Arch.ARM64:
        if name.startswith(("ld", "st", "cas", "swp", "prfm")):
            place, size = _arm64_place(text), _arm64_size(name, text)
            atomic = name.startswith(("ldadd", "ldset", "ldclr", "ldeor", "cas", "swp"))
            if name.startswith("ld") or atomic:
                loads.add((place, size))
            if name.startswith("st") or atomic:
                stores.add((place, size))
        return loads, stores
    if name in ("lea", "nop") or name.startswith("nop"):
        return loads, stores
    for operand in operands:
        if operand.type == 3:
            memory = operand.mem
            place = f"{memory.segment}:{memory.base}+{memory.index}*{memory.scale}+{memory.disp}"
            if operand.access & 1 or not operand.access:
                loads.add((place, operand.size))
            if operand.access & 2 or not operand.access:
                stores.add((place, operand.size))
    if name in ("push", "call"):
        stores.add(("push", 8))
    if name in ("pop", "leave", "ret"):
        loads.add(("pop", 8))
    return loads, stores


def _arm64_place(text: str) -> str:
    """`base+displacement` of an address without write-back or index, else as written."""
    place = text[text.find("[") :]
    inner, closed, rest = place[1:].partition("]")
    base, _, displacement = inner.partition(", #")
    if closed and not rest and "," not in base:
        try:
            return f"{base}+{int(displacement or '0', 0)}"
        except ValueError:
            pass
    return place


def _arm64_size(name: str, text: str) -> int:
    """Bytes of a plain load or store, 0 if not known."""
    width = 4 if text.startswith("w") else 8
    if name in ("ldr", "str", "ldur", "stur"):
        return width
    if name in ("ldp", "stp"):
        return 2 * width
    return {"strb": 1, "ldrb": 1, "strh": 2, "ldrh": 2, "ldrsw": 4}.get(name, 0)


def acts(effect: Effect) -> bool:
    """Whether an instruction does more than to write registers; a load may fault."""
    pops = any(place == "pop" for place, _ in effect.loads)
    return effect.control or effect.special or bool(effect.stores) or pops


def constant_of(one: Decoded) -> tuple[str, int] | None:
    """(register, value) of an instruction that does nothing but load a constant."""
    insn = one.insn
    if insn.mnemonic not in ("mov", "movabs", "movz", "movn") or len(insn.operands) != 2:
        return None
    target, value = insn.operands
    if target.type != 1 or value.type != 2:
        return None
    name = insn.reg_name(target.reg)
    bits = 64
    if name.startswith(("e", "w")) or name.endswith("d"):
        bits = 32
    full = _X86_SIZES.get(name, "x" + name[1:] if name.startswith("w") else name)
    return full, value.imm & (1 << bits) - 1
