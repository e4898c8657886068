"""Code that is reached whatever a kernel's verifier knows beyond constants.

Constants are followed along the paths that can be taken: immediates, and what read-only maps
hold (`.rodata`, `.kconfig`). What is dead by that is removed by every version's verifier
(`tramposim.bpf.deadcode` does what a particular one does).
"""

from __future__ import annotations

from collections.abc import Callable

from tramposim.bpf import insn as isa
from tramposim.bpf.alu import COMPARISONS, M32, M64, arithmetic, signed
from tramposim.bpf.insn import Insn, Pseudo, Reg, decode
from tramposim.bpf.stack import successors
from tramposim.spec import Map, MapFlag, Program, Relocation

__all__ = ["live_instructions"]

_CALL = isa.JMP | isa.CALL
_JUMPS = (isa.JMP, isa.JMP32)
_FOLLOWED = (isa.ADD, isa.SUB, isa.MUL, isa.AND, isa.OR, isa.XOR, isa.LSH, isa.RSH, isa.ARSH)
"""Operations of two constants whose result is one in every version's verifier."""
_SHIFTS = (isa.LSH, isa.RSH, isa.ARSH)

_Value = int | tuple[str, int] | None
"""A constant, an address in a read-only map (name, offset), or nothing known."""
_State = tuple[_Value, ...]
_UNKNOWN: _State = (None,) * 11


def live_instructions(program: Program) -> set[int]:
    """Indices of the instructions that a path may reach.

    All are live in a program that is not well formed, and in one with code that not even both
    sides of all jumps reach, which the verifier refuses.
    """
    insns = decode(program.insns)
    all_of_them = {index for index, insn in enumerate(insns) if insn.opcode}
    if not _plain(insns) or _reached(insns, lambda index, state: None, None) != all_of_them:
        return all_of_them
    analysis = _Constants(program, insns)
    return _reached(insns, analysis.decided, analysis)


def _plain(insns: list[Insn]) -> bool:
    """Whether all jumps go to an instruction of the program, and none is computed."""
    second = {i + 1 for i, insn in enumerate(insns) if insn.opcode == isa.LD_IMM64}
    for index, insn in enumerate(insns):
        if index in second:
            continue
        if insn.cls in _JUMPS and insn.from_register and insn.op in (isa.JA, isa.CALL):
            return False
        for target in (*successors(insn, index), *_callees(insn, index)):
            if not 0 <= target < len(insns) or target in second:
                return False
    return bool(insns)


def _callees(insn: Insn, index: int) -> tuple[int, ...]:
    """Functions that an instruction calls or takes the address of."""
    direct = insn.opcode == _CALL and insn.src == Pseudo.CALL
    address = insn.opcode == isa.LD_IMM64 and insn.src == Pseudo.FUNC
    return (index + 1 + insn.imm,) if direct or address else ()


def _reached(
    insns: list[Insn],
    decided: Callable[[int, _State], bool | None],
    analysis: _Constants | None,
) -> set[int]:
    """Indices that control reaches; `decided` says of a conditional jump which way it goes."""
    states: dict[int, _State] = {0: _UNKNOWN}
    work = [0]
    while work:
        index = work.pop()
        insn, state = insns[index], states[index]
        following = successors(insn, index)
        if len(following) == 2 and insn.opcode != isa.MAY_GOTO:
            taken = decided(index, state)
            if taken is not None:
                following = following[1:] if taken else following[:1]
        after = analysis.step(index, state) if analysis is not None else _UNKNOWN
        edges = [(target, after) for target in following]
        edges += [(target, _UNKNOWN) for target in _callees(insn, index)]
        for target, entering in edges:
            old = states.get(target)
            if old is None:
                merged = entering
            else:
                merged = tuple(a if a == b else None for a, b in zip(old, entering, strict=True))
            if merged != old:
                states[target] = merged
                work.append(target)
    return set(states)


