"""Bare programs, executed: on the interpreter, or compiled, in the emulated machine.

A bare program is eBPF without maps or kernel: it gets the address of a block of memory in r1
and its length in r2, and leaves its result in r0.
"""

from __future__ import annotations

from dataclasses import dataclass

from tramposim.bpf import insn as isa
from tramposim.bpf.bare import bare_program
from tramposim.bpf.environment import FixupEnvironment
from tramposim.bpf.fields import reserved
from tramposim.bpf.host import Host
from tramposim.bpf.insn import Pseudo, decode
from tramposim.bpf.loaded import LoadedProgram
from tramposim.errors import InputError
from tramposim.jit.environment import JitEnvironment
from tramposim.jit.program import lay_out
from tramposim.kernel.prototype import place_arguments
from tramposim.machine.caller import build_loop, prepare_stack
from tramposim.machine.execution import run_calls
from tramposim.machine.guestkernel import GuestKernel
from tramposim.spec import Kernel, ProgKind, Program, Value

__all__ = ["BareProgram", "BareResult", "compile_and_run", "interpret_bare"]

BUDGET = 100_000_000
"""Machine instructions that a compiled program may take unless told otherwise."""
_MAX_MEMORY = 1 << 24
_ARGUMENTS = (Value(8), Value(8))
_CODE_HEADER = 8


@dataclass(frozen=True, slots=True)
class BareResult:
    """r0 of one execution, and the memory as the program left it."""

    value: int
    memory: bytes


def interpret_bare(code: bytes | Program, memory: bytes = b"", budget: int = BUDGET) -> BareResult:
    """Run a program on the reference interpreter; `budget` counts its instructions.

    Raises `GuestFault` for a bad access, jump or exhausted budget, `UnsupportedError` for
    what is not known, `InputError` for a program or memory that cannot be read, or a field
    that is not zero where its instruction has no use for it (RFC 9669, section 3.1).
    """
    program = _checked(code, memory)
    host = Host()
    region = host.memory.allocate(max(len(memory), 1), "the memory", memory)
    arguments = region.address, len(memory)
    value = host.run(program, budget=budget, arguments=arguments, unnamed=lambda arguments: 0)
    return BareResult(value, bytes(region.data[: len(memory)]))


def compile_and_run(
    kernel: Kernel, code: bytes | Program, memory: bytes = b"", budget: int = BUDGET
) -> BareResult:
    """Compile a program as `kernel`'s JIT does and run it; `budget` counts machine
    instructions. Raises what `interpret_bare` raises."""
    program = BareProgram(GuestKernel(kernel), _checked(code, memory), len(memory))
    value = program.run(memory, budget)
    return BareResult(value, program.memory)


class BareProgram:
    """A program that traces nothing, loaded into a kernel, with `size` bytes to work on.

    A program with maps is loaded as the kernel loads it, any other as a bare one.
    """

    def __init__(self, guest: GuestKernel, program: Program, size: int) -> None:
        self.guest = guest
        self._size = size
        if program.maps:
            loaded = guest.load(program)
        else:
            loaded = guest.load_rewritten(_placed(guest, program.insns))
        self._address = guest.memory.kmalloc(max(size, 8), "the memory")
        slots = place_arguments(_ARGUMENTS, guest.kernel.arch).slots
        self._arguments = list(zip(slots, (self._address, size), strict=True))
        self._loop = build_loop(guest.machine, loaded.address, self._arguments)

    def run(self, memory: bytes, budget: int = BUDGET) -> int:
        """Put `memory` there and run; returns r0. `budget` counts machine instructions."""
        guest = self.guest
        guest.commit()
        guest.machine.write(self._address, memory)
        prepare_stack(guest.machine, self._arguments, guest.cpu.stack_top)
        return run_calls(guest.machine, self._loop, 1, trace=False, budget=budget).returns[0]

    @property
    def memory(self) -> bytes:
        """The memory as the last run left it."""
        return self.guest.machine.read(self._address, self._size)


def _placed(guest: GuestKernel, code: bytes) -> LoadedProgram:
    """The program with the addresses that its functions will have."""
    runtime = guest.runtime
    env = FixupEnvironment(guest.kernel, guest.symbols, {})
    program = bare_program(code, env)
    if not any(i.opcode == isa.LD_IMM64 and i.src == Pseudo.FUNC for i in decode(code)):
        return program
    accounted = frozenset(runtime.symbols[name] for name in runtime.accounted)
    jit = JitEnvironment(guest.kernel, runtime.symbols, accounted=accounted)
    addresses: tuple[int, ...] = ()
    while True:
        # Loads of other addresses may take more instructions and move what follows.
        placed = lay_out(jit, program, guest.next_code_address() + _CODE_HEADER)
        if placed == addresses:
            return program
        addresses = placed
        program = bare_program(code, env, addresses)


def _checked(code: bytes | Program, memory: bytes) -> Program:
    program = Program("bare", ProgKind.SOCKET, code) if isinstance(code, bytes) else code
    if not program.insns:
        raise InputError("a program without instructions")
    for index, insn in enumerate(decode(program.insns)):
        for field, value in reserved(insn).items():
            raise InputError(f"instruction {index}: the unused field {field} is {value}, not 0")
    if len(memory) > _MAX_MEMORY:
        raise InputError(f"{len(memory):,} bytes of memory; at most {_MAX_MEMORY:,} are possible")
    return program
