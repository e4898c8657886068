"""Bare programs: eBPF of RFC 9669 that no verifier has analysed, made ready for a JIT.

Only what machine code relies on is rewritten: checked division, zero-extended results, calls
by number, counted may_goto. Immediates that verifiers refuse mean what RFC 9669 (section 4.1)
says: shift counts are masked, a division by zero gives zero. An indirect call (callx), which
kernels do not have, becomes a comparison with everything that may be called: the functions
whose address is taken, and the helpers by their ids. A call by BTF id (src 2) has no BTF to
name what it calls; conformance tests ask that it does nothing and returns 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tramposim.bpf import insn as isa
from tramposim.bpf.fixup import FixupEnvironment, Rewriter
from tramposim.bpf.helpers import HELPER_NAMES
from tramposim.bpf.inlining import REDIRECTS, signed32
from tramposim.bpf.insn import Insn, Pseudo, Reg
from tramposim.bpf.loaded import LoadedProgram
from tramposim.bpf.stack import Analysis, successors
from tramposim.errors import InputError, UnsupportedError
from tramposim.spec import ProgKind, Program

__all__ = ["INDIRECT_HELPERS", "address_taken", "bare_program", "function_entries"]

INDIRECT_HELPERS = (
    "bpf_ktime_get_ns",
    "bpf_get_prandom_u32",
    "bpf_get_smp_processor_id",
    "bpf_get_current_pid_tgid",
)
"""Helpers that an indirect call can reach, where the kernel environment has them."""
_CALL = isa.JMP | isa.CALL
_CALLX = _CALL | isa.X
_STACK = 512
"""Bytes of every function's stack (MAX_BPF_STACK): no analysis says that it needs less."""
_SHIFTS = (isa.LSH, isa.RSH, isa.ARSH)
_MAX_LOOPS = 1 << 23
"""Passes that a may_goto allows (BPF_MAX_LOOPS)."""


def address_taken(insns: Sequence[Insn]) -> tuple[int, ...]:
    """Instruction indices of the functions whose address the program loads."""
    return tuple(
        sorted(
            {
                index + 1 + insn.imm
                for index, insn in enumerate(insns)
                if insn.opcode == isa.LD_IMM64 and insn.src == Pseudo.FUNC
            }
        )
    )


def function_entries(insns: Sequence[Insn]) -> tuple[int, ...]:
    """Where functions begin: the program, targets of calls, functions with taken addresses."""
    called = {
        index + 1 + insn.imm
        for index, insn in enumerate(insns)
        if insn.opcode == _CALL and insn.src == Pseudo.CALL
    }
    return tuple(sorted({0, *called, *address_taken(insns)}))


def bare_program(
    code: bytes, env: FixupEnvironment, addresses: Sequence[int] | None = None
) -> LoadedProgram:
    """A program as its JIT gets it.

    `addresses` are those of its functions in the order of `function_entries`; without them
    functions have a place-holder's address, of the same size in code. Raises `InputError`
    for a program that is not well formed, `UnsupportedError` for what has no rule.
    """
    program = Program("bare", ProgKind.SOCKET, code)
    return _Bare(program, env, addresses).run()


