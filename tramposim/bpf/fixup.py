"""What the kernel's verifier makes of a program before the JIT sees it.

Covers what execution cost depends on: inlined kernel functions and helpers of tracing
programs (session state, arguments, function address), inlined map lookups, map addresses,
and helper calls as offsets from __bpf_call_base. Whether a program is safe is not judged.
Sources of the rules: kernel/bpf/verifier.c (do_misc_fixups, fixup_kfunc_call,
convert_ctx_accesses), kernel/bpf/arraymap.c and hashtab.c (map_gen_lookup).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tramposim.bpf import insn as isa
from tramposim.bpf.deadcode import live_program
from tramposim.bpf.division import checked_division
from tramposim.bpf.environment import FixupEnvironment, StructureOffsets
from tramposim.bpf.helpers import HELPER_IDS, HELPER_NAMES
from tramposim.bpf.inlining import (
    INLINED_HELPERS,
    REDIRECTS,
    SESSION_KFUNCS,
    Inliner,
    signed32,
)
from tramposim.bpf.insn import Insn, Pseudo, Reg, decode, encode
from tramposim.bpf.loaded import LoadedFunction, LoadedProgram
from tramposim.bpf.place import place
from tramposim.bpf.stack import Analysis, analyse, function_starts, result_read_wide
from tramposim.bpf.weak import without_missing_symbols
from tramposim.errors import InputError, UnsupportedError
from tramposim.spec import TRACING_KINDS, Arch, MapType, ProgKind, Program, Relocation

__all__ = ["FixupEnvironment", "Rewriter", "StructureOffsets", "fixup"]

_CALL = isa.JMP | isa.CALL
_TAIL_CALL = HELPER_IDS["bpf_tail_call"]
_MOV64 = isa.ALU64 | isa.MOV
_LOAD64 = isa.LDX | isa.MEM | isa.DW
_STORE64 = isa.STX | isa.MEM | isa.DW
_RAW_CONTEXTS = (*TRACING_KINDS, ProgKind.LSM, ProgKind.STRUCT_OPS)
"""Kinds whose context is an array of argument slots, accessed as it is."""
_MAX_LOOPS = 1 << 23
"""Passes that a may_goto allows before 7.0 (BPF_MAX_LOOPS)."""
_TIMED_LOOPS = 0xFFFF
"""Passes between two looks at the time (BPF_MAX_TIMED_LOOPS)."""
_ZERO_EXTENSION = 1
"""Immediate that marks a 32-bit move as the verifier's own (BPF_ZEXT_REG)."""
_TRUSTED = (ProgKind.LSM, ProgKind.STRUCT_OPS)
"""Kinds whose arguments are trusted pointers (prog_args_trusted)."""
_PRIVATE_STACK_MIN = 64
_OF_MAPS = (Relocation.MAP, Relocation.MAP_VALUE)
_SESSION_KINDS = (ProgKind.FSESSION, ProgKind.FSESSION_MULTI)


def fixup(program: Program, env: FixupEnvironment) -> LoadedProgram:
    """Rewrite a program as the verifier does.

    Raises `UnsupportedError` for a helper, kernel function or construct without a rule, and
    `InputError` for a program that is not well formed.
    """
    program = without_missing_symbols(program, env)
    insns = decode(program.insns)
    for index, insn in enumerate(insns):
        if max(insn.dst, insn.src) > Reg.FP:
            raise InputError(f"{program.name}: instruction {index}: a register beyond r10")
    analyse(insns, _map_loads(program), program.name)
    live = live_program(program, env.version)
    return Rewriter(live.program, env, live.tail_calls, live.wide).run()


def _map_loads(program: Program) -> dict[int, str]:
    return {i: name for i, kind, name in program.relocations if kind in _OF_MAPS}


