"""Reference interpreter of eBPF: what every engine must agree with.

Semantics: RFC 9669, on a little-endian machine. Every access is checked against the regions
of `Memory`; executed instructions are limited by a budget. What a program calls is given as
functions (`Calls`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tramposim.bpf import insn as isa
from tramposim.bpf.alu import COMPARISONS, M32, M64, arithmetic, signed, swap
from tramposim.bpf.helpers import HELPER_NAMES
from tramposim.bpf.insn import Insn, Pseudo, Reg
from tramposim.bpf.memory import Memory
from tramposim.errors import GuestFault, UnsupportedError

__all__ = ["BUDGET", "Calls", "TailCall", "interpret"]

BUDGET = 1_000_000
"""Instructions that a run may execute unless told otherwise (BPF_COMPLEXITY_LIMIT_INSNS)."""
STACK_SIZE = 512
MAX_FRAMES = 8
_CODE = 0xFFFF_FFFF_C000_0000
"""What stands for the address of a function: this plus 8 bytes for each instruction before."""
MAX_TAIL_CALLS = 33
MAY_GOTO_LOOPS = 1 << 23
"""Iterations after which may_goto jumps (BPF_MAX_LOOPS)."""

Function = Callable[[Sequence[int]], int]
"""A called function: r1 to r5 in, r0 out."""


class TailCall(Exception):
    """Raised by a helper to continue in another program, at its first instruction."""

    def __init__(self, insns: Sequence[Insn]) -> None:
        super().__init__()
        self.insns = insns


@dataclass(frozen=True, slots=True)
class Calls:
    """What programs may call: helpers by id, kernel functions by instruction index.

    `packet` reads `size` bytes at an offset for the legacy packet loads; None ends the
    program with 0, as the kernel does for an offset outside of the packet. `probes` are the
    loads (by instruction index) that give 0 where no memory is: those through pointers of the
    kernel's that a tracing program follows.
    """

    helpers: Mapping[int, Function] = field(default_factory=dict)
    kfuncs: Mapping[int, Function] = field(default_factory=dict)
    packet: Callable[[int, int], int | None] | None = None
    probes: frozenset[int] = frozenset()


@dataclass(slots=True)
class _Frame:
    """A caller: where to go on, its callee-saved registers, its frame pointer."""

    index: int
    saved: list[int]


def interpret(
    insns: Sequence[Insn],
    memory: Memory,
    calls: Calls = Calls(),
    arguments: Sequence[int] = (),
    budget: int = BUDGET,
    place: Callable[[int], str] = "instruction {}".format,
) -> int:
    """Execute a program with `arguments` in r1 and up; returns r0.

    Loads of 64-bit immediates must hold final addresses. Raises `GuestFault` for a bad access
    or jump and an exhausted budget, `UnsupportedError` for an instruction or function that
    is not known; both name the instruction, by what `place` says of its index.
    """
    return _Interpreter(insns, memory, calls, arguments, budget, place).run()


class _Interpreter:
    def __init__(
        self,
        insns: Sequence[Insn],
        memory: Memory,
        calls: Calls,
        arguments: Sequence[int],
        budget: int,
        place: Callable[[int], str],
    ) -> None:
        self.insns = insns
        self.place = place
        self.memory = memory
        self.calls = calls
        self.probes = calls.probes
        self.budget = budget
        self.index = 0
        self.frames: list[_Frame] = []
        self.tail_calls = 0
        self.loops: dict[int, int] = {}
        self.stacks = [memory.allocate(STACK_SIZE, "the stack")]
        self.registers = [0] * 16
        for number, value in enumerate(arguments, 1):
            self.registers[number] = value & M64
        self.registers[Reg.FP] = self.stacks[0].address + STACK_SIZE

    def run(self) -> int:
        try:
            while self._step():
                pass
        except GuestFault as fault:
            raise GuestFault(f"{self.place(self.index)}: {fault}") from None
        finally:
            for stack in self.stacks:
                self.memory.release(stack)
        return self.registers[0]

    def _step(self) -> bool:
        """Execute one instruction; False when the program ended."""
        if not 0 <= self.index < len(self.insns):
            raise GuestFault("control left the program")
        self.budget -= 1
        if self.budget < 0:
            raise GuestFault("the instruction budget is used up")
        insn = self.insns[self.index]
        cls = insn.cls
        if cls in (isa.ALU, isa.ALU64):
            self._alu(insn)
        elif cls == isa.LDX:
            self._load(insn)
        elif cls in (isa.ST, isa.STX):
            self._store(insn)
        elif cls == isa.LD:
            return self._load_other(insn)
        else:
            return self._jump(insn)
        self.index += 1
        return True

    def _unknown(self, insn: Insn) -> UnsupportedError:
        return UnsupportedError(f"{self.place(self.index)}: eBPF {bytes(insn).hex()}")

    def _alu(self, insn: Insn) -> None:
        registers, wide = self.registers, insn.cls == isa.ALU64
        bits, op = 64 if wide else 32, insn.op
        if op == isa.END:
            if insn.imm not in (16, 32, 64):
                raise self._unknown(insn)
            reverse = wide or insn.from_register
            registers[insn.dst] = swap(registers[insn.dst], insn.imm, reverse)
            return
        if op == isa.NEG:
            registers[insn.dst] = -registers[insn.dst] & (M64 if wide else M32)
            return
        source = registers[insn.src] if insn.from_register else insn.imm
        if op == isa.MOV and insn.from_register and insn.offset:
            if insn.offset not in (8, 16, 32) or (insn.offset == 32 and not wide):
                raise self._unknown(insn)
            registers[insn.dst] = signed(source, insn.offset) & (M64 if wide else M32)
            return
        if op not in isa.ALU_OPS or insn.offset not in (0, 1):
            raise self._unknown(insn)
        if insn.offset == 1 and op not in (isa.DIV, isa.MOD):
            raise self._unknown(insn)
        registers[insn.dst] = arithmetic(op, registers[insn.dst], source, bits, insn.offset == 1)

    def _load(self, insn: Insn) -> None:
        if insn.mode not in (isa.MEM, isa.MEMSX):
            raise self._unknown(insn)
        address = self.registers[insn.src] + insn.offset & M64
        try:
            value = self.memory.load(address, insn.size)
        except GuestFault:
            if self.index not in self.probes:
                raise
            value = 0
        if insn.mode == isa.MEMSX:
            value = signed(value, 8 * insn.size) & M64
        self.registers[insn.dst] = value

    def _store(self, insn: Insn) -> None:
        if insn.cls == isa.STX and insn.mode == isa.ATOMIC:
            self._atomic(insn)
            return
        if insn.opcode == isa.ST | isa.ATOMIC:
            return
        if insn.mode != isa.MEM:
            raise self._unknown(insn)
        value = insn.imm if insn.cls == isa.ST else self.registers[insn.src]
        address = self.registers[insn.dst] + insn.offset & M64
        self.memory.store(address, insn.size, value)

    def _atomic(self, insn: Insn) -> None:
        registers, size, op = self.registers, insn.size, insn.imm
        if op == isa.LOAD_ACQ:
            address = registers[insn.src] + insn.offset & M64
            registers[insn.dst] = self.memory.load(address, size)
            return
        address = registers[insn.dst] + insn.offset & M64
        if op == isa.STORE_REL:
            self.memory.store(address, size, registers[insn.src])
            return
        if size < 4:
            raise self._unknown(insn)
        if address % size:
            raise GuestFault(f"an atomic operation of {size} bytes at {address:#x}")
        mask = (1 << 8 * size) - 1
        old = self.memory.load(address, size)
        if op == isa.CMPXCHG:
            if old == registers[0] & mask:
                self.memory.store(address, size, registers[insn.src])
            registers[0] = old
            return
        fetch = bool(op & isa.FETCH)
        if op == isa.XCHG:
            new = registers[insn.src]
        elif op & ~isa.FETCH in (isa.ADD, isa.OR, isa.AND, isa.XOR):
            new = arithmetic(op & ~isa.FETCH, old, registers[insn.src], 8 * size, False)
        else:
            raise self._unknown(insn)
        self.memory.store(address, size, new)
        if fetch:
            registers[insn.src] = old

    def _load_other(self, insn: Insn) -> bool:
        registers = self.registers
        if insn.opcode == isa.LD_IMM64:
            if self.index + 1 >= len(self.insns):
                raise GuestFault("the program ends inside a 64-bit immediate load")
            if insn.src == Pseudo.FUNC:
                registers[insn.dst] = _CODE + 8 * (self.index + 1 + insn.imm) & M64
            else:
                upper = self.insns[self.index + 1].imm & M32
                registers[insn.dst] = upper << 32 | insn.imm & M32
            self.index += 2
            return True
        if insn.mode not in (isa.ABS, isa.IND) or self.calls.packet is None or insn.size == 8:
            raise self._unknown(insn)
        offset = insn.imm + (signed(registers[insn.src], 32) if insn.mode == isa.IND else 0)
        value = self.calls.packet(offset, insn.size)
        if value is None:
            registers[0] = 0
            return self._leave()
        registers[0] = value
        self.index += 1
        return True

    def _jump(self, insn: Insn) -> bool:
        op, wide = insn.op, insn.cls == isa.JMP
        if op in COMPARISONS:
            mask, bits = (M64, 64) if wide else (M32, 32)
            right = self.registers[insn.src] if insn.from_register else insn.imm
            taken = COMPARISONS[op](self.registers[insn.dst] & mask, right & mask, bits)
            self.index += 1 + (insn.offset if taken else 0)
            return True
        if op == isa.JA and not insn.from_register:
            self.index += 1 + (insn.offset if wide else insn.imm)
            return True
        if not wide or insn.opcode == isa.JMP | isa.EXIT | isa.X:
            raise self._unknown(insn)
        if op == isa.EXIT:
            return self._leave()
        if op == isa.CALL:
            self._call(insn)
            return True
        if insn.opcode == isa.MAY_GOTO:
            count = self.loops.get(self.index, 0) + 1
            self.loops[self.index] = count
            self.index += 1 + (insn.offset if count > MAY_GOTO_LOOPS else 0)
            return True
        raise self._unknown(insn)

    def _leave(self) -> bool:
        if not self.frames:
            return False
        frame = self.frames.pop()
        self.memory.release(self.stacks.pop())
        self.registers[6:11] = frame.saved
        self.index = frame.index
        return True

    def _call(self, insn: Insn) -> None:
        if insn.from_register:
            target = self.registers[insn.dst]
            if 0 <= target - _CODE < 8 * len(self.insns) and target % 8 == 0:
                self._enter((target - _CODE) // 8)
                return
            insn = Insn(isa.JMP | isa.CALL, imm=signed(target, 64))
        if insn.src == Pseudo.CALL:
            self._enter(self.index + 1 + insn.imm)
            return
        if insn.src == Pseudo.KFUNC:
            function = self.calls.kfuncs.get(self.index)
            name = f"kernel function {insn.imm}"
        else:
            function = self.calls.helpers.get(insn.imm) if insn.src == 0 else None
            name = HELPER_NAMES.get(insn.imm, f"helper {insn.imm}")
        if function is None:
            raise UnsupportedError(f"{self.place(self.index)}: {name} is not available")
        try:
            result = function(tuple(self.registers[1:6]))
        except TailCall as target:
            self._continue_in(target.insns)
            return
        self.registers[0] = result & M64
        self.index += 1

    def _enter(self, target: int) -> None:
        if len(self.frames) + 1 == MAX_FRAMES:
            raise GuestFault(f"more than {MAX_FRAMES} nested calls")
        self.frames.append(_Frame(self.index + 1, self.registers[6:11]))
        self.stacks.append(self.memory.allocate(STACK_SIZE, "the stack of a subprogram"))
        self.registers[Reg.FP] = self.stacks[-1].address + STACK_SIZE
        self.index = target

    def _continue_in(self, insns: Sequence[Insn]) -> None:
        """A tail call: the program replaces this one, unless 33 have been made already."""
        if self.tail_calls == MAX_TAIL_CALLS:
            self.index += 1
            return
        self.tail_calls += 1
        self.insns = insns
        self.probes = frozenset()
        self.place = "the program that was tail-called: instruction {}".format
        self.index = 0
