"""Where parsed instructions go."""

from __future__ import annotations

from typing import Protocol

from tramposim.bpf import insn as isa
from tramposim.bpf.insn import Insn
from tramposim.bpf.syntax import Cursor

__all__ = ["Emitter", "Sink"]


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


class Emitter:
    """Emits instructions into a sink."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def _emit(self, opcode: int, dst: int = 0, src: int = 0, offset: int = 0, imm: int = 0) -> None:
        self._sink.slots.append(Insn(opcode, dst, src, offset, imm))

    def _imm64(self, dst: int, src: int, value: int) -> None:
        self._sink.slots.extend(isa.load_imm64(dst, src, value))

    def _atomic(self, arena: bool, size: int, dst: int, src: int, offset: int, imm: int) -> None:
        mode = isa.PROBE_ATOMIC if arena else isa.ATOMIC
        self._emit(isa.STX | mode | size, dst, src, offset, imm)
