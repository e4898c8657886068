"""Grammar of single instructions in the kernel's text syntax (see `tramposim.bpf.asm`)."""

from __future__ import annotations

from tramposim.bpf import insn as isa
from tramposim.bpf import operands
from tramposim.bpf.assignments import Assignments
from tramposim.bpf.emitter import Emitter, Sink
from tramposim.bpf.fields import RESERVED_FIELDS, with_reserved
from tramposim.bpf.helpers import HELPER_IDS
from tramposim.bpf.insn import ATOMIC_OPS, JMP_OPS, Pseudo
from tramposim.bpf.syntax import Cursor

__all__ = ["Statements"]

_JMP_BY_TEXT = {text: op for op, text in JMP_OPS.items()}
_UPDATES = {text: op for op, text in ATOMIC_OPS.items()}
_SIMPLE = {"exit": isa.JMP | isa.EXIT, "nospec": isa.ST | isa.ATOMIC}
_JUMPS = {"goto": isa.JMP | isa.JA, "gotol": isa.JMP32 | isa.JA, "may_goto": isa.MAY_GOTO}


class Statements(Emitter):
    """Parses instructions into a sink, one at a time."""

    def __init__(self, sink: Sink) -> None:
        super().__init__(sink)
        self._assignments = Assignments(sink)

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
            self._assignments.parse(at)
        if at.accept("{"):
            self._reserved(at, first)

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

    def _jump(self, at: Cursor, opcode: int) -> None:
        place, token = at.place(), at.token
        target = operands.target(at)
        if isinstance(target, str):
            self._sink.jumps_to(target, place)
            self._emit(opcode)
        elif opcode == isa.JMP32 | isa.JA:
            self._emit(opcode, imm=target)
        else:
            self._emit(opcode, offset=operands.offset16(at, target, token))

    def _jump_register(self, at: Cursor) -> None:
        at.take()
        self._emit(isa.JMP | isa.JA | isa.X, operands.register(at)[0])

    def _conditional(self, at: Cursor) -> None:
        at.take()
        dst, wide = operands.register(at)
        op = at.take()
        if op.text not in _JMP_BY_TEXT:
            at.fail(f"expected a comparison, found {op.text!r}", op)
        opcode = (isa.JMP if wide else isa.JMP32) | _JMP_BY_TEXT[op.text]
        src = imm = 0
        if operands.is_register(at.token):
            token = at.token
            src, src_wide = operands.register(at)
            if src_wide != wide:
                at.fail("both registers of a comparison must be of one width", token)
            opcode |= isa.X
        else:
            imm = operands.imm32(at)
        at.expect("goto")
        place, token = at.place(), at.token
        target = operands.target(at)
        if isinstance(target, str):
            self._sink.jumps_to(target, place)
            target = 0
        self._emit(opcode, dst, src, operands.offset16(at, target, token), imm)

    def _call(self, at: Cursor) -> None:
        at.take()
        opcode = isa.JMP | isa.CALL
        place = at.place()
        if at.accept("pc"):
            self._emit(opcode, src=Pseudo.CALL, imm=operands.distance(at))
        elif at.token.kind == "number" or at.token.text == "-":
            self._emit(opcode, imm=operands.imm32(at))
        elif at.accept("kfunc", "#"):
            number, offset = operands.imm32(at), 0
            if at.accept("["):
                token = at.token
                offset = operands.offset16(at, at.integer("a BTF number"), token)
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
        self._emit(isa.JMP | isa.CALL | isa.X, operands.register(at)[0])

    def _tail_call(self, at: Cursor) -> None:
        at.take()
        self._emit(isa.JMP | isa.TAIL_CALL, imm=operands.imm32(at))

    def _store(self, at: Cursor) -> None:
        at.expect("*")
        size, dst, offset, arena = operands.typed_address(at)
        at.expect("=")
        mode = isa.PROBE_MEM32 if arena else isa.MEM
        if operands.is_register(at.token):
            src, _ = operands.register(at)
            self._emit(isa.STX | mode | size, dst, src, offset)
        else:
            self._emit(isa.ST | mode | size, dst, 0, offset, operands.imm32(at))

    def _store_release(self, at: Cursor) -> None:
        at.take()
        at.expect("(")
        size, dst, offset, arena = operands.typed_address(at)
        at.expect(",")
        src, _ = operands.register(at)
        at.expect(")")
        self._atomic(arena, size, dst, src, offset, isa.STORE_REL)

    def _atomic_update(self, at: Cursor) -> None:
        at.take()
        at.expect("*")
        size, dst, offset, arena = operands.typed_address(at)
        op = at.take()
        if op.text not in _UPDATES:
            at.fail(f"expected +=, |=, &= or ^=, found {op.text!r}", op)
        src, _ = operands.register(at)
        self._atomic(arena, size, dst, src, offset, _UPDATES[op.text])


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