class _Bare(Rewriter):
    def __init__(
        self, program: Program, env: FixupEnvironment, addresses: Sequence[int] | None
    ) -> None:
        super().__init__(program, env)
        if not self.insns:
            raise InputError("a program without instructions")
        self.starts = function_entries(self.insns)
        anywhere = env.symbol("__bpf_call_base", "the JIT")
        self.addresses = dict.fromkeys(self.starts, anywhere)
        if addresses is not None:
            self.addresses = dict(zip(self.starts, addresses, strict=True))

    def run(self) -> LoadedProgram:
        self._check_control_flow()
        ends = (*self.starts[1:], len(self.insns))
        depths = (_STACK,) * len(self.starts)
        nothing_known = Analysis(depths, {}, frozenset(), frozenset())
        return LoadedProgram(
            name=self.program.name,
            kind=self.program.kind,
            functions=tuple(
                self._function(number, end, nothing_known) for number, end in enumerate(ends)
            ),
            linked=len(self.starts) == 1,
        )

    def _check_control_flow(self) -> None:
        """Jumps and calls lead to instructions, jumps stay within their function."""
        insns = self.insns
        seconds = {i + 1 for i, insn in enumerate(insns) if insn.opcode == isa.LD_IMM64}
        for start in self.starts:
            if not 0 <= start < len(insns) or start in seconds:
                raise InputError(f"a call of {start}, which is no instruction of the program")
        for start, end in zip(self.starts, (*self.starts[1:], len(insns)), strict=True):
            for index in range(start, end):
                if index in seconds:
                    continue
                for target in successors(insns[index], index):
                    if not start <= target < end or target in seconds:
                        raise InputError(f"control leaves its function after instruction {index}")

    def loop_start(self, depth: int) -> list[Insn]:
        return [Insn(isa.ST | isa.MEM | isa.DW, Reg.FP, offset=-depth - 8, imm=_MAX_LOOPS)]

    def loop_count(self, insn: Insn, place: int) -> list[Insn]:
        scratch = self._scratch
        return [
            Insn(isa.LDX | isa.MEM | isa.DW, scratch, Reg.FP, place),
            Insn(isa.JMP | isa.JEQ, scratch, offset=insn.offset),
            Insn(isa.ALU64 | isa.SUB, scratch, imm=1),
            Insn(isa.STX | isa.MEM | isa.DW, Reg.FP, scratch, place),
        ]

    def _rewrite(self, index: int, analysis: Analysis) -> list[Insn]:
        insn = self.insns[index]
        if insn.opcode == _CALLX:
            return self._indirect(insn.dst)
        if insn.cls == isa.LD:
            raise UnsupportedError(f"instruction {index}: eBPF {bytes(insn).hex()}")
        if insn.cls in (isa.ALU, isa.ALU64) and not insn.from_register:
            if insn.op in _SHIFTS:
                return [replace(insn, imm=insn.imm & (63 if insn.cls == isa.ALU64 else 31))]
            if insn.op in (isa.DIV, isa.MOD) and insn.imm == 0:
                return _divided_by_zero(insn)
        return super()._rewrite(index, analysis)

    def _kfunc(self, index: int) -> list[Insn]:
        return [Insn(isa.ALU64 | isa.MOV, Reg.R0)]

    def _load(self, index: int) -> tuple[Insn, Insn]:
        first = self.insns[index]
        if first.src != Pseudo.FUNC:
            return super()._load(index)
        first, second = _load_address(self.addresses[index + 1 + first.imm])
        return replace(first, dst=self.insns[index].dst), second

    def _indirect(self, register: int) -> list[Insn]:
        """Call what the register stands for; a store to address 0 if that is nothing."""
        scratch = self._scratch
        cases: list[list[Insn]] = []
        for target in address_taken(self.insns):
            load = [replace(part) for part in _load_address(self.addresses[target])]
            load[0] = replace(load[0], dst=scratch)
            number = self.starts.index(target)
            skip = Insn(isa.JMP | isa.JNE | isa.X, register, scratch, 2)
            cases.append([*load, skip, Insn(_CALL, 0, Pseudo.CALL, number)])
        for identity, name in HELPER_NAMES.items():
            symbol = REDIRECTS.get(name, name)
            if name in INDIRECT_HELPERS and symbol in self.env.symbols:
                skip = Insn(isa.JMP | isa.JNE, register, offset=2, imm=identity)
                cases.append([skip, self.inline.direct(symbol, name)])
        nothing = [
            Insn(isa.ALU64 | isa.MOV, scratch),
            Insn(isa.STX | isa.MEM | isa.DW, scratch, register),
        ]
        sizes = [len(case) + 1 for case in cases]
        dispatch: list[Insn] = []
        for number, case in enumerate(cases):
            behind = sum(sizes[number + 1 :]) + len(nothing)
            dispatch += [*case, Insn(isa.JMP | isa.JA, offset=behind)]
        return dispatch + nothing


def _divided_by_zero(insn: Insn) -> list[Insn]:
    """A quotient of zero; the dividend as remainder, of which 32 bits are zero-extended."""
    if insn.op == isa.DIV:
        return [Insn(insn.cls | isa.MOV, insn.dst)]
    return [] if insn.cls == isa.ALU64 else [Insn(isa.ALU | isa.MOV | isa.X, insn.dst, insn.dst)]


def _load_address(address: int) -> tuple[Insn, Insn]:
    return Insn(isa.LD_IMM64, imm=signed32(address)), Insn(0, imm=signed32(address >> 32))
