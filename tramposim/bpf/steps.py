"""What single instructions, but conditional jumps, do to the state that the verifier tracks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tramposim.bpf import insn as isa
from tramposim.bpf import scalarmath, scalars
from tramposim.bpf.helpers import HELPER_NAMES
from tramposim.bpf.insn import Insn, Pseudo
from tramposim.bpf.scalars import Scalar, constant, truncated, unknown
from tramposim.bpf.verifierstate import Frame, Location, Note, Pointer, State, Value

__all__ = ["Facts", "Steps"]

_NULLABLE = ("bpf_map_lookup_elem", "bpf_map_lookup_percpu_elem")
_READING = (
    "bpf_map_lookup_elem", "bpf_map_update_elem", "bpf_map_delete_elem", "bpf_trace_printk",
    "bpf_map_push_elem", "bpf_perf_event_output", "bpf_ringbuf_output", "bpf_skb_store_bytes",
    "bpf_map_lookup_percpu_elem", "bpf_csum_diff", "bpf_strncmp",
)  # fmt: skip
"""Helpers that only read what their arguments point to."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known besides the instructions.

    `maps` names the map that the load at an index loads, `values` the map and the offset whose
    address it loads; `content` are the bytes of maps that nothing can change.
    """

    maps: Mapping[int, str] = field(default_factory=dict)
    values: Mapping[int, tuple[str, int]] = field(default_factory=dict)
    content: Mapping[str, bytes] = field(default_factory=dict)
    processors: int | None = None
    """What bpf_get_smp_processor_id is below, if known."""
    recent: bool = True
    """Whether the kernel is 7.0 or later."""


class Steps:
    """Steps through one program."""

    def __init__(self, insns: Sequence[Insn], facts: Facts) -> None:
        self._insns = insns
        self._facts = facts
        self._links = 0

    def _new_link(self) -> int:
        self._links += 1
        return self._links

    def step(
        self, state: State, index: int, trail: list[Note], decide: Callable[[Location], None]
    ) -> int | None:
        """Execute an instruction that is no conditional jump; the index of the next one.

        None at the program's end. `decide` is told of a number that an address depends on.
        """
        insn = self._insns[index]
        cls = insn.cls
        if cls in (isa.ALU, isa.ALU64):
            self._alu(state, insn, trail, decide)
        elif insn.opcode == isa.LD_IMM64:
            self._load_constant(state, index, trail)
            return index + 2
        elif cls == isa.LDX:
            self._load(state, insn, trail)
        elif cls in (isa.ST, isa.STX):
            self._store(state, insn, trail)
        elif cls == isa.LD:
            self._returned(state, trail, unknown())
        elif insn.op == isa.JA:
            return index + 1 + (insn.imm if cls == isa.JMP32 else insn.offset)
        elif insn.op == isa.CALL:
            return self._call(state, index, trail)
        elif insn.op == isa.EXIT:
            return self._exit(state, trail)
        return index + 1

    def _set(self, state: State, number: int, value: Value) -> None:
        state.frame.registers[number] = value

    def _alu(
        self, state: State, insn: Insn, trail: list[Note], decide: Callable[[Location], None]
    ) -> None:
        depth = len(state.frames) - 1
        registers, wide = state.frame.registers, insn.cls == isa.ALU64
        place = (depth, insn.dst)
        source = (
            (depth, insn.src) if insn.from_register and insn.op not in (isa.NEG, isa.END) else None
        )
        if insn.op == isa.MOV:
            trail.append(Note((place,), (source,) if source else ()))
            registers[insn.dst] = self._moved(state, insn, wide)
            return
        trail.append(Note((place,), (place, source) if source else (place,)))
        old = registers[insn.dst]
        operand: Value = registers[insn.src] if source else constant(insn.imm)
        if isinstance(old, Pointer) or isinstance(operand, Pointer):
            registers[insn.dst] = _pointer_arithmetic(insn, old, operand, wide)
            number = insn.src if isinstance(old, Pointer) else insn.dst
            if source or number == insn.dst:
                decide((depth, number))
            return
        old = old if isinstance(old, Scalar) else unknown()
        if insn.op == isa.END or insn.op == isa.NEG:
            registers[insn.dst] = self._in_place(insn, old, wide)
        else:
            operand = operand if isinstance(operand, Scalar) else unknown()
            registers[insn.dst] = self._computed(insn, old, operand, wide)

    def _in_place(self, insn: Insn, old: Scalar, wide: bool) -> Scalar:
        """Negation or byte swap, of which kernels before 7.0 know nothing."""
        if not self._facts.recent:
            return scalars.load(8 if wide or insn.op == isa.END else 4)
        if insn.op == isa.NEG:
            return scalarmath.arithmetic(isa.SUB, constant(0), old, wide)
        return scalarmath.swapped(old, insn.imm, wide or insn.from_register)

    def _computed(self, insn: Insn, old: Scalar, operand: Scalar, wide: bool) -> Scalar:
        recent = self._facts.recent
        new = scalarmath.arithmetic(insn.op, old, operand, wide, insn.offset == 1, recent)
        new.link, new.delta = 0, 0
        if insn.op == isa.ADD and wide and not insn.from_register and old.link and not old.delta:
            new.link, new.delta = old.link, insn.imm
        return new

    def _moved(self, state: State, insn: Insn, wide: bool) -> Value:
        if not insn.from_register:
            return constant(insn.imm if wide else insn.imm & 0xFFFFFFFF)
        registers = state.frame.registers
        value = registers[insn.src]
        if isinstance(value, Pointer):
            return (
                value
                if wide and insn.offset == 0
                else unknown()
                if wide
                else truncated(unknown(), 4)
            )
        value = value if isinstance(value, Scalar) else unknown()
        if insn.offset in (8, 16, 32):
            new = scalars.sign_extended(value, insn.offset // 8, wide)
            new.link = new.delta = 0
            return new
        if insn.offset:
            return unknown()
        narrow = value.umax <= 0xFFFFFFFF
        if wide or narrow:
            if value.value is None and not value.link:
                value = value.copy()
                value.link = self._new_link()
                registers[insn.src] = value
            return value.copy() if wide else truncated(value, 4)
        new = truncated(value, 4)
        new.link = new.delta = 0
        return new

    def _load_constant(self, state: State, index: int, trail: list[Note]) -> None:
        insn = self._insns[index]
        trail.append(Note(((len(state.frames) - 1, insn.dst),)))
        value: Value
        if index in self._facts.values:
            value = Pointer("value", *self._facts.values[index])
        elif index in self._facts.maps:
            value = Pointer("map", self._facts.maps[index])
        elif insn.src:
            value = Pointer("other", offset=None)
        else:
            upper = self._insns[index + 1].imm & 0xFFFFFFFF
            value = constant(upper << 32 | insn.imm & 0xFFFFFFFF)
        self._set(state, insn.dst, value)

    def _load(self, state: State, insn: Insn, trail: list[Note]) -> None:
        depth = len(state.frames) - 1
        base = state.frame.registers[insn.src]
        is_signed = insn.mode in (isa.MEMSX, isa.PROBE_MEMSX)
        place = (depth, insn.dst)
        if isinstance(base, Pointer) and base.kind == "stack" and base.offset is not None:
            offset = base.offset + insn.offset
            owner = int(base.what)
            value, stored = state.read(owner, offset, insn.size)
            trail.append(Note((place,), ((owner, offset >> 3),)))
            if stored and isinstance(value, Scalar) and value.value is None and not is_signed:
                self._link_slot(state, owner, offset >> 3, value, insn.size)
            self._set(state, insn.dst, _extended(value, insn.size, is_signed))
            return
        trail.append(Note((place,)))
        self._set(state, insn.dst, self._loaded(base, insn, is_signed))

    def _link_slot(self, state: State, owner: int, number: int, value: Scalar, size: int) -> None:
        """A number read back and its slot change together (if all of it was read)."""
        slot = state.frames[owner].slots[number]
        if not isinstance(slot.value, Scalar) or (size < 8 and slot.value.umax >> 8 * size):
            value.link = value.delta = 0
            return
        if not slot.value.link:
            kept = slot.value.copy()
            kept.link = self._new_link()
            state.put((owner, number), kept)
            value.link = kept.link

    def _loaded(self, base: Value, insn: Insn, is_signed: bool) -> Value:
        """A load from anywhere but a known place of the stack."""
        if isinstance(base, Pointer):
            known = self._facts.content.get(str(base.what)) if base.kind == "value" else None
            if known is not None and base.offset is not None and not base.null:
                at = base.offset + insn.offset
                if 0 <= at <= len(known) - insn.size:
                    return constant(
                        int.from_bytes(known[at : at + insn.size], "little", signed=is_signed)
                    )
        return scalars.load(insn.size, is_signed)

    def _store(self, state: State, insn: Insn, trail: list[Note]) -> None:
        depth = len(state.frames) - 1
        registers = state.frame.registers
        if insn.opcode == isa.ST | isa.ATOMIC:
            return
        if insn.cls == isa.STX and insn.mode == isa.ATOMIC:
            self._atomic(state, insn, trail)
            return
        base = registers[insn.dst]
        value: Value = registers[insn.src] if insn.cls == isa.STX else constant(insn.imm)
        if not isinstance(base, Pointer) or base.kind != "stack":
            return
        owner = int(base.what)
        if base.offset is None:
            state.clobber(owner, None)
            return
        offset = base.offset + insn.offset
        if insn.cls == isa.STX and isinstance(value, Scalar) and value.value is None:
            value = self._shared(registers, insn, value)
        state.write(owner, offset, insn.size, value if value is not None else unknown())
        read = ((depth, insn.src),) if insn.cls == isa.STX else ()
        whole = offset % 8 == 0 and insn.size == 8
        for number in range(offset >> 3, (offset + insn.size - 1 >> 3) + 1):
            trail.append(Note(((owner, number),), read, kept=not whole))

    def _shared(self, registers: list[Value], insn: Insn, value: Scalar) -> Scalar:
        """A stored number that gets a link, so that it and its copy change together."""
        if value.link or value.umax >> 8 * insn.size:
            return value
        value = value.copy()
        value.link = self._new_link()
        registers[insn.src] = value
        return value

    def _atomic(self, state: State, insn: Insn, trail: list[Note]) -> None:
        depth = len(state.frames) - 1
        registers = state.frame.registers
        if insn.imm == isa.LOAD_ACQ:
            self._load(state, Insn(isa.LDX | isa.MEM | insn.opcode & 0x18, insn.dst, insn.src,
                                   insn.offset), trail)  # fmt: skip
            return
        if insn.imm == isa.STORE_REL:
            self._store(state, Insn(isa.STX | isa.MEM | insn.opcode & 0x18, insn.dst, insn.src,
                                    insn.offset), trail)  # fmt: skip
            return
        base = registers[insn.dst]
        written = 0 if insn.imm == isa.CMPXCHG else insn.src if insn.imm & isa.FETCH else None
        value: Value = scalars.load(insn.size)
        if isinstance(base, Pointer) and base.kind == "stack":
            owner = int(base.what)
            if base.offset is None:
                state.clobber(owner, None)
            else:
                offset = base.offset + insn.offset
                value, _ = state.read(owner, offset, insn.size)
                value = _extended(value, insn.size, False)
                if isinstance(value, Scalar):
                    value = value.copy()
                    value.link = value.delta = 0
                if written is not None:
                    trail.append(Note(((depth, written),), ((owner, offset >> 3),)))
                state.write(owner, offset, insn.size, None)
                trail.append(Note(((owner, offset >> 3),), kept=True))
        elif written is not None:
            trail.append(Note(((depth, written),)))
        if written is not None:
            registers[written] = value

    def _returned(self, state: State, trail: list[Note], value: Value) -> None:
        """A call returned: r0 is known as `value`, r1 to r5 are gone."""
        depth = len(state.frames) - 1
        state.frame.registers[0:6] = [value, None, None, None, None, None]
        trail.append(Note(tuple((depth, number) for number in range(6))))

    def _call(self, state: State, index: int, trail: list[Note]) -> int:
        insn = self._insns[index]
        depth = len(state.frames) - 1
        registers = state.frame.registers
        if insn.src == Pseudo.CALL and not insn.from_register:
            state.frame.resume = index + 1
            callee: list[Value] = [None, *registers[1:6], *([None] * 5)]
            callee[10] = Pointer("stack", depth + 1, 0)
            state.frames.append(Frame(callee))
            for number in range(1, 6):
                trail.append(Note(((depth + 1, number),), ((depth, number),)))
            return index + 1 + insn.imm
        name = HELPER_NAMES.get(insn.imm, "") if insn.src == 0 else ""
        result: Value = unknown()
        if name in _NULLABLE and isinstance(registers[1], Pointer):
            result = Pointer("value", registers[1].what, 0, self._new_link())
        elif name == "bpf_get_smp_processor_id" and self._facts.processors is not None:
            result = scalars.load(4)
            result.umax = result.umax32 = result.smax = result.smax32 = self._facts.processors - 1
            result = result.sync()
        elif insn.src == Pseudo.KFUNC:
            result = Pointer("other", offset=None)
        if name not in _READING:
            for value in registers[1:6]:
                if isinstance(value, Pointer) and value.kind == "stack":
                    state.clobber(int(value.what), value.offset)
        self._returned(state, trail, result)
        return index + 1

    def _exit(self, state: State, trail: list[Note]) -> int | None:
        if len(state.frames) == 1:
            return None
        callee = state.frames.pop()
        depth = len(state.frames) - 1
        state.frame.registers[0:6] = [callee.registers[0], None, None, None, None, None]
        trail.append(Note(tuple((depth, number) for number in range(6)), ((depth + 1, 0),)))
        resume = state.frame.resume
        state.frame.resume = -1
        return resume


def _pointer_arithmetic(insn: Insn, a: Value, b: Value, wide: bool) -> Value:
    pointer, other = (a, b) if isinstance(a, Pointer) else (b, a)
    if not wide:
        return truncated(unknown(), 4)
    if not isinstance(pointer, Pointer) or not isinstance(other, Scalar):
        return unknown()
    if insn.op not in (isa.ADD, isa.SUB):
        return unknown()
    if other.value is None or pointer.offset is None:
        return Pointer(pointer.kind, pointer.what, None, pointer.null)
    value = other.smin if insn.op == isa.ADD else -other.smin
    return Pointer(pointer.kind, pointer.what, pointer.offset + value, pointer.null)


def _extended(value: Value, size: int, is_signed: bool) -> Value:
    if is_signed and isinstance(value, Scalar):
        new = scalars.sign_extended(value, size, True)
        new.link = new.delta = 0
        return new
    return value
