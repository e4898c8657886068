"""What the kernel's verifier makes of a program before the JIT sees it.

Covers what execution cost depends on: inlined kernel functions and helpers of tracing
programs (session state, arguments, function address), inlined map lookups, map addresses,
and helper calls as offsets from __bpf_call_base. Whether a program is safe is not judged.
Sources of the rules: kernel/bpf/verifier.c (do_misc_fixups, fixup_kfunc_call,
convert_ctx_accesses), kernel/bpf/arraymap.c and hashtab.c (map_gen_lookup).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tramposim.bpf import insn as isa
from tramposim.bpf.division import checked_division
from tramposim.bpf.helpers import HELPER_IDS, HELPER_NAMES
from tramposim.bpf.insn import Insn, Pseudo, Reg, decode, encode
from tramposim.bpf.loaded import LoadedFunction, LoadedProgram
from tramposim.bpf.stack import Analysis, analyse, function_starts, result_read_wide
from tramposim.errors import InputError, UnsupportedError
from tramposim.spec import Arch, Kernel, Map, MapType, ProgKind, Program, Relocation

__all__ = ["FixupEnvironment", "StructureOffsets", "fixup"]

_CALL = isa.JMP | isa.CALL
_MOV64 = isa.ALU64 | isa.MOV
_LOAD64 = isa.LDX | isa.MEM | isa.DW
_STORE64 = isa.STX | isa.MEM | isa.DW
_RAW_CONTEXTS = (
    ProgKind.FENTRY,
    ProgKind.FEXIT,
    ProgKind.FMOD_RET,
    ProgKind.FSESSION,
    ProgKind.FENTRY_MULTI,
    ProgKind.FEXIT_MULTI,
    ProgKind.FSESSION_MULTI,
    ProgKind.LSM,
    ProgKind.STRUCT_OPS,
)
"""Kinds whose context is an array of argument slots, accessed as it is."""
_MAX_LOOPS = 1 << 23
"""Passes that a may_goto allows before 7.0 (BPF_MAX_LOOPS)."""
_TIMED_LOOPS = 0xFFFF
"""Passes between two looks at the time (BPF_MAX_TIMED_LOOPS)."""
_ZERO_EXTENSION = 1
"""Immediate that marks a 32-bit move as the verifier's own (BPF_ZEXT_REG)."""
_TRUSTED = (ProgKind.LSM, ProgKind.STRUCT_OPS)
"""Kinds whose arguments are trusted pointers (prog_args_trusted)."""
_PRIVATE_STACKS = (
    ProgKind.FENTRY,
    ProgKind.FEXIT,
    ProgKind.FMOD_RET,
    ProgKind.FSESSION,
    ProgKind.FENTRY_MULTI,
    ProgKind.FEXIT_MULTI,
    ProgKind.FSESSION_MULTI,
)
_PRIVATE_STACK_MIN = 64
_SESSION_KINDS = (ProgKind.FSESSION, ProgKind.FSESSION_MULTI)
_HASHES = (MapType.HASH, MapType.LRU_HASH)

_UPDATE = {
    MapType.HASH: "htab_map_update_elem",
    MapType.LRU_HASH: "htab_lru_map_update_elem",
    MapType.PERCPU_HASH: "htab_percpu_map_update_elem",
    MapType.ARRAY: "array_map_update_elem",
    MapType.PERCPU_ARRAY: "array_map_update_elem",
}
_DELETE = {
    MapType.HASH: "htab_map_delete_elem",
    MapType.LRU_HASH: "htab_lru_map_delete_elem",
    MapType.PERCPU_HASH: "htab_map_delete_elem",
    MapType.ARRAY: "array_map_delete_elem",
    MapType.PERCPU_ARRAY: "array_map_delete_elem",
}
_LOOKUP = {MapType.PERCPU_HASH: "htab_percpu_map_lookup_elem"}
_REDIRECTS = {
    "bpf_get_attach_cookie": "bpf_get_attach_cookie_tracing",
    "bpf_get_prandom_u32": "bpf_user_rnd_u32",
}