class Rewriter:
    """Rewrites one program; what is particular to a kind of loading is overridden."""

    def __init__(
        self,
        program: Program,
        env: FixupEnvironment,
        tail_calls: Mapping[int, tuple[str, int]] = MappingProxyType({}),
        wide: frozenset[int] | None = None,
    ) -> None:
        self.tail_calls = tail_calls
        self._wide = wide
        self.pokes = 0
        self.program = program
        self.env = env
        self.insns = decode(program.insns)
        self.maps = {m.name: m for m in program.maps}
        self.relocations = {index: (kind, name) for index, kind, name in program.relocations}
        self.kfuncs = dict(program.kfuncs)
        self.starts: tuple[int, ...] = (0,)
        self.inline = Inliner(program.kind, env)

    def run(self) -> LoadedProgram:
        """The rewritten program."""
        self._refuse_what_is_not_rewritten()
        analysis = analyse(self.insns, _map_loads(self.program), self.program.name)
        self.starts = function_starts(self.insns)
        ends = (*self.starts[1:], len(self.insns))
        return LoadedProgram(
            name=self.program.name,
            kind=self.program.kind,
            functions=tuple(
                self._function(number, end, analysis) for number, end in enumerate(ends)
            ),
            sleepable=self.program.sleepable,
            uses_session_cookie=self.inline.uses_cookie,
            uses_func_ip=self.inline.uses_ip,
            linked=len(self.starts) == 1,
        )

    def _function(self, number: int, end: int, analysis: Analysis) -> LoadedFunction:
        """One function, rewritten; a may_goto counts in a place below the function's own stack."""
        start = self.starts[number]
        depth = own = analysis.stack_depths[number]
        first_poke = self.pokes + 1
        counts = any(insn.opcode == isa.MAY_GOTO for insn in self.insns[start:end])
        prologue: list[Insn] = []
        if counts:
            prologue = self.loop_start(depth)
            depth += 8 * len(prologue)
        pieces: list[list[Insn]] = []
        index = start
        while index < end:
            insn = self.insns[index]
            if insn.opcode == isa.LD_IMM64:
                pieces += [[part] for part in self._load(index)]
                index += 2
                continue
            if insn.opcode == isa.MAY_GOTO:
                pieces.append(self.loop_count(insn, -depth))
            else:
                pieces.append(self._rewrite(index, analysis))
            index += 1
        return LoadedFunction(
            encode(_relink(self.insns[start:end], pieces, prologue)),
            depth,
            tail_call_reachable=self._reaches_tail_call(number),
            private_stack=self._private_stack(own, depth),
            poke=tuple((poke, 0) for poke in range(first_poke, self.pokes + 1)),
        )

    def _reaches_tail_call(self, number: int) -> bool:
        """Whether a function, or one that it calls, makes a tail call."""
        seen: set[int] = set()
        work = [number]
        while work:
            at = work.pop()
            if at in seen:
                continue
            seen.add(at)
            end = self.starts[at + 1] if at + 1 < len(self.starts) else len(self.insns)
            for index in range(self.starts[at], end):
                insn = self.insns[index]
                if insn.opcode != _CALL:
                    continue
                if insn.src == 0 and insn.imm == _TAIL_CALL:
                    return True
                if insn.src == Pseudo.CALL:
                    work.append(self.starts.index(index + 1 + insn.imm))
        return False

    def _tail_call(self, index: int) -> Insn:
        """A tail call; one with a constant index of a map has a number, by which it is patched."""
        name, key = self.tail_calls.get(index, ("", 0))
        number = 0
        if name in self.maps and key < self.maps[name].max_entries:
            self.pokes += 1
            number = self.pokes
        return Insn(isa.JMP | isa.TAIL_CALL, imm=number)

    def loop_start(self, depth: int) -> list[Insn]:
        """Stores that start counting: the count and, where time is looked at, no time yet."""
        if self.env.version < (7, 0):
            return [_store(-depth - 8, _MAX_LOOPS)]
        return [_store(-depth - 16, _TIMED_LOOPS), _store(-depth - 8, 0)]

    def loop_count(self, insn: Insn, place: int) -> list[Insn]:
        """One pass of a may_goto: leave when the count at frame offset `place` is used up.

        Since 7.0 a used up count asks arch_bpf_timed_may_goto for a new one, with the place
        in the scratch register, which also takes the answer.
        """
        scratch = self._scratch
        load = Insn(_LOAD64, scratch, Reg.FP, place)
        down = Insn(isa.ALU64 | isa.SUB, scratch, imm=1)
        store = Insn(_STORE64, Reg.FP, scratch, place)
        if self.env.version < (7, 0):
            leave = Insn(isa.JMP | isa.JEQ, scratch, offset=insn.offset)
            return [load, leave, down, store]
        return [
            load,
            Insn(isa.JMP | isa.JEQ, scratch, offset=insn.offset),
            down,
            Insn(isa.JMP | isa.JNE, scratch, offset=2),
            Insn(_MOV64, scratch, imm=place),
            self.inline.direct("arch_bpf_timed_may_goto", "may_goto"),
            store,
        ]

    def _private_stack(self, own: int, depth: int) -> int:
        """Per-CPU pointer of the stack of a function that has its own (bpf_enable_priv_stack).

        Those are functions of tracing programs with 64 bytes of stack or more, counted in
        steps of 16 and without the verifier's own (`depth` is with them).
        """
        if self.program.kind not in TRACING_KINDS or self.env.version < (7, 0):
            return 0
        if (own + 15 & ~15) < _PRIVATE_STACK_MIN:
            return 0
        if self.env.private_stack is None:
            raise UnsupportedError(
                f"{self.program.name}: {depth} bytes of stack, which takes a private stack"
            )
        align = 8 if self.env.kernel.arch is Arch.X86_64 else 16
        guards = 2 * align
        return self.env.private_stack((depth + align - 1 & -align) + guards, align)

    def _rewrite(self, index: int, analysis: Analysis) -> list[Insn]:
        """What one instruction becomes."""
        insn = self.insns[index]
        if insn.opcode == _CALL:
            return self._call(index, analysis)
        if insn.opcode == isa.JMP | isa.JA and insn.offset == 0:
            return []
        if index in analysis.context_accesses and self.program.kind not in _RAW_CONTEXTS:
            raise UnsupportedError(
                f"{place(self.program, index)}: the context of a {self.program.kind} program"
            )
        if index in analysis.kernel_loads and self.program.kind not in _TRUSTED:
            return self._probe(insn)
        narrow = isa.STX | isa.ATOMIC | isa.W
        if insn.opcode == narrow and insn.imm == isa.CMPXCHG and self._read_wide(index):
            return [insn, Insn(isa.ALU | isa.MOV | isa.X, Reg.R0, Reg.R0, imm=_ZERO_EXTENSION)]
        if insn.cls in (isa.ALU, isa.ALU64) and insn.op in (isa.DIV, isa.MOD):
            return checked_division(insn, self._scratch)
        return [insn]

    def _read_wide(self, index: int) -> bool:
        if self._wide is None:
            return result_read_wide(self.insns, index)
        return index in self._wide

    @property
    def _scratch(self) -> int:
        """The verifier's own register (BPF_REG_AX)."""
        return Reg.AX if self.env.version >= (7, 2) else Reg.AX - 1

    def _probe(self, insn: Insn) -> list[Insn]:
        """A load from a pointer that may be bad.

        x86_64 checks the address in its JIT; for arm64 the verifier does, so that what lies
        below the end of user space gives zero.
        """
        mode = {isa.MEM: isa.PROBE_MEM, isa.MEMSX: isa.PROBE_MEMSX}[insn.mode]
        load = Insn(insn.cls | mode | insn.opcode & 0x18, insn.dst, insn.src, insn.offset, insn.imm)
        if self.env.kernel.arch is not Arch.ARM64:
            return [load]
        scratch = self._scratch
        add = [Insn(isa.ALU64 | isa.ADD, scratch, imm=insn.offset)] if insn.offset else []
        return [
            Insn(_MOV64 | isa.X, scratch, insn.src),
            *add,
            Insn(isa.ALU64 | isa.RSH, scratch, imm=32),
            Insn(isa.JMP | isa.JLE, scratch, offset=2, imm=1 << (self.env.address_bits - 32)),
            load,
            Insn(isa.JMP | isa.JA, offset=1),
            Insn(_MOV64, insn.dst),
        ]

    def _refuse_what_is_not_rewritten(self) -> None:
        for index, insn in enumerate(self.insns):
            what = None
            if insn.cls == isa.LD and insn.opcode != isa.LD_IMM64 and insn.opcode:
                what = "a packet load (ld_abs, ld_ind)"
            elif insn.opcode == isa.LD_IMM64 and insn.src == Pseudo.FUNC:
                what = "the address of a subprogram"
            elif insn.opcode == _MOV64 | isa.X and insn.offset == isa.ADDR_SPACE_CAST:
                what = "an arena (addr_space_cast)"
            elif insn.opcode in (_CALL | isa.X, isa.JMP | isa.JA | isa.X):
                what = "an indirect call or jump (callx, gotox)"
            if what:
                raise UnsupportedError(f"{place(self.program, index)}: {what}")

    def _load(self, index: int) -> tuple[Insn, Insn]:
        """A 64-bit immediate load with the address that it stands for."""
        first, second = self.insns[index], self.insns[index + 1]
        if first.src == 0:
            return first, second
        if index not in self.relocations:
            raise UnsupportedError(
                f"{place(self.program, index)}: pseudo load {first.src} without a relocation"
            )
        kind, name = self.relocations[index]
        if kind not in _OF_MAPS:
            address = self._symbol_address(name)
            return (
                Insn(isa.LD_IMM64, first.dst, 0, 0, signed32(address)),
                Insn(0, imm=signed32(address >> 32)),
            )
        if name not in self.env.maps:
            raise InputError(f"{self.program.name}: map {name!r} has no address")
        address = self.env.maps[name]
        if kind is Relocation.MAP_VALUE:
            if name in self.maps and self.maps[name].type is not MapType.ARRAY:
                raise UnsupportedError(f"address of a value of {self.maps[name].type} map {name!r}")
            address += self.env.offsets.array_value + second.imm
        return (
            Insn(isa.LD_IMM64, first.dst, 0, 0, signed32(address)),
            Insn(0, imm=signed32(address >> 32)),
        )

    def _symbol_address(self, name: str) -> int:
        """Address of a kernel symbol."""
        if name in self.env.text:
            return self.env.text[name]
        return self.env.symbol(name, f"{self.program.name}: its address")

    def _call(self, index: int, analysis: Analysis) -> list[Insn]:
        insn = self.insns[index]
        if insn.src == Pseudo.KFUNC:
            return self._kfunc(index)
        if insn.src == Pseudo.CALL:
            number = self.starts.index(index + 1 + insn.imm)
            return [Insn(_CALL, 0, Pseudo.CALL, number)]
        name = HELPER_NAMES.get(insn.imm)
        if name is None or insn.src:
            raise UnsupportedError(f"{place(self.program, index)}: helper {insn.imm}")
        if insn.imm == _TAIL_CALL:
            return [self._tail_call(index)]
        inline = INLINED_HELPERS.get(name)
        if inline is not None:
            replacement = inline(self.inline)
            if replacement is not None:
                return replacement
        if name in ("bpf_map_lookup_elem", "bpf_map_update_elem", "bpf_map_delete_elem"):
            target = self.maps.get(analysis.map_of_call.get(index, ""))
            return self.inline.map_call(name, target)
        return [self.inline.direct(REDIRECTS.get(name, name), name)]

    def _kfunc(self, index: int) -> list[Insn]:
        name = self.kfuncs.get(index)
        if name is None:
            raise UnsupportedError(f"{place(self.program, index)}: unnamed kfunc")
        if name in SESSION_KFUNCS:
            if self.program.kind not in _SESSION_KINDS:
                raise InputError(
                    f"{self.program.name}: only fsession programs may call {name}; "
                    f"this one is {self.program.kind}"
                )
            return SESSION_KFUNCS[name](self.inline)
        if name not in self.env.symbols:
            raise UnsupportedError(f"{self.program.name}: {name} is no helper and no known kfunc")
        return [Insn(_CALL, 0, Pseudo.KFUNC, 0, self.env.call_imm(name, name))]


