"""Disassembler: eBPF instructions as the text that `tramposim.bpf.asm` reads back exactly."""

from __future__ import annotations

from collections.abc import Mapping

from tramposim.bpf import insn as isa
from tramposim.bpf.helpers import HELPER_NAMES
from tramposim.bpf.insn import ALU_OPS, JMP_OPS, Insn, Pseudo, decode
from tramposim.errors import UnsupportedError
from tramposim.spec import Program, Relocation

__all__ = ["disassemble", "disassemble_program", "format_insn"]

_BITS = {isa.B: 8, isa.H: 16, isa.W: 32, isa.DW: 64}
_ATOMIC = {isa.ADD: "+=", isa.OR: "|=", isa.AND: "&=", isa.XOR: "^="}
_FETCH = {isa.ADD: "add", isa.OR: "or", isa.AND: "and", isa.XOR: "xor"}


def disassemble(code: bytes) -> list[str]:
    """One text per instruction slot; the second slot of a 64-bit immediate load is empty.

    Jump targets are relative (`goto +3`). Raises `UnsupportedError` for an unknown opcode.
    """
    insns = decode(code)
    lines: list[str] = []
    while len(lines) < len(insns):
        insn = insns[len(lines)]
        wide = insn.opcode == isa.LD_IMM64
        upper = insns[len(lines) + 1].imm if wide else 0
        lines.append(format_insn(insn, upper))
        if wide:
            lines.append("")
    return lines


def disassemble_program(program: Program) -> str:
    """A program as a whole source text: maps, section, labels; assembling it gives it back."""
    insns = decode(program.insns)
    texts = disassemble(program.insns)
    named: dict[int, str] = {}
    for index, kind, name in program.relocations:
        if kind in (Relocation.SYMBOL, Relocation.WEAK_SYMBOL):
            raise UnsupportedError(f"{program.name}: the address of {name} has no text form")
        value = insns[index + 1].imm
        tail = "" if kind is Relocation.MAP else f"[0] + {value}"
        named[index] = f"r{insns[index].dst} = map[{name}]{tail} ll"
    for index, name in program.kfuncs:
        named[index] = f"call {name}"
    labels = _labels(insns, program.name)
    lines = [
        f".map {m.name} {m.type} key={m.key_size} value={m.value_size} entries={m.max_entries}"
        for m in program.maps
    ]
    suffix = (".s" if program.sleepable else "") + (f"/{program.target}" if program.target else "")
    lines.append(f".section {program.kind}{suffix}")
    for index, text in enumerate(texts):
        if index in labels:
            lines.append(f"{labels[index]}:")
        if text:
            lines.append("    " + named.get(index, _with_label(insns[index], index, text, labels)))
    return "\n".join(lines) + "\n"


def _target(insn: Insn, index: int) -> int | None:
    """Index that an instruction jumps to or calls in its own program, if it does."""
    if insn.cls == isa.JMP32 and insn.op == isa.JA:
        return index + 1 + insn.imm
    if insn.cls not in (isa.JMP, isa.JMP32) or insn.op == isa.EXIT:
        if insn.opcode == isa.LD_IMM64 and insn.src == Pseudo.FUNC:
            return index + 1 + insn.imm
        return None
    if insn.op == isa.CALL:
        direct = insn.src == Pseudo.CALL and not insn.from_register
        return index + 1 + insn.imm if direct else None
    return index + 1 + insn.offset


def _labels(insns: list[Insn], name: str) -> dict[int, str]:
    labels = {0: name}
    for index, insn in enumerate(insns):
        target = _target(insn, index)
        if target is not None and 0 <= target < len(insns):
            labels.setdefault(target, f"L{target}")
    return labels


def _with_label(insn: Insn, index: int, text: str, labels: Mapping[int, str]) -> str:
    target = _target(insn, index)
    label = labels.get(target) if target is not None else None
    if label is None:
        return text
    if insn.opcode == isa.LD_IMM64:
        return f"r{insn.dst} = &{label} ll"
    return f"{text.rpartition(' ')[0]} {label}"


def format_insn(insn: Insn, upper: int = 0) -> str:
    """The text of one instruction; `upper` is the imm of a 64-bit load's second slot.

    Raises `UnsupportedError` for an opcode that eBPF does not have.
    """
    text = None
    if insn.cls in (isa.ALU, isa.ALU64):
        text = _alu(insn)
    elif insn.cls in (isa.JMP, isa.JMP32):
        text = _jump(insn)
    elif insn.opcode == isa.LD_IMM64:
        text = _imm64(insn, upper)
    else:
        text = _memory(insn)
    if text is None:
        raise UnsupportedError(f"unknown eBPF instruction {bytes(insn).hex()}")
    return text


def _alu(insn: Insn) -> str | None:
    letter = "r" if insn.cls == isa.ALU64 else "w"
    dst, src = f"{letter}{insn.dst}", f"{letter}{insn.src}"
    if insn.op == isa.NEG:
        return f"{dst} = -{dst}"
    if insn.op == isa.END:
        swap = "bswap" if insn.cls == isa.ALU64 else "be" if insn.from_register else "le"
        return f"r{insn.dst} = {swap}{insn.imm} r{insn.dst}" if insn.imm in (16, 32, 64) else None
    operator = ALU_OPS.get(insn.op)
    if operator is None:
        return None
    if insn.op == isa.MOV and insn.from_register and insn.offset:
        if insn.offset in (8, 16, 32):
            return f"{dst} = (s{insn.offset}){src}"
        if insn.offset == isa.ADDR_SPACE_CAST:
            return f"{dst} = addr_space_cast({src}, {insn.imm >> 16 & 0xFFFF}, {insn.imm & 0xFFFF})"
        return f"{dst} = &(void __percpu *)({src})" if insn.offset == isa.PERCPU_MOV else None
    if insn.offset:
        if insn.offset != 1 or insn.op not in (isa.DIV, isa.MOD):
            return None
        operator = f"s{operator}"
    return f"{dst} {operator} {src if insn.from_register else insn.imm}"


