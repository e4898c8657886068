"""What a kernel's verifier would refuse, as far as it depends on the traced function.

Whether a program is safe is not judged; a program that passes may still be refused by a
kernel.
"""

from __future__ import annotations

from collections.abc import Iterable

from tramposim.bpf import insn as isa
from tramposim.bpf.insn import Pseudo, decode
from tramposim.bpf.place import place
from tramposim.bpf.stack import analyse
from tramposim.errors import AttachError, UnsupportedError
from tramposim.kernel.load import TargetFunction, check_context_access, check_kfunc, check_load
from tramposim.spec import Kernel, ProgKind, Program, Prototype

__all__ = ["check_alone", "check_programs"]


def check_programs(kernel: Kernel, programs: Iterable[Program], prototype: Prototype) -> None:
    """Whether the kernel loads the programs, which trace it, for the function.

    Raises `AttachError` with the verifier's words where it refuses, `UnsupportedError` for a
    program that cannot be executed here; they name the program.
    """
    function = TargetFunction.of(prototype)
    for program in programs:
        try:
            _check_tracing(kernel, program, function)
        except AttachError as refusal:
            raise refusal.of(program.name) from None


def check_alone(programs: Iterable[Program]) -> None:
    """Whether programs that trace nothing can be executed by themselves.

    Raises `UnsupportedError` for a kind whose context is not known.
    """
    for program in programs:
        if program.kind is not ProgKind.SOCKET:
            raise UnsupportedError(
                f"{program.name}: {program.kind} programs are not executed; "
                "their context is not known here"
            )


def _check_tracing(kernel: Kernel, program: Program, function: TargetFunction) -> None:
    check_load(kernel, program.kind, function, program.sleepable)
    for _, name in program.kfuncs:
        check_kfunc(program.kind, name)
    insns = decode(program.insns)
    for index, insn in enumerate(insns):
        if insn.opcode == isa.LD_IMM64 and insn.src == Pseudo.FUNC:
            raise UnsupportedError(f"{place(program, index)}: a function as a callback")
    loads = {index: name for index, _, name in program.relocations}
    for index in sorted(analyse(insns, loads, program.name).context_accesses):
        insn = insns[index]
        write = insn.cls != isa.LDX
        check_context_access(program.kind, function, insn.offset, insn.size, write)
