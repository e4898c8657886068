"""Micro-kernels: small loops that each isolate one mechanism of an x86_64 core.

`microkernels.csv` holds each as assembler text and machine code: `init` runs once, then a
loop, aligned to 64 bytes, of `repeats` bodies and `dec r15; jnz`; `tail` (functions that the
body calls) stands behind it. rbx points to data, whose first word is its own address; the gs
base lies 0x8000 behind it; rsp points into a stack of its own; all other registers are zero.
"""

from __future__ import annotations

import csv
import io
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from tramposim._native.engine import EXECUTE, READ, WRITE
from tramposim.errors import InputError, UnsupportedError
from tramposim.machine.addresses import PAGE, user_map
from tramposim.machine.machine import Machine
from tramposim.machine.native import HostCode
from tramposim.machine.trace import Trace
from tramposim.spec import Arch, Kernel
from tramposim.timing import Core, Timing, time_trace

__all__ = ["LOOPS_TIMED", "MicroKernel", "assemble", "host_kernel", "load_kernels", "time_kernel"]

_DATA = Path(__file__).parent / "microkernels.csv"
_PERCPU, _STACK_TOP, _MEMORY = 0x8000, 0x18000, 0x20000
LOOPS_TIMED, _BYTES_TIMED = 400, 200_000
"""Iterations that are executed in the machine to time a kernel on a core model: at least so
many, and so many bytes of code, that a branch without a pattern shows its mean."""

_BUDGET = 10_000_000
_REGISTERS = ("rax", "rcx", "rdx", "rsi", "rdi", "rbp", *(f"r{n}" for n in range(8, 16)))


@dataclass(frozen=True, slots=True)
class MicroKernel:
    """A kernel: its code, where its loop begins, and how many units one iteration holds."""

    name: str
    code: bytes
    loop: int
    units: int


@cache
def load_kernels() -> tuple[MicroKernel, ...]:
    """All micro-kernels, in the order of their file."""
    with _DATA.open(newline="") as stream:
        return tuple(
            MicroKernel(
                row["name"],
                bytes.fromhex(row["code"]),
                int(row["loop"]),
                int(row["repeats"]) * int(row["units"]),
            )
            for row in csv.DictReader(stream)
        )


def time_kernel(kernel: MicroKernel, core: Core) -> Timing:
    """What one iteration costs on a core model: per-call values are per iteration.

    Raises `UnsupportedError` for a core of the other architecture or an unknown instruction.
    """
    if core.arch is not Arch.X86_64:
        raise UnsupportedError(f"micro-kernels are x86_64 code, {core.name} is an {core.arch} core")
    areas = user_map(Arch.X86_64)
    machine = Machine(Kernel(Arch.X86_64), areas)
    code, data = areas.text.base, areas.kmalloc
    machine.place(code, kernel.code + bytes(16), READ | EXECUTE, kernel.name)
    machine.place(data, _memory(data), READ | WRITE)
    loops = max(LOOPS_TIMED, _BYTES_TIMED // (len(kernel.code) - kernel.loop))
    for name, value in _registers(data, loops).items():
        machine.engine.set_register(name, value)
    machine.engine.set_register("gs_base", data + _PERCPU)
    machine.run(code, code + len(kernel.code), _BUDGET, trace=True)
    regions = machine.code_regions()
    pcs, accesses = machine.take_trace(regions)
    starts = np.flatnonzero(pcs == np.uint64(code + kernel.loop)).astype(np.int64)
    return time_trace(Trace(Arch.X86_64, pcs, accesses, starts, regions), core)


def host_kernel(
    kernel: MicroKernel, loops: int
) -> tuple[HostCode, list[tuple[int, int, bytes]], int]:
    """The kernel as code for the host, its memory, and its gs base."""
    areas = user_map(Arch.X86_64)
    code, data = areas.text.base, areas.kmalloc
    size = -(-(len(kernel.code) + 16) // PAGE) * PAGE
    pages = [
        (code, READ | EXECUTE, kernel.code.ljust(size, b"\xcc")),
        (data, READ | WRITE, _memory(data)),
    ]
    registers = _registers(data, loops)
    return HostCode(code, code + len(kernel.code), registers), pages, data + _PERCPU


def _memory(data: int) -> bytes:
    return data.to_bytes(8, "little").ljust(_MEMORY, b"\0")


def _registers(data: int, loops: int) -> dict[str, int]:
    values = dict.fromkeys(_REGISTERS, 0)
    return values | {"rbx": data, "rsp": data + _STACK_TOP, "r15": loops}


def assemble(init: str, body: str, tail: str, repeats: int) -> tuple[int, bytes]:
    """Offset of the loop and machine code of a kernel, by the GNU assembler.

    Raises `InputError` with the assembler's words, `UnsupportedError` if there is none.
    """
    source = (
        f".intel_syntax noprefix\n.text\n{init}\njmp .Lloop\n.p2align 6\n.globl kernel_loop\n"
        f"kernel_loop: .Lloop:\n.rept {repeats}\n{body}\n.endr\ndec r15\njnz .Lloop\n"
        f"jmp .Lend\n{tail}\n.Lend:\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "kernel.o"
        try:
            done = subprocess.run(
                ["as", "--64", "-o", str(target)],
                input=source,
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError as error:
            raise UnsupportedError(f"no GNU assembler here: {error}") from None
        if done.returncode:
            raise InputError(" ".join(done.stderr.split()), "micro-kernel")
        return _linked(target.read_bytes())


def _linked(elf: bytes) -> tuple[int, bytes]:
    """`kernel_loop`'s offset and the text of an object whose only symbols are local to it."""
    file = ELFFile(io.BytesIO(elf))
    symbols, text = file.get_section_by_name(".symtab"), file.get_section_by_name(".text")
    assert isinstance(symbols, SymbolTableSection)
    assert text is not None
    loops = symbols.get_symbol_by_name("kernel_loop")
    assert loops is not None
    return int(loops[0]["st_value"]), bytes(text.data())