def _signed(value: int) -> str:
    return f"+{value}" if value >= 0 else str(value)


def _jump(insn: Insn) -> str | None:
    wide = insn.cls == isa.JMP
    if insn.op == isa.JA:
        if insn.from_register:
            return None
        return f"goto {_signed(insn.offset)}" if wide else f"gotol {_signed(insn.imm)}"
    if insn.op in (isa.CALL, isa.EXIT, isa.JCOND, isa.TAIL_CALL):
        return _control(insn) if wide else None
    letter = "r" if wide else "w"
    operand = f"{letter}{insn.src}" if insn.from_register else str(insn.imm)
    return f"if {letter}{insn.dst} {JMP_OPS[insn.op]} {operand} goto {_signed(insn.offset)}"


def _control(insn: Insn) -> str | None:
    if insn.op == isa.EXIT:
        return "exit"
    if insn.op == isa.JCOND:
        return f"may_goto {_signed(insn.offset)}"
    if insn.op == isa.TAIL_CALL:
        return f"tail_call {insn.imm}"
    if insn.from_register:
        return f"callx r{insn.dst}"
    if insn.src == Pseudo.CALL:
        return f"call pc{_signed(insn.imm)}"
    if insn.src == Pseudo.KFUNC:
        return f"call kfunc#{insn.imm}"
    return f"call {HELPER_NAMES.get(insn.imm, insn.imm)}"


def _imm64(insn: Insn, upper: int) -> str:
    value = (upper & 0xFFFFFFFF) << 32 | insn.imm & 0xFFFFFFFF
    if insn.src == Pseudo.FUNC:
        return f"r{insn.dst} = &pc{_signed(insn.imm)} ll"
    if insn.src in (Pseudo.MAP_FD, Pseudo.MAP_IDX):
        return f"r{insn.dst} = map[id:{insn.imm}] ll"
    if insn.src in (Pseudo.MAP_VALUE, Pseudo.MAP_IDX_VALUE):
        return f"r{insn.dst} = map[id:{insn.imm}][0] + {upper} ll"
    return f"r{insn.dst} = {value:#x} ll"


def _memory(insn: Insn) -> str | None:
    bits = _BITS[insn.opcode & 0x18]
    if insn.cls == isa.LD:
        if insn.mode == isa.ABS:
            return f"r0 = *(u{bits} *)skb[{insn.imm}]"
        if insn.mode == isa.IND:
            return f"r0 = *(u{bits} *)skb[r{insn.src} {_spaced(insn.imm)}]"
        return None
    base = insn.src if insn.cls == isa.LDX else insn.dst
    place = f"(r{base} {_spaced(insn.offset)})"
    if insn.cls == isa.LDX:
        return _load(insn, bits, place)
    if insn.cls == isa.STX and insn.mode in (isa.ATOMIC, isa.PROBE_ATOMIC):
        return _atomic(insn, bits, place)
    probe = " arena" if insn.mode == isa.PROBE_MEM32 else ""
    if insn.mode not in (isa.MEM, isa.PROBE_MEM32):
        return "nospec" if insn.opcode == isa.ST | isa.ATOMIC else None
    value = f"r{insn.src}" if insn.cls == isa.STX else str(insn.imm)
    return f"*(u{bits} *{probe}){place} = {value}"


def _spaced(value: int) -> str:
    return f"{'-' if value < 0 else '+'} {abs(value)}"


def _load(insn: Insn, bits: int, place: str) -> str | None:
    plain = {isa.MEM: ("u", ""), isa.MEMSX: ("s", "")}
    probing = {
        isa.PROBE_MEM: ("u", " probe"),
        isa.PROBE_MEMSX: ("s", " probe"),
        isa.PROBE_MEM32: ("u", " arena"),
        isa.PROBE_MEM32SX: ("s", " arena"),
    }
    kind = (plain | probing).get(insn.mode)
    return f"r{insn.dst} = *({kind[0]}{bits} *{kind[1]}){place}" if kind else None


def _atomic(insn: Insn, bits: int, place: str) -> str | None:
    probe = " arena" if insn.mode == isa.PROBE_ATOMIC else ""
    typed = f"(u{bits} *{probe}){place}"
    name = "atomic64" if bits == 64 else "atomic"
    if insn.imm == isa.LOAD_ACQ:
        place = f"(r{insn.src} {_spaced(insn.offset)})"
        return f"r{insn.dst} = load_acquire((u{bits} *{probe}){place})"
    if insn.imm == isa.STORE_REL:
        return f"store_release({typed}, r{insn.src})"
    if bits < 32:
        return None
    if insn.imm in _ATOMIC:
        return f"lock *{typed} {_ATOMIC[insn.imm]} r{insn.src}"
    if insn.imm == isa.XCHG:
        return f"r{insn.src} = {name}_xchg({typed}, r{insn.src})"
    if insn.imm == isa.CMPXCHG:
        return f"r0 = {name}_cmpxchg({typed}, r0, r{insn.src})"
    if insn.imm & ~isa.FETCH in _FETCH:
        return f"r{insn.src} = {name}_fetch_{_FETCH[insn.imm & ~isa.FETCH]}({typed}, r{insn.src})"
    return None
