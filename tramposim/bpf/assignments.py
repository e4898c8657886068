"""Grammar of assignments to registers in the kernel's text syntax (see `tramposim.bpf.asm`)."""

from __future__ import annotations

from tramposim.bpf import insn as isa
from tramposim.bpf import operands
from tramposim.bpf.emitter import Emitter
from tramposim.bpf.insn import ALU_OPS, ATOMIC_NAMES, Pseudo
from tramposim.bpf.syntax import Cursor, Token

__all__ = ["Assignments"]

_ALU_BY_TEXT = {text: op for op, text in ALU_OPS.items() if text != "="}
_SIGNED_ALU = {"s/=": isa.DIV, "s%=": isa.MOD}
_FETCHES = {name: op for op, name in ATOMIC_NAMES.items()}
_SWAPS = {"be": isa.ALU | isa.END | isa.X, "le": isa.ALU | isa.END, "bswap": isa.ALU64 | isa.END}
_ATOMICS = ("atomic_", "atomic64_", "xchg_", "xchg32_", "cmpxchg_")
_NUMBERED = {
    ("map", "id", False): Pseudo.MAP_FD,
    ("map", "idx", False): Pseudo.MAP_IDX,
    ("map", "id", True): Pseudo.MAP_VALUE,
    ("map", "idx", True): Pseudo.MAP_IDX_VALUE,
}


class Assignments(Emitter):
    """Parses instructions that begin with the register that they write."""

    def parse(self, at: Cursor) -> None:
        """One assignment at the cursor."""
        first = at.token
        dst, wide = operands.register(at)
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
        if operands.is_register(at.token):
            token = at.token
            src, src_wide = operands.register(at)
            if src_wide != wide:
                at.fail("both registers of an operation must be of one width", token)
            self._emit(opcode | isa.X, dst, src, offset)
        else:
            self._emit(opcode, dst, 0, offset, operands.imm32(at))

    def _assign(self, at: Cursor, first: Token, dst: int, wide: bool) -> None:
        cls = isa.ALU64 if wide else isa.ALU
        text = at.token.text
        if text == "-" and operands.is_register(at.peek()):
            at.take()
            token = at.token
            src, _ = operands.register(at)
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
        elif at.token.kind == "word" and not operands.is_register(at.token):
            self._named(at, dst)
        elif operands.is_register(at.token):
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
        src, src_wide = operands.register(at)
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
            self._emit(cls | isa.MOV, dst, imm=operands.imm32(at))

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
        number = operands.imm32(at)
        at.expect("]")
        upper = 0
        inside = at.accept("[", "0", "]")
        if inside and at.token.text in ("+", "-"):
            upper = operands.imm32(at)
        if table == "btf":
            if at.accept("[", "fd", ":"):
                upper = operands.imm32(at)
                at.expect("]")
            pseudo = Pseudo.BTF_ID
        else:
            pseudo = _NUMBERED[table, space, inside]
        at.accept("ll")
        self._imm64(dst, pseudo, upper << 32 | number & 0xFFFFFFFF)

    def _address_load(self, at: Cursor, dst: int) -> None:
        at.expect("&")
        if at.accept("(", "void", "__percpu", "*", ")", "("):
            src, _ = operands.register(at)
            at.expect(")")
            self._emit(isa.ALU64 | isa.MOV | isa.X, dst, src, isa.PERCPU_MOV)
            return
        place = at.place()
        if at.accept("pc"):
            distance = operands.distance(at)
            at.accept("ll")
            self._imm64(dst, Pseudo.FUNC, distance & 0xFFFFFFFF)
            return
        name = at.word("a subprogram's label")
        at.accept("ll")
        self._sink.refers_to(name.text, place)
        self._imm64(dst, Pseudo.FUNC, 0)

    def _load(self, at: Cursor, dst: int) -> None:
        at.expect("*")
        size, signed, kind = operands.access_type(at)
        if at.accept("skb", "["):
            if operands.is_register(at.token):
                src, _ = operands.register(at)
                imm = operands.imm32(at) if at.token.text in ("+", "-") else 0
                self._emit(isa.LD | isa.IND | size, 0, src, 0, imm)
            else:
                self._emit(isa.LD | isa.ABS | size, imm=operands.imm32(at))
            at.expect("]")
            return
        at.expect("(")
        src, offset = operands.address(at)
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
            src, _ = operands.register(at)
            if src != dst:
                at.fail(f"{name.text} swaps a register in place", token)
            self._emit(_SWAPS[stem], dst, imm=int(name.text[len(stem) :]))
        elif name.text == "load_acquire":
            at.expect("(")
            size, src, offset, arena = operands.typed_address(at)
            at.expect(")")
            self._atomic(arena, size, dst, src, offset, isa.LOAD_ACQ)
        elif name.text == "addr_space_cast":
            at.expect("(")
            src, _ = operands.register(at)
            at.expect(",")
            to = operands.address_space(at)
            at.expect(",")
            imm = to << 16 | operands.address_space(at)
            at.expect(")")
            imm = imm - (1 << 32) if imm >= 1 << 31 else imm
            self._emit(isa.ALU64 | isa.MOV | isa.X, dst, src, isa.ADDR_SPACE_CAST, imm)
        elif name.text.startswith(_ATOMICS):
            self._fetch(at, name, dst)
        else:
            at.fail(f"unknown operand {name.text!r}", name)

    def _fetch(self, at: Cursor, name: Token, dst: int) -> None:
        """`atomic64_fetch_add((u64 *)(r1 + 0), r2)` and the exchanges; result in `dst`."""
        parts = name.text.split("_")
        arena = False
        at.expect("(")
        if at.token.text == "(":
            size, base, offset, arena = operands.typed_address(at)
        else:
            size = isa.DW if parts[-1] == "64" else isa.W
            base, offset = operands.address(at)
        at.expect(",")
        source = at.token
        src, _ = operands.register(at)
        if "cmpxchg" in parts:
            if src != 0 or dst != 0:
                at.fail("cmpxchg compares with, and returns the old value in, r0", source)
            at.expect(",")
            src, _ = operands.register(at)
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
