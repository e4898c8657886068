"""Assembler for eBPF in the text syntax that the kernel, bpftool and llvm-objdump print.

One instruction a line::

    r1 = 5                      w1 = 5                    r1 = 0x1122334455667788 ll
    r1 += r2                    w1 s/= w2                 r1 = -r1
    r1 = (s8)r2                 r1 = be16 r1              r1 = bswap64 r1
    r1 = *(u64 *)(r2 + 8)       r1 = *(s8 *)(r2 + 0)      *(u32 *)(r10 - 4) = r1
    *(u8 *)(r1 + 0) = 7         lock *(u64 *)(r1 + 0) += r2
    r2 = atomic64_fetch_add((u64 *)(r1 + 0), r2)          r2 = xchg_64(r1 + 0, r2)
    r0 = atomic64_cmpxchg((u64 *)(r1 + 0), r0, r2)        r1 = load_acquire((u32 *)(r2 + 0))
    store_release((u32 *)(r1 + 0), r2)                    r0 = *(u16 *)skb[14]
    if r1 s> 7 goto out         goto out     gotol out    may_goto out     exit
    call bpf_ktime_get_ns       call 5       call subprogram    call bpf_session_cookie
    r1 = map[counts] ll         r1 = map[counts][0] + 8 ll      r1 = &subprogram ll

`w` registers select 32-bit operations. Jump targets are labels (`out:`) or relative
instruction counts (`goto +3`, `goto pc+3`). `;`, `//` and `#` start comments. The index,
opcode and bytes that dumps put before an instruction are skipped (`12: (bf) r1 = r2`).
A called name is a helper, else a label of the program, else a kernel function (kfunc).

Directives::

    .map NAME TYPE key=BYTES value=BYTES entries=COUNT
    .section KIND[.s][/TARGET]

A map belongs to the file; a section starts a program, whose kind is its first word
(`fentry`, `fexit`, `fmod_ret`, `fsession`, ..., with `.s`: sleepable). A label at its first
instruction names it. Without a section the file is one program of kind `socket`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tramposim.bpf import insn as isa
from tramposim.bpf.helpers import HELPER_IDS
from tramposim.bpf.insn import ALU_OPS, JMP_OPS, Insn, Pseudo, encode
from tramposim.bpf.syntax import Cursor, Token, tokenize
from tramposim.errors import InputError
from tramposim.spec import Map, MapType, ProgKind, Program, Relocation

__all__ = ["assemble"]

_ALU_BY_TEXT = {text: op for op, text in ALU_OPS.items() if text != "="}
_JMP_BY_TEXT = {text: op for op, text in JMP_OPS.items()}
_SIGNED_ALU = {"s/=": isa.DIV, "s%=": isa.MOD}
_SIZE_BITS = {"8": isa.B, "16": isa.H, "32": isa.W, "64": isa.DW}
_ATOMIC_OPS = {"+=": isa.ADD, "|=": isa.OR, "&=": isa.AND, "^=": isa.XOR}
_FETCH_OPS = {"add": isa.ADD, "or": isa.OR, "and": isa.AND, "xor": isa.XOR}
_SWAPS = {"be": isa.ALU | isa.END | isa.X, "le": isa.ALU | isa.END, "bswap": isa.ALU64 | isa.END}
_SECTION_KINDS = {kind.value: kind for kind in ProgKind} | {
    "fentry.multi": ProgKind.FENTRY_MULTI,
    "fexit.multi": ProgKind.FEXIT_MULTI,
    "fsession.multi": ProgKind.FSESSION_MULTI,
}
_DUMP_PREFIX = re.compile(r"\s*\d+:\s*(?:\([0-9a-f]{2}\)\s|(?:[0-9a-f]{2}\s+){8,16})?")
_MAX_INSNS = 1_000_000


@dataclass(slots=True)
class _Section:
    """A program being assembled: slots, names to resolve, and where each was written."""

    kind: ProgKind = ProgKind.SOCKET
    sleepable: bool = False
    target: str = ""
    slots: list[Insn] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    jumps: list[tuple[int, str, str]] = field(default_factory=list)
    calls: list[tuple[int, str, str]] = field(default_factory=list)
    relocations: list[tuple[int, Relocation, str]] = field(default_factory=list)


def assemble(text: str, file: str = "<text>") -> tuple[Program, ...]:
    """Assemble a source text into its programs, in the order of their sections.

    `file` names the source in errors. Raises `InputError` (`file:line:column: what`).
    """
    assembler = _Assembler(file)
    for number, line in enumerate(text.splitlines(), 1):
        prefix = _DUMP_PREFIX.match(line)
        if prefix:
            line = " " * prefix.end() + line[prefix.end() :]
        assembler.line(Cursor(tokenize(line, file, number), file, number))
    return assembler.finish()


class _Assembler:
    def __init__(self, file: str) -> None:
        self._file = file
        self._maps: dict[str, Map] = {}
        self._sections: list[_Section] = []

    @property
    def _section(self) -> _Section:
        if not self._sections:
            self._sections.append(_Section())
        return self._sections[-1]

    def line(self, at: Cursor) -> None:
        """Assemble one line: a directive, labels, an instruction, or nothing."""
        while at.token.kind == "word" and at.peek().text == ":":
            self._label(at)
        if at.token.kind == "end":
            return
        if at.token.text == ".map":
            self._map(at)
        elif at.token.text == ".section":
            self._start_section(at)
        elif at.token.text.startswith("."):
            at.fail(f"unknown directive {at.token.text!r}; known are .map and .section")
        else:
            self._instruction(at)
            if len(self._section.slots) > _MAX_INSNS:
                at.fail(f"more than {_MAX_INSNS:,} instructions")
        at.end()

    def _label(self, at: Cursor) -> None:
        name = at.take()
        at.take()
        if name.text in self._section.labels:
            at.fail(f"label {name.text!r} is defined twice", name)
        self._section.labels[name.text] = len(self._section.slots)

    def _map(self, at: Cursor) -> None:
        at.take()
        name = at.word("a map name")
        kind = at.word("a map type")
        if kind.text not in set(MapType):
            at.fail(f"unknown map type {kind.text!r}; known are {', '.join(MapType)}", kind)
        sizes = {"key": 0, "value": 0, "entries": 0}
        while at.token.kind != "end":
            key = at.word("key=, value= or entries=")
            if key.text not in sizes:
                at.fail(f"unknown property {key.text!r}; known are key, value, entries", key)
            at.expect("=")
            place = at.token
            sizes[key.text] = at.integer("a number")
            if not 0 <= sizes[key.text] < 1 << 31:
                at.fail(f"{key.text} must be below 2**31", place)
        if sizes["entries"] == 0:
            at.fail("entries= is missing or 0")
        if name.text in self._maps:
            at.fail(f"map {name.text!r} is declared twice", name)
        self._maps[name.text] = Map(
            name.text, MapType(kind.text), sizes["key"], sizes["value"], sizes["entries"]
        )

    def _start_section(self, at: Cursor) -> None:
        at.take()
        name = at.word("a section name such as fsession/bpf_fentry_test1")
        kind, _, target = name.text.partition("/")
        sleepable = kind.endswith(".s")
        kind = kind.removesuffix(".s").removeprefix("?")
        if kind not in _SECTION_KINDS:
            at.fail(f"unknown section kind {kind!r}; known are {', '.join(_SECTION_KINDS)}", name)
        self._sections.append(_Section(_SECTION_KINDS[kind], sleepable, target))

    def _emit(self, opcode: int, dst: int = 0, src: int = 0, offset: int = 0, imm: int = 0) -> None:
        self._section.slots.append(Insn(opcode, dst, src, offset, imm))

    def _instruction(self, at: Cursor) -> None:
        text = at.token.text
        if text == "exit":
            at.take()
            self._emit(isa.JMP | isa.EXIT)
        elif text in ("goto", "gotol", "may_goto"):
            at.take()
            self._jump(at, {"goto": isa.JMP, "gotol": isa.JMP32, "may_goto": isa.MAY_GOTO}[text])
        elif text == "if":
            self._conditional(at)
        elif text in ("call", "callx"):
            self._call(at)
        elif text == "nospec":
            at.take()
            self._emit(isa.ST | isa.ATOMIC)
        elif text == "lock":
            at.take()
            self._atomic_update(at)
        elif text == "store_release":
            at.take()
            at.expect("(")
            size, dst, offset = self._typed_address(at)
            at.expect(",")
            src, _ = self._register(at)
            at.expect(")")
            self._emit(isa.STX | isa.ATOMIC | size, dst, src, offset, isa.STORE_REL)
        elif text == "*":
            self._store(at)
        else:
            self._assignment(at)

    def _register(self, at: Cursor) -> tuple[int, bool]:
        """A register: its number and whether it was written as a 64-bit one."""
        token = at.word("a register")
        digits = token.text[1:]
        if token.text[0] not in "rw" or not digits.isdigit():
            at.fail(f"expected a register, found {token.text!r}", token)
        number = int(digits)
        if number > isa.Reg.FP and number != isa.Reg.AX:
            at.fail(f"there is no register {token.text}; r0 to r10 exist", token)
        return number, token.text[0] == "r"

    def _is_register(self, token: Token) -> bool:
        return token.kind == "word" and token.text[0] in "rw" and token.text[1:].isdigit()

    def _imm32(self, at: Cursor) -> int:
        token = at.token
        value = at.integer("a register or number")
        if not -(1 << 31) <= value < 1 << 32:
            at.fail(f"{value} does not fit the 32-bit immediate; load it with `ll`", token)
        return value - (1 << 32) if value >= 1 << 31 else value

    def _offset16(self, at: Cursor, value: int, token: Token) -> int:
        if not -(1 << 15) <= value < 1 << 15:
            at.fail(f"offset {value} does not fit 16 bits", token)
        return value

    def _target(self, at: Cursor) -> int | str:
        if at.token.text == "pc" or at.token.kind in ("number", "op"):
            at.accept("pc")
            return at.integer("a label or relative target")
        return at.word("a label").text

    def _jump(self, at: Cursor, cls: int) -> None:
        place = at.place()
        token = at.token
        target = self._target(at)
        opcode = cls if cls == isa.MAY_GOTO else cls | isa.JA
        if isinstance(target, str):
            self._section.jumps.append((len(self._section.slots), target, place))
            self._emit(opcode)
        elif cls == isa.JMP32:
            self._emit(opcode, imm=target)
        else:
            self._emit(opcode, offset=self._offset16(at, target, token))

    def _conditional(self, at: Cursor) -> None:
        at.take()
        dst, wide = self._register(at)
        op = at.take()
        if op.text not in _JMP_BY_TEXT:
            at.fail(f"expected a comparison, found {op.text!r}", op)
        opcode = (isa.JMP if wide else isa.JMP32) | _JMP_BY_TEXT[op.text]
        src = imm = 0
        if self._is_register(at.token):
            token = at.token
            src, src_wide = self._register(at)
            if src_wide != wide:
                at.fail("both registers of a comparison must be of one width", token)
            opcode |= isa.X
        else:
            imm = self._imm32(at)
        at.expect("goto")
        place, token = at.place(), at.token
        target = self._target(at)
        if isinstance(target, str):
            self._section.jumps.append((len(self._section.slots), target, place))
            target = 0
        self._emit(opcode, dst, src, self._offset16(at, target, token), imm)

    def _call(self, at: Cursor) -> None:
        indirect = at.take().text == "callx"
        if indirect:
            self._emit(isa.JMP | isa.CALL | isa.X, self._register(at)[0])
            return
        opcode = isa.JMP | isa.CALL
        place = at.place()
        if at.accept("pc"):
            self._emit(opcode, src=Pseudo.CALL, imm=at.integer("a relative target"))
        elif at.token.kind == "number":
            self._emit(opcode, imm=at.integer("a helper id"))
        else:
            name = at.word("a helper, label, kernel function or helper id").text
            if at.accept("#"):
                at.integer("a helper id")
            if name in HELPER_IDS:
                self._emit(opcode, imm=HELPER_IDS[name])
            else:
                self._section.calls.append((len(self._section.slots), name, place))
                self._emit(opcode)

    def _address(self, at: Cursor) -> tuple[int, int]:
        """`rN [+-] OFFSET`: base register and offset."""
        base, _ = self._register(at)
        token = at.token
        offset = at.integer("an offset") if token.text in ("+", "-") else 0
        return base, self._offset16(at, offset, token)

    def _access_type(self, at: Cursor) -> tuple[int, bool]:
        """`(uN *)`: size bits, and whether it is signed."""
        at.expect("(")
        token = at.word("an access type such as u64")
        if token.text[0] not in "us" or token.text[1:] not in _SIZE_BITS:
            at.fail(f"expected an access type such as u64, found {token.text!r}", token)
        at.expect("*", ")")
        return _SIZE_BITS[token.text[1:]], token.text[0] == "s"

    def _typed_address(self, at: Cursor) -> tuple[int, int, int]:
        """`(uN *)(rN + OFFSET)`: size bits, base register, offset."""
        size, _ = self._access_type(at)
        at.expect("(")
        base, offset = self._address(at)
        at.expect(")")
        return size, base, offset

    def _store(self, at: Cursor) -> None:
        at.expect("*")
        size, dst, offset = self._typed_address(at)
        at.expect("=")
        if self._is_register(at.token):
            src, _ = self._register(at)
            self._emit(isa.STX | isa.MEM | size, dst, src, offset)
        else:
            self._emit(isa.ST | isa.MEM | size, dst, 0, offset, self._imm32(at))

    def _atomic_update(self, at: Cursor) -> None:
        at.expect("*")
        size, dst, offset = self._typed_address(at)
        op = at.take()
        if op.text not in _ATOMIC_OPS:
            at.fail(f"expected +=, |=, &= or ^=, found {op.text!r}", op)
        src, _ = self._register(at)
        self._emit(isa.STX | isa.ATOMIC | size, dst, src, offset, _ATOMIC_OPS[op.text])

    def _assignment(self, at: Cursor) -> None:
        first = at.token
        dst, wide = self._register(at)
        cls = isa.ALU64 if wide else isa.ALU
        op = at.take()
        if op.text == "=":
            self._assign(at, first, dst, wide)
            return
        if op.text not in _ALU_BY_TEXT and op.text not in _SIGNED_ALU:
            at.fail(f"expected an assignment operator, found {op.text!r}", op)
        signed = op.text in _SIGNED_ALU
        code = _SIGNED_ALU[op.text] if signed else _ALU_BY_TEXT[op.text]
        self._operate(at, cls | code, dst, wide, 1 if signed else 0)

    def _operate(self, at: Cursor, opcode: int, dst: int, wide: bool, offset: int) -> None:
        if self._is_register(at.token):
            token = at.token
            src, src_wide = self._register(at)
            if src_wide != wide:
                at.fail("both registers of an operation must be of one width", token)
            self._emit(opcode | isa.X, dst, src, offset)
        else:
            self._emit(opcode, dst, 0, offset, self._imm32(at))

    def _assign(self, at: Cursor, first: Token, dst: int, wide: bool) -> None:
        cls = isa.ALU64 if wide else isa.ALU
        text = at.token.text
        if text == "-" and self._is_register(at.peek()):
            at.take()
            token = at.token
            src, _ = self._register(at)
            if src != dst or token.text != first.text:
                at.fail(f"only {first.text} = -{first.text} exists", token)
            self._emit(cls | isa.NEG, dst)
        elif text == "*":
            self._load(at, dst)
        elif text == "(":
            at.take()
            kind = at.word("s8, s16 or s32")
            if kind.text not in ("s8", "s16", "s32"):
                at.fail(f"expected s8, s16 or s32, found {kind.text!r}", kind)
            at.expect(")")
            src, _ = self._register(at)
            self._emit(cls | isa.MOV | isa.X, dst, src, int(kind.text[1:]))
        elif text == "map" and at.peek().text == "[":
            self._map_load(at, dst)
        elif text == "&":
            self._address_load(at, dst)
        elif at.token.kind == "word" and not self._is_register(at.token):
            self._named(at, dst, wide)
        elif self._is_register(at.token):
            self._operate(at, cls | isa.MOV, dst, wide, 0)
        else:
            self._constant(at, cls, dst, wide)

    def _constant(self, at: Cursor, cls: int, dst: int, wide: bool) -> None:
        token = at.token
        start = at.peek(2 if token.text in ("-", "+") else 1)
        if wide and start.text == "ll":
            value = at.integer("a number")
            at.expect("ll")
            if not -(1 << 63) <= value < 1 << 64:
                at.fail(f"{value} does not fit 64 bits", token)
            self._imm64(dst, 0, value & ((1 << 64) - 1))
        else:
            self._emit(cls | isa.MOV, dst, imm=self._imm32(at))

    def _imm64(self, dst: int, src: int, value: int) -> None:
        low, high = value & 0xFFFFFFFF, value >> 32
        self._emit(isa.LD_IMM64, dst, src, 0, low - (1 << 32) if low >= 1 << 31 else low)
        self._emit(0, imm=high - (1 << 32) if high >= 1 << 31 else high)

    def _map_load(self, at: Cursor, dst: int) -> None:
        at.expect("map", "[")
        name = at.word("a map name")
        if name.text not in self._maps:
            at.fail(f"map {name.text!r} is not declared; declare it with .map", name)
        at.expect("]")
        kind, value = Relocation.MAP, 0
        if at.accept("[", "0", "]"):
            kind = Relocation.MAP_VALUE
            if at.token.text == "+":
                token = at.token
                value = at.integer("an offset into the value")
                if value > self._maps[name.text].value_size:
                    at.fail(f"offset {value} lies outside the value of {name.text}", token)
        at.accept("ll")
        self._section.relocations.append((len(self._section.slots), kind, name.text))
        pseudo = Pseudo.MAP_FD if kind is Relocation.MAP else Pseudo.MAP_VALUE
        self._imm64(dst, pseudo, value << 32)

    def _address_load(self, at: Cursor, dst: int) -> None:
        at.expect("&")
        if at.accept("(", "void", "__percpu", "*", ")", "("):
            src, _ = self._register(at)
            at.expect(")")
            self._emit(isa.ALU64 | isa.MOV | isa.X, dst, src, isa.PERCPU_MOV)
            return
        place = at.place()
        name = at.word("a subprogram's label")
        at.accept("ll")
        self._section.calls.append((len(self._section.slots), name.text, place))
        self._imm64(dst, Pseudo.FUNC, 0)

    def _load(self, at: Cursor, dst: int) -> None:
        at.expect("*")
        size, signed = self._access_type(at)
        if at.accept("skb", "["):
            if self._is_register(at.token):
                src, _ = self._register(at)
                imm = at.integer("an offset") if at.token.text in ("+", "-") else 0
                self._emit(isa.LD | isa.IND | size, 0, src, 0, imm)
            else:
                self._emit(isa.LD | isa.ABS | size, imm=self._imm32(at))
            at.expect("]")
            return
        at.expect("(")
        src, offset = self._address(at)
        at.expect(")")
        self._emit(isa.LDX | (isa.MEMSX if signed else isa.MEM) | size, dst, src, offset)

    def _named(self, at: Cursor, dst: int, wide: bool) -> None:
        """Assignments whose right side starts with a word: swaps, atomics, casts."""
        name = at.word("an operand")
        stem = name.text.rstrip("0123456789")
        if stem in _SWAPS and name.text[len(stem) :] in ("16", "32", "64"):
            token = at.token
            src, _ = self._register(at)
            if src != dst:
                at.fail(f"{name.text} swaps a register in place", token)
            self._emit(_SWAPS[stem], dst, imm=int(name.text[len(stem) :]))
        elif name.text == "load_acquire":
            at.expect("(")
            size, src, offset = self._typed_address(at)
            at.expect(")")
            self._emit(isa.STX | isa.ATOMIC | size, dst, src, offset, isa.LOAD_ACQ)
        elif name.text == "addr_space_cast":
            at.expect("(")
            src, _ = self._register(at)
            at.expect(",")
            to = at.integer("an address space")
            at.expect(",")
            imm = to << 16 | at.integer("an address space")
            at.expect(")")
            self._emit(isa.ALU64 | isa.MOV | isa.X, dst, src, isa.ADDR_SPACE_CAST, imm)
        elif name.text.startswith(("atomic_", "atomic64_", "xchg_", "xchg32_", "cmpxchg_")):
            self._fetch(at, name, dst)
        else:
            at.fail(f"unknown operand {name.text!r}", name)

    def _fetch(self, at: Cursor, name: Token, dst: int) -> None:
        """`atomic64_fetch_add((u64 *)(r1 + 0), r2)` and the exchanges; result in `dst`."""
        parts = name.text.split("_")
        at.expect("(")
        if at.token.text == "(":
            size, base, offset = self._typed_address(at)
        else:
            size = isa.DW if parts[-1] == "64" else isa.W
            base, offset = self._address(at)
        at.expect(",")
        source = at.token
        src, _ = self._register(at)
        if "cmpxchg" in parts:
            if src != 0 or dst != 0:
                at.fail("cmpxchg compares with, and returns the old value in, r0", source)
            at.expect(",")
            src, _ = self._register(at)
            imm = isa.CMPXCHG
        elif "xchg" in parts:
            imm = isa.XCHG
        elif parts[1:2] == ["fetch"] and parts[-1] in _FETCH_OPS:
            imm = _FETCH_OPS[parts[-1]] | isa.FETCH
        else:
            at.fail(f"unknown atomic operation {name.text!r}", name)
        if imm != isa.CMPXCHG and src != dst:
            at.fail("a fetching operation returns the old value in its source register", source)
        at.expect(")")
        self._emit(isa.STX | isa.ATOMIC | size, base, src, offset, imm)

    def finish(self) -> tuple[Program, ...]:
        """Resolve names and make the programs."""
        if not any(section.slots for section in self._sections):
            raise InputError("no instructions", self._file)
        return tuple(self._program(section) for section in self._sections if section.slots)

    def _program(self, section: _Section) -> Program:
        for index, label, place in section.jumps:
            if label not in section.labels:
                raise InputError(f"label {label!r} is not defined", place)
            distance = section.labels[label] - index - 1
            old = section.slots[index]
            if old.cls == isa.JMP32 and old.op == isa.JA:
                section.slots[index] = Insn(old.opcode, imm=distance)
            elif -(1 << 15) <= distance < 1 << 15:
                section.slots[index] = Insn(old.opcode, old.dst, old.src, distance, old.imm)
            else:
                raise InputError(f"{label!r} is {distance} instructions away; use gotol", place)
        kfuncs = []
        for index, name, place in section.calls:
            old = section.slots[index]
            if name in section.labels:
                distance = section.labels[name] - index - 1
                src = Pseudo.CALL if old.cls == isa.JMP else Pseudo.FUNC
                section.slots[index] = Insn(old.opcode, old.dst, src, 0, distance)
            elif old.cls == isa.JMP:
                section.slots[index] = Insn(old.opcode, 0, Pseudo.KFUNC)
                kfuncs.append((index, name))
            else:
                raise InputError(f"label {name!r} is not defined", place)
        used = dict.fromkeys(name for _, _, name in section.relocations)
        names = [label for label, index in section.labels.items() if index == 0]
        return Program(
            name=names[0] if names else section.kind.value,
            kind=section.kind,
            insns=encode(section.slots),
            maps=tuple(self._maps[name] for name in used),
            relocations=tuple(section.relocations),
            kfuncs=tuple(kfuncs),
            sleepable=section.sleepable,
            target=section.target,
        )
