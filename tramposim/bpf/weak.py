"""Weak kernel symbols that a kernel does not have: their address is 0."""

from __future__ import annotations

import dataclasses

from tramposim.bpf import insn as isa
from tramposim.bpf.environment import FixupEnvironment
from tramposim.bpf.insn import Insn, decode, encode
from tramposim.spec import Program, Relocation

__all__ = ["without_missing_symbols"]


def without_missing_symbols(program: Program, env: FixupEnvironment) -> Program:
    """The program with a plain 0 for each weak symbol that the kernel lacks, as libbpf loads it.

    The traced function is never missing, even where its address is not known.
    """
    missing = {
        index
        for index, kind, name in program.relocations
        if kind is Relocation.WEAK_SYMBOL and env.lacks(name) and name != program.target
    }
    if not missing:
        return program
    insns = decode(program.insns)
    for index in missing:
        insns[index] = Insn(isa.LD_IMM64, insns[index].dst)
        insns[index + 1] = Insn(0)
    return dataclasses.replace(
        program,
        insns=encode(insns),
        relocations=tuple(r for r in program.relocations if r[0] not in missing),
    )