@dataclass(frozen=True, slots=True)
class StructureOffsets:
    """Offsets in kernel structures that inlined code uses, in bytes (7.x kernels)."""

    array_value: int = 304
    """bpf_array.value, and .pptrs which shares its place."""
    htab_element_size: int = 48
    """sizeof(struct htab_elem): where an element's key begins."""
    lru_reference: int = 35
    """htab_elem.lru_node.ref."""


@dataclass(frozen=True, slots=True)
class FixupEnvironment:
    """The kernel that a program is loaded into.

    `symbols` are addresses by kernel name (helpers, `__bpf_call_base`); `maps` the address
    of each map's struct bpf_map by the map's name.
    """

    kernel: Kernel
    symbols: Mapping[str, int]
    maps: Mapping[str, int]
    offsets: StructureOffsets = StructureOffsets()
    address_bits: int = 48
    """arm64: bits of a user address on the CPU that runs (52 with large addresses)."""
    private_stack: Callable[[int, int], int] | None = None
    """Allocates per-CPU memory (bytes, alignment) for a private stack; the per-CPU pointer."""

    def symbol(self, name: str, user: str) -> int:
        """Address of a kernel symbol; `UnsupportedError` naming its user if there is none."""
        if name not in self.symbols:
            raise UnsupportedError(f"{user} needs {name}, which this kernel environment lacks")
        return self.symbols[name]

    def call_imm(self, name: str, user: str) -> int:
        """Immediate of a call to a kernel function: its distance from __bpf_call_base."""
        distance = self.symbol(name, user) - self.symbol("__bpf_call_base", user)
        if not -(1 << 31) <= distance < 1 << 31:
            raise UnsupportedError(f"{name} lies more than 2 GiB away from __bpf_call_base")
        return distance


def fixup(program: Program, env: FixupEnvironment) -> LoadedProgram:
    """Rewrite a program as the verifier does.

    Raises `UnsupportedError` for a helper, kernel function or construct without a rule, and
    `InputError` for a program that is not well formed.
    """
    return _Fixup(program, env).run()