def _store(place: int, value: int) -> Insn:
    return Insn(isa.ST | isa.MEM | isa.DW, Reg.FP, offset=place, imm=value)


def _relink(insns: list[Insn], pieces: list[list[Insn]], prologue: list[Insn]) -> list[Insn]:
    """Concatenate replacements and correct the jumps of the original instructions.

    The first jump of a replacement carries the original one's target; `prologue` comes before
    everything, where no jump leads.
    """
    starts = [len(prologue)]
    for piece in pieces:
        starts.append(starts[-1] + len(piece))
    result = list(prologue)
    for index, (insn, piece) in enumerate(zip(insns, pieces, strict=True)):
        if not piece or not _jumps(insn):
            result += piece
            continue
        carrier = next(place for place, part in enumerate(piece) if _jumps(part))
        part = piece[carrier]
        far = insn.cls == isa.JMP32 and insn.op == isa.JA
        target = index + 1 + (insn.imm if far else insn.offset)
        distance = starts[target] - starts[index] - carrier - 1
        result += piece[:carrier]
        if far:
            result.append(Insn(part.opcode, part.dst, part.src, part.offset, distance))
        elif -(1 << 15) <= distance < 1 << 15:
            result.append(Insn(part.opcode, part.dst, part.src, distance, part.imm))
        else:
            raise UnsupportedError(f"a jump of {distance} instructions after rewriting")
        result += piece[carrier + 1 :]
    return result


def _jumps(insn: Insn) -> bool:
    return insn.cls in (isa.JMP, isa.JMP32) and insn.op not in (isa.CALL, isa.EXIT)
