"""Assembler and disassembler in mnemonics, the syntax of the public conformance tests.

One instruction a line; registers are `%r1` or `r1`, `#` starts a comment::

    mov %r1, 5          mov32 %r1, -1        movsx832 %r1, %r2    lddw %r1, 0x1122334455667788
    add32 %r1, %r2      sdiv %r1, -3         neg %r1              be16 %r1       swap64 %r1
    ldxdw %r1, [%r2+8]  ldxsb %r1, [%r2]     stw [%r10-4], 7      stxdw [%r10-8], %r1
    lock add [%r1], %r2 lock fetch or32 [%r1+4], %r2   lock xchg [%r1], %r2   lock cmpxchg32 ...
    ja +1               ja32 target          jsgt32 %r1, -7, target           exit
    call 5              call local function  call runtime 9       call %r3    callx %r3

Jump targets are labels (`target:`) or signed distances; `exit`, if no such label exists, is
the first exit instruction. Immediates are cut to 32 bits. Beyond what the public assembler
reads, after the names of RFC 9669: `lddw %r1, map_by_fd(5)`, `map_val(map_by_fd(5))+8`,
`map_by_idx(0)`, `map_val(map_by_idx(0))+8`, `var_addr(7)`, `code_addr(function)`; `ldabsw 14`,
`ldindb %r3, 2`; `ldacqw %r1, [%r2]`, `strelw [%r1], %r2` (load-acquire, store-release);
`may_goto`, `gotox %r1`, `tail_call 0`, `nospec`, `addr_space_cast %r1, %r2, 0, 1`,
`mov_percpu %r1, %r2`; the prefixes `probe` and `arena` of loads, stores and `lock`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NoReturn

from tramposim.bpf import insn as isa
from tramposim.bpf.fields import RESERVED_FIELDS, canonical, reserved, with_reserved
from tramposim.bpf.insn import Insn, Pseudo, encode
from tramposim.bpf.mnemonic_tables import ENTRIES, PSEUDO_LOADS, Entry, name_of
from tramposim.errors import InputError, UnsupportedError

__all__ = ["assemble_mnemonics", "disassemble_mnemonics", "format_mnemonic"]

_MAX_INSNS = 1_000_000
_MAX_DIGITS = 64
_REGISTER = re.compile(r"%?r(\d{1,2})$")
_NUMBER = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]+|\d+)$")
_ADDRESS = re.compile(r"\[\s*%?r(\d{1,2})\s*(?:([+-])\s*(0[xX][0-9a-fA-F]+|\d+))?\s*\]$")
_LABEL = re.compile(r"[A-Za-z_.$][A-Za-z0-9_.$]*$")
_PSEUDO = re.compile(r"([a-z_]+(?:\(map_by_(?:fd|idx))?)\(([^()]*)\)\)?(?:\s*\+\s*(\S+))?$")
_MARKS = re.compile(r"\{([^{}]*)\}$")


def assemble_mnemonics(text: str, file: str = "<text>", first_line: int = 1) -> bytes:
    """Instructions of a source text.

    `file` and `first_line` name the source in errors. Raises `InputError` (`file:line: what`).
    """
    assembler = _Assembler(file)
    for number, line in enumerate(text.splitlines(), first_line):
        assembler.line(line.partition("#")[0].strip(), number)
    return assembler.finish()


class _Assembler:
    def __init__(self, file: str) -> None:
        self._file = file
        self._number = 0
        self._slots: list[Insn] = []
        self._labels: dict[str, int] = {}
        self._targets: list[tuple[int, str, int]] = []
        self._first_exit: int | None = None

    def _fail(self, message: str) -> NoReturn:
        raise InputError(message, f"{self._file}:{self._number}")

    def line(self, text: str, number: int) -> None:
        """Assemble one line without its comment."""
        self._number = number
        while ":" in text:
            label, _, text = text.partition(":")
            if not _LABEL.match(label.strip()):
                self._fail(f"{label.strip()!r} is no label")
            if label.strip() in self._labels:
                self._fail(f"label {label.strip()!r} is defined twice")
            self._labels[label.strip()] = len(self._slots)
            text = text.strip()
        if not text:
            return
        first = len(self._slots)
        marks = _MARKS.search(text)
        self._instruction(text[: marks.start()].strip() if marks else text)
        if marks:
            values = self._marks(marks[1])
            self._slots[first] = with_reserved(self._slots[first], values)
        if len(self._slots) > _MAX_INSNS:
            self._fail(f"more than {_MAX_INSNS:,} instructions")

    def _marks(self, text: str) -> dict[str, int]:
        values: dict[str, int] = {}
        for part in text.split(","):
            name, _, value = (piece.strip() for piece in part.partition("="))
            if name not in RESERVED_FIELDS:
                self._fail(f"there is no field {name!r}; dst, src, off and imm exist")
            low, high = RESERVED_FIELDS[name]
            values[name] = self._number_of(value)
            if not low <= values[name] <= high:
                self._fail(f"{value} does not fit the field {name}")
        return values

    def _instruction(self, text: str) -> None:
        words = text.split(None, 1)
        mnemonic, rest = words[0], words[1] if len(words) > 1 else ""
        prefix = ""
        while mnemonic in ("probe", "arena", "lock", "fetch"):
            prefix += mnemonic + " "
            if not rest:
                self._fail(f"nothing behind {mnemonic!r}")
            words = rest.split(None, 1)
            mnemonic, rest = words[0], words[1] if len(words) > 1 else ""
        operands = [part.strip() for part in rest.split(",")] if rest else []
        if mnemonic in ("call", "callx"):
            self._call(mnemonic, operands)
            return
        entry = self._entry(prefix + mnemonic, operands)
        if len(operands) != len(entry.operands):
            self._fail(f"{mnemonic} takes {len(entry.operands)} operands, not {len(operands)}")
        if entry.opcode == isa.LD_IMM64:
            self._load64(operands)
            return
        insn = Insn(entry.opcode, offset=entry.offset or 0, imm=entry.imm or 0)
        if insn.opcode == isa.JMP | isa.EXIT and self._first_exit is None:
            self._first_exit = len(self._slots)
        for kind, operand in zip(entry.operands, operands, strict=True):
            insn = self._operand(insn, kind, operand)
        self._slots.append(insn)

    def _entry(self, name: str, operands: list[str]) -> Entry:
        """The entry of a mnemonic; a register as last value picks the register form."""
        forms = ENTRIES.get(name)
        if forms is None:
            self._fail(f"unknown instruction {name!r}")
        if len(forms) == 1 or len(operands) < 2:
            return forms[0]
        return forms[1 if _REGISTER.match(operands[1]) else 0]

    def _operand(self, insn: Insn, kind: str, text: str) -> Insn:
        if kind == "dst":
            return replace(insn, dst=self._register(text))
        if kind == "src":
            return replace(insn, src=self._register(text))
        if kind == "imm":
            return replace(insn, imm=self._imm32(text))
        if kind in ("[dst]", "[src]"):
            register, offset = self._address(text)
            field = kind[1:-1]
            return replace(insn, offset=offset, **{field: register})
        if kind in ("space to", "space from"):
            value = self._number_of(text)
            if not 0 <= value < 1 << 16:
                self._fail(f"address space {value} does not fit 16 bits")
            shifted = insn.imm & 0xFFFFFFFF | (value << 16 if kind == "space to" else value)
            return replace(insn, imm=_signed32(shifted))
        distance = self._target(text)
        if kind == "far":
            return replace(insn, imm=distance)
        if not -(1 << 15) <= distance < 1 << 15:
            self._fail(f"a jump of {distance} instructions does not fit 16 bits")
        return replace(insn, offset=distance)

    def _call(self, mnemonic: str, operands: list[str]) -> None:
        if len(operands) != 1:
            self._fail(f"{mnemonic} takes one operand, not {len(operands)}")
        words = operands[0].split()
        mode = words.pop(0) if len(words) == 2 else "helper"
        opcode = isa.JMP | isa.CALL
        if len(words) != 1 or mode not in ("helper", "local", "runtime"):
            self._fail(f"{operands[0]!r} cannot be called: helper, local or runtime, and what")
        (text,) = words
        register = _REGISTER.match(text)
        if register and mode == "helper":
            self._slots.append(Insn(opcode | isa.X, self._register(text)))
        elif mnemonic == "callx":
            self._fail("callx takes a register")
        elif mode == "local":
            self._slots.append(Insn(opcode, src=Pseudo.CALL, imm=self._target(text)))
        elif mode == "runtime":
            number, _, offset = text.partition("@")
            at = self._number_of(offset) if offset else 0
            if not -(1 << 15) <= at < 1 << 15:
                self._fail(f"BTF number {at} does not fit 16 bits")
            self._slots.append(Insn(opcode, 0, Pseudo.KFUNC, at, self._imm32(number)))
        else:
            self._slots.append(Insn(opcode, imm=self._imm32(text)))

    def _load64(self, operands: list[str]) -> None:
        dst = self._register(operands[0])
        text = operands[1]
        if _NUMBER.match(text):
            self._slots += isa.load_imm64(dst, 0, self._number_of(text))
            return
        match = _PSEUDO.match(text)
        pseudo = PSEUDO_LOADS.get(match[1]) if match else None
        if match is None or pseudo is None:
            self._fail(f"{text!r} is no 64-bit immediate")
        low = self._target(match[2]) if pseudo == Pseudo.FUNC else self._imm32(match[2])
        high = self._imm32(match[3]) if match[3] else 0
        self._slots += isa.load_imm64(dst, pseudo, high << 32 | low & 0xFFFFFFFF)

    def _register(self, text: str) -> int:
        match = _REGISTER.match(text)
        if match is None or int(match[1]) > 15:
            self._fail(f"{text!r} is no register")
        return int(match[1])

    def _number_of(self, text: str) -> int:
        digits = text.lstrip("+-")
        if not _NUMBER.match(text) or len(text) > _MAX_DIGITS:
            self._fail(f"{text!r} is no number")
        value = int(digits, 16 if digits[:2].lower() == "0x" else 10)
        value = -value if text.startswith("-") else value
        if not -(1 << 63) <= value < 1 << 64:
            self._fail(f"{text} does not fit 64 bits")
        return value

    def _imm32(self, text: str) -> int:
        return _signed32(self._number_of(text))

    def _address(self, text: str) -> tuple[int, int]:
        match = _ADDRESS.match(text)
        if match is None or int(match[1]) > 15:
            self._fail(f"{text!r} is no address such as [%r1+8]")
        offset = self._number_of((match[2] or "") + match[3]) if match[3] else 0
        if not -(1 << 15) <= offset < 1 << 16:
            self._fail(f"offset {offset} does not fit 16 bits")
        return int(match[1]), offset - (1 << 16) if offset >= 1 << 15 else offset

    def _target(self, text: str) -> int:
        if _NUMBER.match(text) and text[0] in "+-":
            distance = self._number_of(text)
            if not -(1 << 31) <= distance < 1 << 31:
                self._fail(f"{text} does not fit 32 bits")
            return distance
        if not _LABEL.match(text):
            self._fail(f"{text!r} is no label and no distance such as +1")
        self._targets.append((len(self._slots), text, self._number))
        return 0

    def finish(self) -> bytes:
        """Resolve labels; the program."""
        if self._first_exit is not None:
            self._labels.setdefault("exit", self._first_exit)
        for index, label, number in self._targets:
            self._number = number
            if label not in self._labels:
                self._fail(f"label {label!r} is not defined")
            distance = self._labels[label] - index - 1
            insn = self._slots[index]
            far = insn.opcode in (isa.JMP32 | isa.JA, isa.JMP | isa.CALL, isa.LD_IMM64)
            if far:
                self._slots[index] = replace(insn, imm=distance)
            elif -(1 << 15) <= distance < 1 << 15:
                self._slots[index] = replace(insn, offset=distance)
            else:
                self._fail(f"{label!r} is {distance} instructions away; use ja32")
        return encode(self._slots)


def _signed32(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


def disassemble_mnemonics(code: bytes) -> list[str]:
    """One text per instruction slot; the second slot of a 64-bit immediate load is empty.

    Jump targets are distances. Raises `UnsupportedError` for what eBPF does not have.
    """
    insns = isa.decode(code)
    lines: list[str] = []
    while len(lines) < len(insns):
        insn = insns[len(lines)]
        if insn.opcode != isa.LD_IMM64:
            lines.append(format_mnemonic(insn))
            continue
        second = insns[len(lines) + 1]
        if second != Insn(0, imm=second.imm):
            raise UnsupportedError(f"{bytes(second).hex()} behind a 64-bit immediate load")
        lines += [format_mnemonic(insn, second.imm), ""]
    return lines


def format_mnemonic(insn: Insn, upper: int = 0) -> str:
    """The text of one instruction; `upper` is the imm of a 64-bit load's second slot."""
    plain, marks = canonical(insn), reserved(insn)
    text = _load64_text(plain, upper) if plain.opcode == isa.LD_IMM64 else _text(plain)
    if text is None:
        raise UnsupportedError(f"unknown eBPF instruction {bytes(insn).hex()}")
    if not marks:
        return text
    return f"{text} {{{', '.join(f'{name}={value}' for name, value in marks.items())}}}"


