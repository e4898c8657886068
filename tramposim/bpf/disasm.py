"""Disassembler: eBPF instructions as the text that `tramposim.bpf.asm` reads back exactly."""

from __future__ import annotations

from collections.abc import Mapping

from tramposim.bpf import insn as isa
from tramposim.bpf.fields import canonical, reserved
from tramposim.bpf.helpers import HELPER_NAMES
from tramposim.bpf.insn import ALU_OPS, ATOMIC_NAMES, ATOMIC_OPS, JMP_OPS, Insn, Pseudo, decode
from tramposim.errors import UnsupportedError
from tramposim.spec import Program, Relocation

__all__ = ["disassemble", "disassemble_program", "format_insn"]

_BITS = {isa.B: 8, isa.H: 16, isa.W: 32, isa.DW: 64}
_REGISTERS = isa.Reg.AX + 1


def disassemble(code: bytes) -> list[str]:
    """One text per instruction slot; the second slot of a 64-bit immediate load is empty.

    Jump targets are relative (`goto +3`). Raises `UnsupportedError` for an unknown opcode.
    """
    insns = decode(code)
    lines: list[str] = []
    while len(lines) < len(insns):
        insn = insns[len(lines)]
        wide = insn.opcode == isa.LD_IMM64
        upper = 0
        if wide:
            second = insns[len(lines) + 1]
            upper = second.imm
            if second != Insn(0, imm=upper):
                raise UnsupportedError(f"{bytes(second).hex()} behind a 64-bit immediate load")
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

    Reserved fields that are not zero follow in braces. Raises `UnsupportedError` for what
    eBPF does not have.
    """
    marks = reserved(insn)
    plain = canonical(insn)
    text = None
    if max(insn.dst, insn.src) < _REGISTERS:
        text = _format(plain, upper)
    if text is None:
        raise UnsupportedError(f"unknown eBPF instruction {bytes(insn).hex()}")
    if not marks:
        return text
    return f"{text} {{{', '.join(f'{name}={value}' for name, value in marks.items())}}}"


def _format(insn: Insn, upper: int) -> str | None:
    if insn.cls in (isa.ALU, isa.ALU64):
        return _alu(insn)
    if insn.cls in (isa.JMP, isa.JMP32):
        return _jump(insn)
    if insn.opcode == isa.LD_IMM64:
        return _imm64(insn, upper)
    return _memory(insn)


def _alu(insn: Insn) -> str | None:
    letter = "r" if insn.cls == isa.ALU64 else "w"
    dst, src = f"{letter}{insn.dst}", f"{letter}{insn.src}"
    if insn.op == isa.NEG:
        return None if insn.from_register else f"{dst} = -{dst}"
    if insn.op == isa.END:
        if insn.cls == isa.ALU64 and insn.from_register:
            return None
        swap = "bswap" if insn.cls == isa.ALU64 else "be" if insn.from_register else "le"
        return f"r{insn.dst} = {swap}{insn.imm} r{insn.dst}" if insn.imm in (16, 32, 64) else None
    operator = ALU_OPS.get(insn.op)
    if operator is None:
        return None
    if insn.op == isa.MOV and insn.from_register and insn.offset:
        return _special_move(insn, dst, src)
    if insn.offset:
        if insn.offset != 1 or insn.op not in (isa.DIV, isa.MOD):
            return None
        operator = f"s{operator}"
    return f"{dst} {operator} {src if insn.from_register else insn.imm}"


def _special_move(insn: Insn, dst: str, src: str) -> str | None:
    wide = insn.cls == isa.ALU64
    if insn.offset in (8, 16) or (insn.offset == 32 and wide):
        return f"{dst} = (s{insn.offset}){src}"
    if insn.offset == isa.ADDR_SPACE_CAST and wide:
        return f"{dst} = addr_space_cast({src}, {insn.imm >> 16 & 0xFFFF}, {insn.imm & 0xFFFF})"
    if insn.offset == isa.PERCPU_MOV and wide:
        return f"{dst} = &(void __percpu *)({src})"
    return None


def _signed(value: int) -> str:
    return f"+{value}" if value >= 0 else str(value)


def _jump(insn: Insn) -> str | None:
    wide = insn.cls == isa.JMP
    if insn.op == isa.JA:
        if insn.from_register:
            return f"gotox r{insn.dst}" if wide else None
        return f"goto {_signed(insn.offset)}" if wide else f"gotol {_signed(insn.imm)}"
    if insn.op in (isa.CALL, isa.EXIT, isa.JCOND, isa.TAIL_CALL):
        only_immediate = insn.from_register and insn.op != isa.CALL
        return _control(insn) if wide and not only_immediate else None
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
        return f"call kfunc#{insn.imm & 0xFFFFFFFF}" + (f"[{insn.offset}]" if insn.offset else "")
    return None if insn.src else f"call {HELPER_NAMES.get(insn.imm, insn.imm)}"


def _imm64(insn: Insn, upper: int) -> str | None:
    load = f"r{insn.dst} ="
    number = f"{load} {(upper & 0xFFFFFFFF) << 32 | insn.imm & 0xFFFFFFFF:#x} ll"
    if insn.src == 0:
        return number
    if insn.src == Pseudo.BTF_ID:
        module = f"[fd:{upper}]" if upper else ""
        return f"{load} btf[id:{insn.imm}]{module} ll"
    if insn.src in (Pseudo.MAP_VALUE, Pseudo.MAP_IDX_VALUE):
        space = "id" if insn.src == Pseudo.MAP_VALUE else "idx"
        return f"{load} map[{space}:{insn.imm}][0] {_spaced(upper)} ll"
    if insn.src not in (Pseudo.FUNC, Pseudo.MAP_FD, Pseudo.MAP_IDX):
        return None
    if upper:
        # The verifier has put an address there, and left the mark of what it was.
        return f"{number} {{src={insn.src}}}"
    if insn.src == Pseudo.FUNC:
        return f"{load} &pc{_signed(insn.imm)} ll"
    return f"{load} map[{'id' if insn.src == Pseudo.MAP_FD else 'idx'}:{insn.imm}] ll"


def _memory(insn: Insn) -> str | None:
    bits = _BITS[insn.opcode & 0x18]
    if insn.cls == isa.LD:
        if bits == 64:
            return None
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
    if kind and kind[0] == "s" and bits == 64:
        return None
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
    if insn.imm in ATOMIC_OPS:
        return f"lock *{typed} {ATOMIC_OPS[insn.imm]} r{insn.src}"
    if insn.imm == isa.XCHG:
        return f"r{insn.src} = {name}_xchg({typed}, r{insn.src})"
    if insn.imm == isa.CMPXCHG:
        return f"r0 = {name}_cmpxchg({typed}, r0, r{insn.src})"
    update = ATOMIC_NAMES.get(insn.imm & ~isa.FETCH)
    return f"r{insn.src} = {name}_fetch_{update}({typed}, r{insn.src})" if update else None
