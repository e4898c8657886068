"""What a program must be before anything runs it: a small part of what the verifier demands.

Control stays inside of each function and ends with exit, every register and jump target
exists, helpers have a number of the kernel's where they may be called, and no register is
computed with that nothing can have written (a program that leaves r0 alone is let through).
Whether accesses are in range and loops end is seen when a program runs. A program that passes
may still be refused by a kernel.
"""

from __future__ import annotations

from collections.abc import Iterator

from tramposim.bpf import insn as isa
from tramposim.bpf.helpers import HELPER_NAMES
from tramposim.bpf.insn import Insn, Pseudo, Reg, decode
from tramposim.bpf.place import place
from tramposim.bpf.reachable import live_instructions
from tramposim.bpf.stack import successors
from tramposim.errors import InputError, UnsupportedError
from tramposim.spec import ProgKind, Program

__all__ = ["check_program"]

_CALL = isa.JMP | isa.CALL
_ARGUMENTS = range(Reg.R1, Reg.R5 + 1)


def check_program(program: Program) -> None:
    """Refuse a program that cannot run.

    Raises `InputError` for one that is not well formed, `UnsupportedError` for a helper or
    kernel function without a name; both say where.
    """
    insns = decode(program.insns)
    if not insns:
        raise InputError("has no instructions", program.name)
    kfuncs = dict(program.kfuncs)
    live = live_instructions(program)
    second = {i + 1 for i, insn in enumerate(insns) if insn.opcode == isa.LD_IMM64}
    starts = {0}
    for index, insn in enumerate(insns):
        if index in second:
            continue
        _check_registers(program, index, insn)
        if insn.opcode == _CALL and index in live:
            _check_call(program, index, insn, kfuncs)
        for target in _targets(index, insn):
            if not 0 <= target < len(insns) or target in second:
                raise InputError(
                    f"a jump or call to {target}, where no instruction is", place(program, index)
                )
            if insn.opcode in (_CALL, isa.LD_IMM64):
                starts.add(target)
    _check_flow(program, insns, sorted(starts))


def _targets(index: int, insn: Insn) -> Iterator[int]:
    """Where an instruction may jump, what it calls or takes the address of."""
    if insn.opcode == _CALL or insn.opcode == isa.LD_IMM64:
        pseudo = Pseudo.CALL if insn.opcode == _CALL else Pseudo.FUNC
        if insn.src == pseudo:
            yield index + 1 + insn.imm
    elif insn.cls in (isa.JMP, isa.JMP32) and insn.op not in (isa.EXIT, isa.CALL):
        if insn.op == isa.JA and insn.from_register:
            return
        far = insn.cls == isa.JMP32 and insn.op == isa.JA
        yield index + 1 + (insn.imm if far else insn.offset)


def _check_registers(program: Program, index: int, insn: Insn) -> None:
    for register in (insn.dst, insn.src):
        if register > Reg.FP:
            raise InputError(f"register r{register} does not exist", place(program, index))
    writes = insn.cls in (isa.ALU, isa.ALU64, isa.LDX) or insn.opcode == isa.LD_IMM64
    if writes and insn.dst == Reg.FP:
        raise InputError("frame pointer is read only", place(program, index))


def _check_call(program: Program, index: int, insn: Insn, kfuncs: dict[int, str]) -> None:
    if insn.src == Pseudo.KFUNC and index not in kfuncs:
        raise UnsupportedError(f"{place(program, index)}: a kernel function without a name")
    if insn.src == 0 and HELPER_NAMES.get(insn.imm, "bpf_unspec") == "bpf_unspec":
        raise UnsupportedError(f"{place(program, index)}: invalid func unknown#{insn.imm}")


def _check_flow(program: Program, insns: list[Insn], starts: list[int]) -> None:
    """Follow control through every function; what has been written is known on the way."""
    for number, start in enumerate(starts):
        end = starts[number + 1] if number + 1 < len(starts) else len(insns)
        given = {Reg.R1, Reg.FP} if start == 0 else {*_ARGUMENTS, Reg.FP}
        if start == 0 and program.kind is ProgKind.SOCKET:
            # Such programs are given memory and its length.
            given.add(Reg.R2)
        written = {start: _mask(given)}
        work = [start]
        while work:
            index = work.pop()
            insn, known = insns[index], written[index]
            missing = _reads(insn) & ~known
            if missing:
                register = (missing & -missing).bit_length() - 1
                raise InputError(
                    f"R{register} !read_ok: nothing has written it", place(program, index)
                )
            after = (known & ~_clobbers(insn)) | _writes(insn)
            for following in successors(insn, index):
                if not start <= following < end:
                    raise InputError(
                        "control leaves the function: a jump out of it, or no exit at its end",
                        place(program, index),
                    )
                merged = written.get(following, after) & after
                if written.get(following) != merged:
                    written[following] = merged
                    work.append(following)


def _mask(registers: set[int]) -> int:
    return sum(1 << register for register in registers)


_SCRATCH = _mask({*_ARGUMENTS})
_RESULT = 1 << Reg.R0


def _clobbers(insn: Insn) -> int:
    legacy = insn.cls == isa.LD and insn.opcode != isa.LD_IMM64
    call = insn.cls == isa.JMP and insn.op == isa.CALL
    return _SCRATCH if call or legacy else 0


def _writes(insn: Insn) -> int:
    """Registers that an instruction leaves a value in."""
    if insn.cls in (isa.ALU, isa.ALU64, isa.LDX) or insn.opcode == isa.LD_IMM64:
        return 1 << insn.dst
    if insn.cls == isa.LD or (insn.cls == isa.JMP and insn.op == isa.CALL):
        return _RESULT
    if insn.cls == isa.STX and insn.mode == isa.ATOMIC:
        return 1 << insn.dst if insn.imm == isa.LOAD_ACQ else 0
    return 0


def _reads(insn: Insn) -> int:
    """Registers whose value an instruction surely uses; calls are judged by what they get."""
    dst, src = 1 << insn.dst, 1 << insn.src
    if insn.cls in (isa.ALU, isa.ALU64):
        if insn.op == isa.MOV:
            return src if insn.from_register else 0
        if insn.op in (isa.NEG, isa.END):
            return dst
        return dst | (src if insn.from_register else 0)
    if insn.cls == isa.LDX:
        return src
    if insn.cls == isa.ST:
        return dst if insn.mode == isa.MEM else 0
    if insn.cls == isa.STX:
        if insn.mode == isa.ATOMIC and insn.imm == isa.LOAD_ACQ:
            return src
        result = _RESULT if insn.mode == isa.ATOMIC and insn.imm == isa.CMPXCHG else 0
        return dst | src | result
    if insn.cls not in (isa.JMP, isa.JMP32):
        return 0
    if insn.op in (isa.JA, isa.CALL, isa.EXIT, isa.JCOND):
        return dst if insn.from_register else 0
    return dst | (src if insn.from_register else 0)