class _Fixup:
    def __init__(self, program: Program, env: FixupEnvironment) -> None:
        self.program = program
        self.env = env
        self.insns = decode(program.insns)
        self.maps = {m.name: m for m in program.maps}
        self.relocations = {index: (kind, name) for index, kind, name in program.relocations}
        self.kfuncs = dict(program.kfuncs)
        self.starts: tuple[int, ...] = (0,)
        self.uses_cookie = self.uses_ip = False

    def run(self) -> LoadedProgram:
        self._refuse_what_is_not_rewritten()
        map_loads = {i: name for i, (kind, name) in self.relocations.items()}
        analysis = analyse(self.insns, map_loads, self.program.name)
        self.starts = function_starts(self.insns)
        ends = (*self.starts[1:], len(self.insns))
        return LoadedProgram(
            name=self.program.name,
            kind=self.program.kind,
            functions=tuple(
                self._function(number, end, analysis) for number, end in enumerate(ends)
            ),
            sleepable=self.program.sleepable,
            uses_session_cookie=self.uses_cookie,
            uses_func_ip=self.uses_ip,
            linked=len(self.starts) == 1,
        )

    def _function(self, number: int, end: int, analysis: Analysis) -> LoadedFunction:
        """One function, rewritten; a may_goto counts in a place below the function's own stack."""
        start = self.starts[number]
        depth = analysis.stack_depths[number]
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
            private_stack=self._private_stack(depth),
        )

    def loop_start(self, depth: int) -> list[Insn]:
        """Stores that start counting: the count and, where time is looked at, no time yet."""
        if _version(self.env.kernel) < (7, 0):
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
        if _version(self.env.kernel) < (7, 0):
            leave = Insn(isa.JMP | isa.JEQ, scratch, offset=insn.offset)
            return [load, leave, down, store]
        return [
            load,
            Insn(isa.JMP | isa.JEQ, scratch, offset=insn.offset),
            down,
            Insn(isa.JMP | isa.JNE, scratch, offset=2),
            Insn(_MOV64, scratch, imm=place),
            self._direct("arch_bpf_timed_may_goto", "may_goto"),
            store,
        ]

    def _private_stack(self, depth: int) -> int:
        """Per-CPU pointer of the stack of a program that has its own (bpf_enable_priv_stack).

        Those are tracing programs with 64 bytes of stack or more, counted in steps of 16.
        """
        if self.program.kind not in _PRIVATE_STACKS or _version(self.env.kernel) < (7, 0):
            return 0
        if (depth + 15 & ~15) < _PRIVATE_STACK_MIN:
            return 0
        if len(self.starts) > 1:
            raise UnsupportedError(f"{self.program.name}: private stacks of several functions")
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
                f"{self.program.name}: instruction {index}: the context of a "
                f"{self.program.kind} program"
            )
        if index in analysis.kernel_loads and self.program.kind not in _TRUSTED:
            return self._probe(insn)
        narrow = isa.STX | isa.ATOMIC | isa.W
        if (
            insn.opcode == narrow
            and insn.imm == isa.CMPXCHG
            and result_read_wide(self.insns, index)
        ):
            return [insn, Insn(isa.ALU | isa.MOV | isa.X, Reg.R0, Reg.R0, imm=_ZERO_EXTENSION)]
        if insn.cls in (isa.ALU, isa.ALU64) and insn.op in (isa.DIV, isa.MOD):
            return checked_division(insn, self._scratch)
        return [insn]

    @property
    def _scratch(self) -> int:
        """The verifier's own register (BPF_REG_AX)."""
        return Reg.AX if _version(self.env.kernel) >= (7, 2) else Reg.AX - 1

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
            if what:
                raise UnsupportedError(f"{self.program.name}: instruction {index}: {what}")

    def _load(self, index: int) -> tuple[Insn, Insn]:
        """A 64-bit immediate load with the address that it stands for."""
        first, second = self.insns[index], self.insns[index + 1]
        if first.src == 0:
            return first, second
        if index not in self.relocations:
            raise UnsupportedError(
                f"{self.program.name}: instruction {index}: pseudo load {first.src} "
                "without a relocation"
            )
        kind, name = self.relocations[index]
        if name not in self.env.maps:
            raise InputError(f"{self.program.name}: map {name!r} has no address")
        address = self.env.maps[name]
        if kind is Relocation.MAP_VALUE:
            if name in self.maps and self.maps[name].type is not MapType.ARRAY:
                raise UnsupportedError(f"address of a value of {self.maps[name].type} map {name!r}")
            address += self.env.offsets.array_value + second.imm
        return (
            Insn(isa.LD_IMM64, first.dst, 0, 0, _signed32(address)),
            Insn(0, imm=_signed32(address >> 32)),
        )

    def _call(self, index: int, analysis: Analysis) -> list[Insn]:
        insn = self.insns[index]
        if insn.src == Pseudo.KFUNC:
            return self._kfunc(index)
        if insn.src == Pseudo.CALL:
            number = self.starts.index(index + 1 + insn.imm)
            return [Insn(_CALL, 0, Pseudo.CALL, number)]
        name = HELPER_NAMES.get(insn.imm)
        if name is None or insn.src:
            raise UnsupportedError(f"{self.program.name}: instruction {index}: helper {insn.imm}")
        inline = _INLINED.get(name)
        if inline is not None:
            replacement = inline(self)
            if replacement is not None:
                return replacement
        if name in ("bpf_map_lookup_elem", "bpf_map_update_elem", "bpf_map_delete_elem"):
            return self._map_call(name, analysis.map_of_call.get(index))
        return [self._direct(_REDIRECTS.get(name, name), name)]

    def _direct(self, symbol: str, user: str) -> Insn:
        return Insn(_CALL, imm=self.env.call_imm(symbol, user))

    def _kfunc(self, index: int) -> list[Insn]:
        name = self.kfuncs.get(index)
        if name is None:
            raise UnsupportedError(f"{self.program.name}: instruction {index}: unnamed kfunc")
        if name in _SESSION_KFUNCS:
            if self.program.kind not in _SESSION_KINDS:
                raise InputError(
                    f"{self.program.name}: only fsession programs may call {name}; "
                    f"this one is {self.program.kind}"
                )
            return _SESSION_KFUNCS[name](self)
        if name not in self.env.symbols:
            raise UnsupportedError(f"{self.program.name}: {name} is no helper and no known kfunc")
        return [Insn(_CALL, 0, Pseudo.KFUNC, 0, self.env.call_imm(name, name))]

    def _map_call(self, name: str, map_name: str | None) -> list[Insn]:
        target = self.maps.get(map_name) if map_name else None
        if target is None:
            return [self._direct(name, name)]
        if name == "bpf_map_lookup_elem":
            return self._lookup(target)
        table = _UPDATE if name == "bpf_map_update_elem" else _DELETE
        if target.type not in table:
            raise UnsupportedError(f"{name} on {target.type} map {target.name!r}")
        return [self._direct(table[target.type], name)]

    def _lookup(self, target: Map) -> list[Insn]:
        if target.type in (MapType.ARRAY, MapType.PERCPU_ARRAY):
            return self._array_lookup(target)
        if target.type not in _HASHES:
            if target.type not in _LOOKUP:
                raise UnsupportedError(f"lookup in {target.type} map {target.name!r}")
            return [self._direct(_LOOKUP[target.type], "bpf_map_lookup_elem")]
        offsets = self.env.offsets
        value = offsets.htab_element_size + (target.key_size + 7 & ~7)
        call = self._direct("__htab_map_lookup_elem", "bpf_map_lookup_elem")
        add = Insn(isa.ALU64 | isa.ADD, Reg.R0, imm=value)
        if target.type is MapType.HASH:
            return [call, Insn(isa.JMP | isa.JEQ, Reg.R0, offset=1), add]
        reference = offsets.lru_reference
        return [
            call,
            Insn(isa.JMP | isa.JEQ, Reg.R0, offset=4),
            Insn(isa.LDX | isa.MEM | isa.B, Reg.R1, Reg.R0, reference),
            Insn(isa.JMP | isa.JNE, Reg.R1, offset=1),
            Insn(isa.ST | isa.MEM | isa.B, Reg.R0, offset=reference, imm=1),
            add,
        ]

    def _array_lookup(self, target: Map) -> list[Insn]:
        """Inlined lookup; r1 = map, r2 = key address, result in r0."""
        percpu = target.type is MapType.PERCPU_ARRAY
        element = 8 if percpu else target.value_size + 7 & ~7
        shift = element.bit_length() - 1
        power_of_two = element == 1 << shift
        scale = isa.LSH if power_of_two else isa.MUL
        tail = [Insn(_LOAD64, Reg.R0, Reg.R0), _percpu(Reg.R0)] if percpu else []
        return [
            Insn(isa.ALU64 | isa.ADD, Reg.R1, imm=self.env.offsets.array_value),
            Insn(isa.LDX | isa.MEM | isa.W, Reg.R0, Reg.R2),
            Insn(isa.JMP | isa.JGE, Reg.R0, offset=3 + len(tail), imm=target.max_entries),
            Insn(isa.ALU64 | scale, Reg.R0, imm=shift if power_of_two else element),
            Insn(isa.ALU64 | isa.ADD | isa.X, Reg.R0, Reg.R1),
            *tail,
            Insn(isa.JMP | isa.JA, offset=1),
            Insn(_MOV64, Reg.R0),
        ]

    def is_return(self) -> list[Insn]:
        return [
            _func_meta(),
            Insn(isa.ALU64 | isa.RSH, Reg.R0, imm=63),
            Insn(isa.ALU64 | isa.AND, Reg.R0, imm=1),
        ]

    def session_cookie(self) -> list[Insn]:
        self.uses_cookie = True
        return [
            _func_meta(),
            Insn(isa.ALU64 | isa.RSH, Reg.R0, imm=8),
            Insn(isa.ALU64 | isa.AND, Reg.R0, imm=0xFF),
            Insn(isa.ALU64 | isa.LSH, Reg.R0, imm=3),
            Insn(isa.ALU64 | isa.SUB | isa.X, Reg.R0, Reg.R1),
            Insn(isa.ALU64 | isa.NEG, Reg.R0),
        ]

    def func_ip(self) -> list[Insn]:
        self.uses_ip = True
        return [Insn(_LOAD64, Reg.R0, Reg.R1, -16)]

    def arg_cnt(self) -> list[Insn]:
        return self._arg_count(Reg.R0)

    def _arg_count(self, register: int) -> list[Insn]:
        """Number of argument slots; sessions keep more than that in the same word."""
        load = [Insn(_LOAD64, register, Reg.R1, -8)]
        if _version(self.env.kernel) >= (7, 0):
            load.append(Insn(isa.ALU64 | isa.AND, register, imm=0xFF))
        return load

    def func_arg(self) -> list[Insn]:
        return [
            *self._arg_count(Reg.R0),
            Insn(isa.JMP32 | isa.JGE | isa.X, Reg.R2, Reg.R0, 6),
            Insn(isa.ALU64 | isa.LSH, Reg.R2, imm=3),
            Insn(isa.ALU64 | isa.ADD | isa.X, Reg.R2, Reg.R1),
            Insn(_LOAD64, Reg.R0, Reg.R2),
            Insn(_STORE64, Reg.R3, Reg.R0),
            Insn(_MOV64, Reg.R0),
            Insn(isa.JMP | isa.JA, offset=1),
            Insn(_MOV64, Reg.R0, imm=-errno.EINVAL),
        ]

    def func_ret(self) -> list[Insn]:
        if self.program.kind in (ProgKind.FENTRY, ProgKind.FENTRY_MULTI):
            return [Insn(_MOV64, Reg.R0, imm=-errno.EOPNOTSUPP)]
        return [
            *self._arg_count(Reg.R0),
            Insn(isa.ALU64 | isa.LSH, Reg.R0, imm=3),
            Insn(isa.ALU64 | isa.ADD | isa.X, Reg.R0, Reg.R1),
            Insn(_LOAD64, Reg.R3, Reg.R0),
            Insn(_STORE64, Reg.R2, Reg.R3),
            Insn(_MOV64, Reg.R0),
        ]

    def smp_processor_id(self) -> list[Insn] | None:
        if self.env.kernel.arch is Arch.ARM64:
            return [Insn(_CALL, imm=HELPER_IDS["bpf_get_smp_processor_id"])]
        return self._percpu_load("cpu_number", isa.LDX | isa.MEM | isa.W)

    def current_task(self) -> list[Insn] | None:
        if self.env.kernel.arch is Arch.ARM64:
            return [Insn(_CALL, imm=HELPER_IDS["bpf_get_current_task"])]
        if _version(self.env.kernel) < (7, 0):
            return None
        return self._percpu_load("current_task", _LOAD64)

    def _percpu_load(self, symbol: str, load: int) -> list[Insn]:
        address = self.env.symbol(symbol, "an inlined helper")
        cls = isa.ALU64 if _version(self.env.kernel) >= (7, 0) else isa.ALU
        return [
            Insn(cls | isa.MOV, Reg.R0, imm=_signed32(address)),
            _percpu(Reg.R0),
            Insn(load, Reg.R0, Reg.R0),
        ]


