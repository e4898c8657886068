"""Programs as the JIT gets them, interpreted: after all that the verifier rewrites.

Besides RFC 9669 these contain what only the verifier produces: loads that may fault, arena
accesses, casts between address spaces, per-CPU addresses, tail calls proper, calls whose
immediate is a distance. Memory and calls are given from outside, so that compiled code can be
held against the same memory and the same callees, call by call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tramposim.bpf import insn as isa
from tramposim.bpf.alu import COMPARISONS, M32, M64, arithmetic, signed, swap
from tramposim.bpf.insn import Insn, Pseudo, Reg, decode
from tramposim.bpf.loaded import LoadedFunction
from tramposim.bpf.outside import OutOfBudget, Outside, State, TailCalled, Target, Thrown
from tramposim.errors import UnsupportedError

__all__ = ["interpret_lowered"]

MAX_FRAMES = 16
_VSYSCALL = -(10 << 20)
_SAVED = range(6, 11)


def interpret_lowered(
    functions: Sequence[LoadedFunction],
    addresses: Sequence[int],
    target: Target,
    outside: Outside,
    arguments: Sequence[int],
    budget: int,
) -> int:
    """Run a program of `functions`, main first, that lie at `addresses`; returns r0.

    Raises `TailCalled`, `OutOfBudget`, and `UnsupportedError` for an instruction that is not
    known.
    """
    return _Run(functions, addresses, target, outside, budget).run(arguments)


@dataclass(slots=True)
class _Frame:
    function: int
    index: int
    saved: list[int]
    defined: set[int]


class _Run:
    def __init__(
        self,
        functions: Sequence[LoadedFunction],
        addresses: Sequence[int],
        target: Target,
        outside: Outside,
        budget: int,
    ) -> None:
        self.functions = functions
        self.code: list[list[Insn] | None] = [None] * len(functions)
        self.numbers = {address: number for number, address in enumerate(addresses)}
        self.target = target
        self.outside = outside
        self.budget = budget
        self.state = State()
        self.frames: list[_Frame] = []
        self.function = self.index = 0
        self.insns = self._code(0)

    def _code(self, number: int) -> list[Insn]:
        code = self.code[number]
        if code is None:
            code = self.code[number] = decode(self.functions[number].insns)
        return code

    def run(self, arguments: Sequence[int]) -> int:
        for number, value in enumerate(arguments, 1):
            self.state.set(number, value)
        self.state.set(Reg.FP, self.outside.frame(0))
        stepped, state = self.outside.stepped, self.state
        function, index = self.function, self.index
        while self._step():
            stepped(function, index, state)
            function, index = self.function, self.index
        return self.state.registers[0]

    def _step(self) -> bool:
        self.budget -= 1
        if self.budget < 0:
            raise OutOfBudget
        if not 0 <= self.index < len(self.insns):
            raise UnsupportedError(f"control leaves function {self.function}")
        insn = self.insns[self.index]
        cls = insn.opcode & 7
        if cls in (isa.ALU, isa.ALU64):
            self._alu(insn)
        elif cls == isa.LDX:
            self._load(insn)
        elif cls in (isa.ST, isa.STX):
            self._store(insn)
        elif insn.opcode == isa.LD_IMM64:
            upper = self.insns[self.index + 1].imm & M32
            self.state.set(insn.dst, upper << 32 | insn.imm & M32)
            self.index += 1
        elif cls in (isa.JMP, isa.JMP32):
            return self._jump(insn)
        else:
            raise self._unknown(insn)
        self.index += 1
        return True

    def _unknown(self, insn: Insn) -> UnsupportedError:
        return UnsupportedError(
            f"function {self.function}, instruction {self.index}: eBPF {bytes(insn).hex()}"
        )

    def _alu(self, insn: Insn) -> None:
        state, wide = self.state, insn.cls == isa.ALU64
        registers, op = state.registers, insn.op
        if op == isa.END:
            if insn.imm not in (16, 32, 64):
                raise self._unknown(insn)
            state.set(insn.dst, swap(registers[insn.dst], insn.imm, wide or insn.from_register))
            return
        if op == isa.NEG:
            state.set(insn.dst, -registers[insn.dst] & (M64 if wide else M32))
            return
        source = registers[insn.src] if insn.from_register else insn.imm
        if op == isa.MOV and insn.from_register and insn.offset:
            state.set(insn.dst, self._special_move(insn, source, wide))
            return
        if op not in isa.ALU_OPS or insn.offset not in (0, 1):
            raise self._unknown(insn)
        if insn.offset == 1 and op not in (isa.DIV, isa.MOD):
            raise self._unknown(insn)
        value = arithmetic(op, registers[insn.dst], source, 64 if wide else 32, insn.offset == 1)
        state.set(insn.dst, value)

    def _special_move(self, insn: Insn, source: int, wide: bool) -> int:
        if insn.offset in (8, 16) or (insn.offset == 32 and wide):
            return signed(source, insn.offset) & (M64 if wide else M32)
        if wide and insn.offset == isa.PERCPU_MOV:
            return source + self.target.percpu
        if wide and insn.offset == isa.ADDR_SPACE_CAST and insn.imm == 1 << 16:
            low = source & M32
            upper = self.functions[self.function].arena_user_vm_start >> 32
            return upper << 32 | low if low else 0
        raise self._unknown(insn)

    def _address(self, insn: Insn, register: int, arena: bool) -> int:
        base = self.functions[self.function].arena_vm_start if arena else 0
        return self.state.registers[register] + insn.offset + base & M64

    def _load(self, insn: Insn) -> None:
        mode = insn.mode
        arena = mode in (isa.PROBE_MEM32, isa.PROBE_MEM32SX)
        if mode not in (isa.MEM, isa.MEMSX, isa.PROBE_MEM, isa.PROBE_MEMSX) and not arena:
            raise self._unknown(insn)
        address = self._address(insn, insn.src, arena)
        if mode in (isa.PROBE_MEM, isa.PROBE_MEMSX) and not self._probed(address):
            self.state.set(insn.dst, 0)
            return
        value = self.outside.load(address, insn.size, insn.dst)
        if mode in (isa.MEMSX, isa.PROBE_MEMSX, isa.PROBE_MEM32SX):
            value = signed(value, 8 * insn.size)
        self.state.set(insn.dst, value)

    def _probed(self, address: int) -> bool:
        """Whether code that checks addresses would load from this one."""
        bits = self.target.address_bits
        return not bits or address - _VSYSCALL & M64 > (1 << bits) - _VSYSCALL

    def _store(self, insn: Insn) -> None:
        mode = insn.mode
        if insn.cls == isa.STX and mode in (isa.ATOMIC, isa.PROBE_ATOMIC):
            self._atomic(insn)
            return
        if insn.opcode == isa.ST | isa.ATOMIC:
            return
        if mode not in (isa.MEM, isa.PROBE_MEM32):
            raise self._unknown(insn)
        value = insn.imm if insn.cls == isa.ST else self.state.registers[insn.src]
        address = self._address(insn, insn.dst, mode == isa.PROBE_MEM32)
        self.outside.store(address, insn.size, value)

    def _atomic(self, insn: Insn) -> None:
        state, size, op = self.state, insn.size, insn.imm
        arena = insn.mode == isa.PROBE_ATOMIC
        source = state.registers[insn.src]
        if op == isa.LOAD_ACQ:
            value = self.outside.load(self._address(insn, insn.src, arena), size)
            state.set(insn.dst, value)
            return
        address = self._address(insn, insn.dst, arena)
        if op == isa.STORE_REL:
            self.outside.store(address, size, source)
            return
        if size < 4:
            raise self._unknown(insn)
        old = self.outside.load(address, size)
        if op == isa.CMPXCHG:
            if old == state.registers[0] & (1 << 8 * size) - 1:
                self.outside.exchange(address, size, source)
            else:
                self.outside.attempt(address, size)
            state.set(0, old)
            return
        if op == isa.XCHG:
            new = source
        elif op & ~isa.FETCH in (isa.ADD, isa.OR, isa.AND, isa.XOR):
            new = arithmetic(op & ~isa.FETCH, old, source, 8 * size, False)
        else:
            raise self._unknown(insn)
        self.outside.exchange(address, size, new)
        if op & isa.FETCH:
            state.set(insn.src, old)

    def _jump(self, insn: Insn) -> bool:
        op, wide = insn.op, insn.cls == isa.JMP
        if op in COMPARISONS:
            function, index, state = self.function, self.index, self.state
            self.outside.turn(function, index, state)
            registers = state.registers
            mask, bits = (M64, 64) if wide else (M32, 32)
            left = registers[insn.dst] & mask
            right = (registers[insn.src] if insn.from_register else insn.imm) & mask
            taken = COMPARISONS[op](left, right, bits)
            self.outside.compared(function, index, left, right, taken, state)
            self.index += 1 + (insn.offset if taken else 0)
            return True
        if op == isa.JA and not insn.from_register:
            self.index += 1 + (insn.offset if wide else insn.imm)
            return True
        if insn.opcode == isa.JMP | isa.EXIT:
            return self._exit()
        if insn.opcode == isa.JMP | isa.CALL:
            self._call(insn)
            return True
        if insn.opcode == isa.JMP | isa.TAIL_CALL:
            self._tail_call(insn)
            self.index += 1
            return True
        raise self._unknown(insn)

    def _call(self, insn: Insn) -> None:
        state, target = self.state, self.target
        inlined = target.inlined.get(insn.imm) if insn.src == 0 else None
        if inlined is not None:
            value = target.task
            if inlined == "cpu":
                value = self.outside.load(target.task + target.thread_cpu, 4)
            state.set(0, value)
            self.index += 1
            return
        address = target.call_base + insn.imm & M64
        if insn.src == Pseudo.CALL:
            number = self._called(insn, address)
            if len(self.frames) + 1 >= MAX_FRAMES:
                raise UnsupportedError(f"more than {MAX_FRAMES} nested calls")
            self.frames.append(
                _Frame(
                    self.function, self.index + 1, state.registers[6:11],
                    state.defined & set(_SAVED),
                )
            )  # fmt: skip
            state.defined -= {0, *range(6, 10)}
            self.function, self.index = number, 0
            self.insns = self._code(number)
            state.set(Reg.FP, self.outside.frame(len(self.frames)))
            return
        result = self.outside.call(address, state)
        if address in target.noreturn:
            raise Thrown
        if address in target.preserving:
            state.set(target.scratch, result)
        else:
            state.defined -= {*range(1, 6), target.scratch}
            state.set(0, result)
        self.index += 1

    def _called(self, insn: Insn, address: int) -> int:
        if address not in self.numbers:
            # Only the low half of the distance is in the immediate.
            near = [a for a in self.numbers if (a - address) & M32 == 0]
            if not near:
                raise UnsupportedError(f"a call of a function at {address:#x}, which is not known")
            address = near[0]
        return self.numbers[address]

    def _exit(self) -> bool:
        if not self.frames:
            return False
        state, frame = self.state, self.frames.pop()
        self.outside.leave(state.registers[Reg.FP])
        state.registers[6:11] = frame.saved
        state.defined -= {*range(1, 16)}
        state.defined |= frame.defined
        self.function, self.index = frame.function, frame.index
        self.insns = self._code(frame.function)
        return True

    def _tail_call(self, insn: Insn) -> None:
        """To a constant index (patched in) or to r3 of the map in r2; goes on if that fails."""
        registers, target = self.state.registers, self.target
        self.state.defined -= set(range(6))
        if insn.imm and target.patched_tail_calls:
            known = dict(self.functions[self.function].poke).get(insn.imm, 0)
            if known:
                raise TailCalled(known + target.tail_entry, registers[1])
            return
        array, index = registers[2], registers[3] & M32
        if index >= self.outside.load(array + target.map_max_entries & M64, 4):
            return
        program = self.outside.load(array + target.array_ptrs + 8 * index & M64, 8)
        if program:
            function = self.outside.load(program + target.prog_bpf_func & M64, 8)
            raise TailCalled(function + target.tail_entry & M64, registers[1])
