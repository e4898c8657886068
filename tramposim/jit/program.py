"""Programs to machine code: the part of the JIT that both architectures share.

`compile_program` gives the bytes that the kernel's JIT gives for the same loaded program.
An architecture contributes its rules (what machine operations an eBPF instruction becomes),
prologue and epilogue; the native translator expands them and sizes branches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from tramposim._native.translator import Translator
from tramposim.bpf import insn as isa
from tramposim.bpf.insn import Insn, Pseudo, decode, encode
from tramposim.bpf.loaded import LoadedFunction, LoadedProgram
from tramposim.errors import BuildError, UnsupportedError
from tramposim.jit.arm64 import program as arm64
from tramposim.jit.environment import JitEnvironment
from tramposim.jit.rules import Insns
from tramposim.jit.x86_64 import program as x86_64
from tramposim.spec import Arch

__all__ = [
    "CompiledFunction",
    "CompiledProgram",
    "compile_function",
    "compile_program",
    "lay_out",
]

_ALIGN = 64
"""What functions are aligned to (one chunk of the JIT's allocator)."""


@dataclass(frozen=True, slots=True)
class CompiledFunction:
    """Machine code of one function at `address`.

    `ends[0]` is the offset at which the first eBPF instruction's code begins, `ends[i + 1]`
    where that of instruction i ends; what follows `ends[-1]` is the epilogue.
    """

    address: int
    code: bytes
    ends: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CompiledProgram:
    """All functions of a program, main first."""

    functions: tuple[CompiledFunction, ...]

    @property
    def code(self) -> bytes:
        """The functions' code, concatenated (as BPF_OBJ_GET_INFO_BY_FD gives it)."""
        return b"".join(function.code for function in self.functions)

    @property
    def content(self) -> bytes:
        """Memory from the first function on, as `lay_out` places them; zeros between them."""
        base = self.functions[0].address
        content = bytearray()
        for function in self.functions:
            content += bytes(function.address - base - len(content)) + function.code
        return bytes(content)


class Backend(Protocol):
    """What an architecture's `program` module provides."""

    def translator(self, env: JitEnvironment, function: LoadedFunction) -> Translator:
        """The translator with the rules for this kernel (kept between calls)."""

    def plan(
        self, env: JitEnvironment, function: LoadedFunction, insns: Insns, main: bool
    ) -> tuple[tuple[Any, ...], tuple[Any, ...], Sequence[int | None], Any]:
        """Prologue, epilogue, parameters and shape of one function."""


_BACKENDS: Mapping[Arch, Backend] = {Arch.X86_64: x86_64, Arch.ARM64: arm64}


def compile_function(
    env: JitEnvironment, function: LoadedFunction, address: int, main: bool = True
) -> CompiledFunction:
    """Compile one function at its final address.

    Raises `UnsupportedError` for an instruction that the JIT of this kernel does not have,
    `BuildError` if the code cannot be encoded.
    """
    if not function.insns:
        raise BuildError("a function without instructions")
    backend = _BACKENDS[env.kernel.arch]
    insns = Insns(function.insns)
    prologue, epilogue, params, shape = backend.plan(env, function, insns, main)
    done = backend.translator(env, function).translate(
        function.insns, address, prologue, epilogue, params, shape
    )
    return CompiledFunction(address, done.code, tuple(done.ends))


def lay_out(env: JitEnvironment, program: LoadedProgram, address: int) -> tuple[int, ...]:
    """Addresses for the functions of a program, one behind the other from `address` on.

    All lie near each other, so that their sizes do not depend on where exactly.
    """
    addresses = [address]
    if len(program.functions) > 1:
        trial = compile_program(env, program, [address] * len(program.functions))
        for function in trial.functions[:-1]:
            addresses.append(addresses[-1] + len(function.code) + _ALIGN & -_ALIGN)
    return tuple(addresses)


def compile_program(
    env: JitEnvironment, program: LoadedProgram, addresses: Sequence[int]
) -> CompiledProgram:
    """Compile a program whose functions lie at `addresses` (main first)."""
    if len(addresses) != len(program.functions):
        raise BuildError(
            f"{program.name}: {len(addresses)} addresses for {len(program.functions)} functions"
        )
    functions = program.functions
    if not program.linked:
        functions = tuple(_link(env, function, addresses) for function in functions)
    return CompiledProgram(
        tuple(
            compile_function(env, function, address, index == 0)
            for index, (function, address) in enumerate(zip(functions, addresses, strict=True))
        )
    )


def _link(
    env: JitEnvironment, function: LoadedFunction, addresses: Sequence[int]
) -> LoadedFunction:
    """Fill in the distances of called functions from __bpf_call_base, cut to 32 bits."""
    base = env.symbols.get("__bpf_call_base")
    if base is None:
        raise UnsupportedError("the JIT needs the address of __bpf_call_base")
    insns = decode(function.insns)
    for index, insn in enumerate(insns):
        if insn.opcode == isa.JMP | isa.CALL and insn.src == Pseudo.CALL:
            low = addresses[insn.offset] - base & 0xFFFFFFFF
            distance = low - (1 << 32) if low >= 1 << 31 else low
            insns[index] = Insn(insn.opcode, 0, insn.src, insn.offset, distance)
    return replace(function, insns=encode(insns))
