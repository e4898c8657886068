"""Grammar of single instructions in the kernel's text syntax (see `tramposim.bpf.asm`)."""

from __future__ import annotations

from typing import Protocol

from tramposim.bpf import insn as isa
from tramposim.bpf.fields import RESERVED_FIELDS, with_reserved
from tramposim.bpf.helpers import HELPER_IDS
from tramposim.bpf.insn import ALU_OPS, ATOMIC_NAMES, ATOMIC_OPS, JMP_OPS, Insn, Pseudo
from tramposim.bpf.syntax import Cursor, Token

__all__ = ["Sink", "Statements"]

_ALU_BY_TEXT = {text: op for op, text in ALU_OPS.items() if text != "="}
_JMP_BY_TEXT = {text: op for op, text in JMP_OPS.items()}
_SIGNED_ALU = {"s/=": isa.DIV, "s%=": isa.MOD}
_SIZE_BITS = {"8": isa.B, "16": isa.H, "32": isa.W, "64": isa.DW}
_UPDATES = {text: op for op, text in ATOMIC_OPS.items()}
_FETCHES = {name: op for op, name in ATOMIC_NAMES.items()}
_SWAPS = {"be": isa.ALU | isa.END | isa.X, "le": isa.ALU | isa.END, "bswap": isa.ALU64 | isa.END}
_SIMPLE = {"exit": isa.JMP | isa.EXIT, "nospec": isa.ST | isa.ATOMIC}
_JUMPS = {"goto": isa.JMP | isa.JA, "gotol": isa.JMP32 | isa.JA, "may_goto": isa.MAY_GOTO}
_ATOMICS = ("atomic_", "atomic64_", "xchg_", "xchg32_", "cmpxchg_")
_NUMBERED = {
    ("map", "id", False): Pseudo.MAP_FD,
    ("map", "idx", False): Pseudo.MAP_IDX,
    ("map", "id", True): Pseudo.MAP_VALUE,
    ("map", "idx", True): Pseudo.MAP_IDX_VALUE,
}


class Sink(Protocol):
    """Where parsed instructions go."""

    @property
    def slots(self) -> list[Insn]:
        """Instructions so far; parsing appends to them."""

    def jumps_to(self, label: str, place: str) -> None:
        """The next slot jumps to a label."""

    def refers_to(self, name: str, place: str) -> None:
        """The next slot calls, or loads the address of, a named function."""

    def loads_map(self, at: Cursor, dst: int) -> None:
        """Parse a named map load, whose `map[` has been read, and emit it."""