_INLINED: dict[str, Callable[[_Fixup], list[Insn] | None]] = {
    "bpf_get_func_ip": _Fixup.func_ip,
    "bpf_get_func_arg": _Fixup.func_arg,
    "bpf_get_func_ret": _Fixup.func_ret,
    "bpf_get_func_arg_cnt": _Fixup.arg_cnt,
    "bpf_get_smp_processor_id": _Fixup.smp_processor_id,
    "bpf_get_current_task": _Fixup.current_task,
    "bpf_get_current_task_btf": _Fixup.current_task,
}

_SESSION_KFUNCS: dict[str, Callable[[_Fixup], list[Insn]]] = {
    "bpf_session_is_return": _Fixup.is_return,
    "bpf_session_cookie": _Fixup.session_cookie,
}


def _func_meta() -> Insn:
    return Insn(_LOAD64, Reg.R0, Reg.R1, -8)


def _percpu(register: int) -> Insn:
    return Insn(_MOV64 | isa.X, register, register, isa.PERCPU_MOV)


def _store(place: int, value: int) -> Insn:
    return Insn(isa.ST | isa.MEM | isa.DW, Reg.FP, offset=place, imm=value)


def _signed32(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


def _version(kernel: Kernel) -> tuple[int, int]:
    major, minor = kernel.version.split(".")[:2]
    return int(major), int(minor.split("-")[0])


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