def _text(insn: Insn) -> str | None:
    if insn.opcode & ~isa.X == isa.JMP | isa.CALL:
        return _call_text(insn)
    name = name_of(insn)
    if name is None:
        return None
    forms = ENTRIES[name]
    entry = next(form for form in forms if form.opcode == insn.opcode)
    values = {
        "dst": f"%r{insn.dst}",
        "src": f"%r{insn.src}",
        "imm": str(insn.imm),
        "[dst]": _place(insn.dst, insn.offset),
        "[src]": _place(insn.src, insn.offset),
        "near": f"{insn.offset:+d}",
        "far": f"{insn.imm:+d}",
        "space to": str(insn.imm >> 16 & 0xFFFF),
        "space from": str(insn.imm & 0xFFFF),
    }
    return f"{name} {', '.join(values[kind] for kind in entry.operands)}".strip()


def _place(register: int, offset: int) -> str:
    return f"[%r{register}{offset:+d}]" if offset else f"[%r{register}]"


def _call_text(insn: Insn) -> str | None:
    if insn.from_register:
        return f"call %r{insn.dst}"
    if insn.src == Pseudo.CALL:
        return f"call local {insn.imm:+d}"
    if insn.src == Pseudo.KFUNC:
        return f"call runtime {insn.imm}" + (f"@{insn.offset}" if insn.offset else "")
    return None if insn.src else f"call {insn.imm}"


def _load64_text(insn: Insn, upper: int) -> str | None:
    if insn.src == 0:
        return f"lddw %r{insn.dst}, {(upper & 0xFFFFFFFF) << 32 | insn.imm & 0xFFFFFFFF:#x}"
    names = {number: name for name, number in PSEUDO_LOADS.items()}
    if insn.src not in names:
        return None
    name = names[insn.src]
    imm = f"{insn.imm:+d}" if insn.src == Pseudo.FUNC else str(insn.imm)
    close = ")" * (name.count("(") + 1)
    return f"lddw %r{insn.dst}, {name}({imm}{close}" + (f"+{upper}" if upper else "")