class Statements:
    """Parses instructions into a sink, one at a time."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def parse(self, at: Cursor) -> None:
        """One instruction at the cursor."""
        first = len(self._sink.slots)
        text = at.token.text
        if text in _SIMPLE:
            at.take()
            self._emit(_SIMPLE[text])
        elif text in _JUMPS:
            at.take()
            self._jump(at, _JUMPS[text])
        elif text in _STATEMENTS:
            _STATEMENTS[text](self, at)
        else:
            self._assignment(at)
        if at.accept("{"):
            self._reserved(at, first)

    def _emit(self, opcode: int, dst: int = 0, src: int = 0, offset: int = 0, imm: int = 0) -> None:
        self._sink.slots.append(Insn(opcode, dst, src, offset, imm))

    def _reserved(self, at: Cursor, slot: int) -> None:
        values: dict[str, int] = {}
        while True:
            name = at.word("a field: dst, src, off or imm")
            if name.text not in RESERVED_FIELDS:
                at.fail(f"there is no field {name.text!r}; dst, src, off and imm exist", name)
            at.expect("=")
            token = at.token
            value = at.integer("a number")
            low, high = RESERVED_FIELDS[name.text]
            if not low <= value <= high:
                at.fail(f"{value} does not fit the field {name.text}", token)
            values[name.text] = value
            if not at.accept(","):
                break
        at.expect("}")
        self._sink.slots[slot] = with_reserved(self._sink.slots[slot], values)

    def _register(self, at: Cursor) -> tuple[int, bool]:
        """A register: its number and whether it was written as a 64-bit one."""
        token = at.word("a register")
        digits = token.text[1:]
        if token.text[0] not in "rw" or not digits.isdigit():
            at.fail(f"expected a register, found {token.text!r}", token)
        number = int(digits)
        if number > isa.Reg.AX:
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

    def _distance(self, at: Cursor) -> int:
        """A relative target, which an instruction holds as a signed 32-bit number."""
        token = at.token
        value = at.integer("a relative target")
        if not -(1 << 31) <= value < 1 << 31:
            at.fail(f"{value} does not fit 32 bits", token)
        return value

    def _offset16(self, at: Cursor, value: int, token: Token) -> int:
        if not -(1 << 15) <= value < 1 << 15:
            at.fail(f"offset {value} does not fit 16 bits", token)
        return value

    def _target(self, at: Cursor) -> int | str:
        if at.token.text == "pc" or at.token.kind in ("number", "op"):
            at.accept("pc")
            return self._distance(at)
        return at.word("a label").text

    def _jump(self, at: Cursor, opcode: int) -> None:
        place, token = at.place(), at.token
        target = self._target(at)
        if isinstance(target, str):
            self._sink.jumps_to(target, place)
            self._emit(opcode)
        elif opcode == isa.JMP32 | isa.JA:
            self._emit(opcode, imm=target)
        else:
            self._emit(opcode, offset=self._offset16(at, target, token))

    def _jump_register(self, at: Cursor) -> None:
        at.take()
        self._emit(isa.JMP | isa.JA | isa.X, self._register(at)[0])

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
            self._sink.jumps_to(target, place)
            target = 0
        self._emit(opcode, dst, src, self._offset16(at, target, token), imm)

    def _call(self, at: Cursor) -> None:
        at.take()
        opcode = isa.JMP | isa.CALL
        place = at.place()
        if at.accept("pc"):
            self._emit(opcode, src=Pseudo.CALL, imm=self._distance(at))
        elif at.token.kind == "number" or at.token.text == "-":
            self._emit(opcode, imm=self._imm32(at))
        elif at.accept("kfunc", "#"):
            number, offset = self._imm32(at), 0
            if at.accept("["):
                token = at.token
                offset = self._offset16(at, at.integer("a BTF number"), token)
                at.expect("]")
            self._emit(opcode, src=Pseudo.KFUNC, offset=offset, imm=number)
        else:
            name = at.word("a helper, label, kernel function or helper id").text
            if at.accept("#"):
                at.integer("a helper id")
            if name in HELPER_IDS:
                self._emit(opcode, imm=HELPER_IDS[name])
            else:
                self._sink.refers_to(name, place)
                self._emit(opcode)

    def _call_register(self, at: Cursor) -> None:
        at.take()
        self._emit(isa.JMP | isa.CALL | isa.X, self._register(at)[0])

    def _tail_call(self, at: Cursor) -> None:
        at.take()
        self._emit(isa.JMP | isa.TAIL_CALL, imm=self._imm32(at))

    def _address(self, at: Cursor) -> tuple[int, int]:
        """`rN [+-] OFFSET`: base register and offset."""
        base, _ = self._register(at)
        token = at.token
        offset = at.integer("an offset") if token.text in ("+", "-") else 0
        return base, self._offset16(at, offset, token)

    def _access_type(self, at: Cursor) -> tuple[int, bool, str]:
        """`(uN *)`: size bits, whether it is signed, and `probe` or `arena` if it says so."""
        at.expect("(")
        token = at.word("an access type such as u64")
        if token.text[0] not in "us" or token.text[1:] not in _SIZE_BITS:
            at.fail(f"expected an access type such as u64, found {token.text!r}", token)
        at.expect("*")
        kind = at.take().text if at.token.text in ("probe", "arena") else ""
        at.expect(")")
        return _SIZE_BITS[token.text[1:]], token.text[0] == "s", kind

    def _typed_address(self, at: Cursor) -> tuple[int, int, int, bool]:
        """`(uN *)(rN + OFFSET)`: size bits, base register, offset, whether in the arena."""
        size, _, kind = self._access_type(at)
        at.expect("(")
        base, offset = self._address(at)
        at.expect(")")
        return size, base, offset, kind == "arena"

    def _store(self, at: Cursor) -> None:
        at.expect("*")
        size, dst, offset, arena = self._typed_address(at)
        at.expect("=")
        mode = isa.PROBE_MEM32 if arena else isa.MEM
        if self._is_register(at.token):
            src, _ = self._register(at)
            self._emit(isa.STX | mode | size, dst, src, offset)
        else:
            self._emit(isa.ST | mode | size, dst, 0, offset, self._imm32(at))

    def _store_release(self, at: Cursor) -> None:
        at.take()
        at.expect("(")
        size, dst, offset, arena = self._typed_address(at)
        at.expect(",")
        src, _ = self._register(at)
        at.expect(")")
        self._atomic(arena, size, dst, src, offset, isa.STORE_REL)

    def _atomic(self, arena: bool, size: int, dst: int, src: int, offset: int, imm: int) -> None:
        mode = isa.PROBE_ATOMIC if arena else isa.ATOMIC
        self._emit(isa.STX | mode | size, dst, src, offset, imm)

    def _atomic_update(self, at: Cursor) -> None:
        at.take()
        at.expect("*")
        size, dst, offset, arena = self._typed_address(at)
        op = at.take()
        if op.text not in _UPDATES:
            at.fail(f"expected +=, |=, &= or ^=, found {op.text!r}", op)
        src, _ = self._register(at)
        self._atomic(arena, size, dst, src, offset, _UPDATES[op.text])

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
            self._extend(at, cls, dst, wide)
        elif text == "&":
            self._address_load(at, dst)
        elif text in ("map", "btf") and at.peek().text == "[":
            self._object_load(at, dst)
        elif at.token.kind == "word" and not self._is_register(at.token):
            self._named(at, dst)
        elif self._is_register(at.token):
            self._operate(at, cls | isa.MOV, dst, wide, 0)
        else:
            self._constant(at, cls, dst, wide)

    def _extend(self, at: Cursor, cls: int, dst: int, wide: bool) -> None:
        at.take()
        kind = at.word("s8, s16 or s32")
        if kind.text not in ("s8", "s16", "s32"):
            at.fail(f"expected s8, s16 or s32, found {kind.text!r}", kind)
        at.expect(")")
        token = at.token
        src, src_wide = self._register(at)
        if src_wide != wide:
            at.fail("both registers of an operation must be of one width", token)
        self._emit(cls | isa.MOV | isa.X, dst, src, int(kind.text[1:]))

    def _constant(self, at: Cursor, cls: int, dst: int, wide: bool) -> None:
        token = at.token
        start = at.peek(2 if token.text in ("-", "+") else 1)
        if wide and start.text == "ll":
            value = at.integer("a number")
            at.expect("ll")
            if not -(1 << 63) <= value < 1 << 64:
                at.fail(f"{value} does not fit 64 bits", token)
            self._imm64(dst, 0, value)
        else:
            self._emit(cls | isa.MOV, dst, imm=self._imm32(at))

    def _imm64(self, dst: int, src: int, value: int) -> None:
        self._sink.slots.extend(isa.load_imm64(dst, src, value))

    def _object_load(self, at: Cursor, dst: int) -> None:
        """`map[name]`, or a number as dumps have it: `map[id:5]`, `map[idx:0][0] + 8`, `btf`."""
        table = at.take().text
        at.expect("[")
        if at.peek().text != ":" or at.token.text not in ("id", "idx"):
            if table == "btf":
                at.fail("expected id:, the number of a BTF type")
            self._sink.loads_map(at, dst)
            return
        space = at.take().text
        at.expect(":")
        number = self._imm32(at)
        at.expect("]")
        upper = 0
        inside = at.accept("[", "0", "]")
        if inside and at.token.text in ("+", "-"):
            upper = self._imm32(at)
        if table == "btf":
            if at.accept("[", "fd", ":"):
                upper = self._imm32(at)
                at.expect("]")
            pseudo = Pseudo.BTF_ID
        else:
            pseudo = _NUMBERED[table, space, inside]
        at.accept("ll")
        self._imm64(dst, pseudo, upper << 32 | number & 0xFFFFFFFF)

    def _address_load(self, at: Cursor, dst: int) -> None:
        at.expect("&")
        if at.accept("(", "void", "__percpu", "*", ")", "("):
            src, _ = self._register(at)
            at.expect(")")
            self._emit(isa.ALU64 | isa.MOV | isa.X, dst, src, isa.PERCPU_MOV)
            return
        place = at.place()
        if at.accept("pc"):
            distance = self._distance(at)
            at.accept("ll")
            self._imm64(dst, Pseudo.FUNC, distance & 0xFFFFFFFF)
            return
        name = at.word("a subprogram's label")
        at.accept("ll")
        self._sink.refers_to(name.text, place)
        self._imm64(dst, Pseudo.FUNC, 0)

    def _load(self, at: Cursor, dst: int) -> None:
        at.expect("*")
        size, signed, kind = self._access_type(at)
        if at.accept("skb", "["):
            if self._is_register(at.token):
                src, _ = self._register(at)
                imm = self._imm32(at) if at.token.text in ("+", "-") else 0
                self._emit(isa.LD | isa.IND | size, 0, src, 0, imm)
            else:
                self._emit(isa.LD | isa.ABS | size, imm=self._imm32(at))
            at.expect("]")
            return
        at.expect("(")
        src, offset = self._address(at)
        at.expect(")")
        modes = {"": (isa.MEM, isa.MEMSX), "probe": (isa.PROBE_MEM, isa.PROBE_MEMSX),
                 "arena": (isa.PROBE_MEM32, isa.PROBE_MEM32SX)}  # fmt: skip
        self._emit(isa.LDX | modes[kind][signed] | size, dst, src, offset)

    def _named(self, at: Cursor, dst: int) -> None:
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
            size, src, offset, arena = self._typed_address(at)
            at.expect(")")
            self._atomic(arena, size, dst, src, offset, isa.LOAD_ACQ)
        elif name.text == "addr_space_cast":
            at.expect("(")
            src, _ = self._register(at)
            at.expect(",")
            to = self._address_space(at)
            at.expect(",")
            imm = to << 16 | self._address_space(at)
            at.expect(")")
            imm = imm - (1 << 32) if imm >= 1 << 31 else imm
            self._emit(isa.ALU64 | isa.MOV | isa.X, dst, src, isa.ADDR_SPACE_CAST, imm)
        elif name.text.startswith(_ATOMICS):
            self._fetch(at, name, dst)
        else:
            at.fail(f"unknown operand {name.text!r}", name)

    def _address_space(self, at: Cursor) -> int:
        token = at.token
        value = at.integer("an address space")
        if not 0 <= value < 1 << 16:
            at.fail(f"address space {value} does not fit 16 bits", token)
        return value

    def _fetch(self, at: Cursor, name: Token, dst: int) -> None:
        """`atomic64_fetch_add((u64 *)(r1 + 0), r2)` and the exchanges; result in `dst`."""
        parts = name.text.split("_")
        arena = False
        at.expect("(")
        if at.token.text == "(":
            size, base, offset, arena = self._typed_address(at)
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
        elif parts[1:2] == ["fetch"] and parts[-1] in _FETCHES:
            imm = _FETCHES[parts[-1]] | isa.FETCH
        else:
            at.fail(f"unknown atomic operation {name.text!r}", name)
        if imm != isa.CMPXCHG and src != dst:
            at.fail("a fetching operation returns the old value in its source register", source)
        at.expect(")")
        self._atomic(arena, size, base, src, offset, imm)


_STATEMENTS = {
    "if": Statements._conditional,
    "call": Statements._call,
    "callx": Statements._call_register,
    "gotox": Statements._jump_register,
    "tail_call": Statements._tail_call,
    "lock": Statements._atomic_update,
    "store_release": Statements._store_release,
    "*": Statements._store,
}