class _Constants:
    """What instructions do to constants."""

    def __init__(self, program: Program, insns: list[Insn]) -> None:
        self.insns = insns
        self.loads = {index: (kind, name) for index, kind, name in program.relocations}
        self.maps: dict[str, Map] = {
            m.name: m for m in program.maps if m.flags & MapFlag.RDONLY_PROG
        }

    def decided(self, index: int, state: _State) -> bool | None:
        """Which way a conditional jump goes; None: either."""
        insn = self.insns[index]
        left = state[insn.dst] if insn.dst <= Reg.FP else None
        right = self._operand(insn, state)
        if not isinstance(left, int) or not isinstance(right, int):
            return None
        bits = 64 if insn.cls == isa.JMP else 32
        mask = M64 if bits == 64 else M32
        return COMPARISONS[insn.op](left & mask, right & mask, bits)

    def step(self, index: int, state: _State) -> _State:
        """Registers after an instruction."""
        insn = self.insns[index]
        registers = list(state)
        if insn.opcode == _CALL or (insn.cls == isa.LD and insn.opcode != isa.LD_IMM64):
            registers[Reg.R0 : Reg.R5 + 1] = [None] * 6
        elif insn.cls == isa.STX and insn.mode == isa.ATOMIC:
            for written in (Reg.R0, insn.src, insn.dst if insn.imm == isa.LOAD_ACQ else Reg.R0):
                if written < Reg.FP:
                    registers[written] = None
        elif insn.dst < Reg.FP:
            if insn.cls in (isa.ALU, isa.ALU64):
                registers[insn.dst] = self._computed(insn, state)
            elif insn.cls == isa.LDX:
                registers[insn.dst] = self._loaded(insn, state)
            elif insn.opcode == isa.LD_IMM64:
                registers[insn.dst] = self._immediate(index)
        return tuple(registers)

    def _operand(self, insn: Insn, state: _State) -> _Value:
        if insn.from_register:
            return state[insn.src] if insn.src <= Reg.FP else None
        return insn.imm & M64

    def _computed(self, insn: Insn, state: _State) -> _Value:
        wide = insn.cls == isa.ALU64
        right = self._operand(insn, state)
        if insn.op == isa.MOV:
            if isinstance(right, int):
                if insn.from_register and insn.offset:
                    right = signed(right, insn.offset) if insn.offset in (8, 16, 32) else None
                    if right is None:
                        return None
                return right & (M64 if wide else M32)
            return right if wide and insn.offset == 0 else None
        left = state[insn.dst]
        if isinstance(left, tuple) and isinstance(right, int) and wide:
            change = {isa.ADD: right, isa.SUB: -right}.get(insn.op)
            return (left[0], signed(left[1] + change, 64)) if change is not None else None
        if insn.op not in _FOLLOWED or not isinstance(left, int) or not isinstance(right, int):
            return None
        bits = 64 if wide else 32
        if insn.op in _SHIFTS and right >= bits:
            return None
        return arithmetic(insn.op, left, right, bits, False)

    def _loaded(self, insn: Insn, state: _State) -> _Value:
        base = state[insn.src] if insn.src <= Reg.FP else None
        if not isinstance(base, tuple) or insn.mode not in (isa.MEM, isa.MEMSX):
            return None
        held = self.maps[base[0]]
        start = base[1] + insn.offset
        if not 0 <= start <= held.value_size - insn.size:
            return None
        content = held.content[start : start + insn.size].ljust(insn.size, b"\0")
        value = int.from_bytes(content, "little", signed=insn.mode == isa.MEMSX)
        return value & M64

    def _immediate(self, index: int) -> _Value:
        kind, name = self.loads.get(index, (None, ""))
        upper = self.insns[index + 1].imm
        if kind is None and self.insns[index].src == 0:
            return (upper & M32) << 32 | self.insns[index].imm & M32
        if kind is Relocation.MAP_VALUE and name in self.maps:
            return name, upper
        return None
