"""Instruction sequences that the verifier puts in place of calls.

Sources: do_misc_fixups and fixup_kfunc_call in kernel/bpf/verifier.c, map_gen_lookup in
kernel/bpf/arraymap.c and hashtab.c, and rewritten programs of the captures.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from tramposim.bpf import insn as isa
from tramposim.bpf.environment import FixupEnvironment
from tramposim.bpf.helpers import HELPER_IDS
from tramposim.bpf.insn import Insn, Reg
from tramposim.errors import UnsupportedError
from tramposim.spec import Arch, Map, MapType, ProgKind

__all__ = ["INLINED_HELPERS", "REDIRECTS", "SESSION_KFUNCS", "Inliner", "signed32"]

_CALL = isa.JMP | isa.CALL
_MOV64 = isa.ALU64 | isa.MOV
_LOAD64 = isa.LDX | isa.MEM | isa.DW
_STORE64 = isa.STX | isa.MEM | isa.DW
_HASHES = (MapType.HASH, MapType.LRU_HASH)

_UPDATE = {
    MapType.HASH: "htab_map_update_elem",
    MapType.LRU_HASH: "htab_lru_map_update_elem",
    MapType.PERCPU_HASH: "htab_percpu_map_update_elem",
    MapType.LRU_PERCPU_HASH: "htab_lru_percpu_map_update_elem",
    MapType.ARRAY: "array_map_update_elem",
    MapType.PERCPU_ARRAY: "array_map_update_elem",
}
_DELETE = {
    MapType.HASH: "htab_map_delete_elem",
    MapType.LRU_HASH: "htab_lru_map_delete_elem",
    MapType.PERCPU_HASH: "htab_map_delete_elem",
    MapType.LRU_PERCPU_HASH: "htab_lru_map_delete_elem",
    MapType.ARRAY: "array_map_delete_elem",
    MapType.PERCPU_ARRAY: "array_map_delete_elem",
}
_LOOKUP = {
    MapType.PERCPU_HASH: "htab_percpu_map_lookup_elem",
    MapType.LRU_PERCPU_HASH: "htab_lru_percpu_map_lookup_elem",
}
REDIRECTS = {
    "bpf_get_attach_cookie": "bpf_get_attach_cookie_tracing",
    "bpf_get_prandom_u32": "bpf_user_rnd_u32",
    "bpf_get_stack": "bpf_get_stack_raw_tp",
    "bpf_get_stackid": "bpf_get_stackid_raw_tp",
    "bpf_perf_event_output": "bpf_perf_event_output_raw_tp",
    "bpf_probe_read": "bpf_probe_read_compat",
    "bpf_probe_read_str": "bpf_probe_read_compat_str",
}
"""Helpers that stay calls, but of a function with another name."""


class Inliner:
    """Sequences for one program; notes what its trampoline must know about it."""

    def __init__(self, kind: ProgKind, env: FixupEnvironment) -> None:
        self.kind = kind
        self.env = env
        self.uses_cookie = self.uses_ip = False

    def direct(self, symbol: str, user: str) -> Insn:
        """A call of a kernel function."""
        return Insn(_CALL, imm=self.env.call_imm(symbol, user))

    def map_call(self, name: str, target: Map | None) -> list[Insn]:
        """A map helper's call; `target` is the map, if it is always the same."""
        if target is None:
            return [self.direct(name, name)]
        if name == "bpf_map_lookup_elem":
            return self._lookup(target)
        table = _UPDATE if name == "bpf_map_update_elem" else _DELETE
        if target.type not in table:
            raise UnsupportedError(f"{name} on {target.type} map {target.name!r}")
        return [self.direct(table[target.type], name)]

    def _lookup(self, target: Map) -> list[Insn]:
        if target.type in (MapType.ARRAY, MapType.PERCPU_ARRAY):
            return self._array_lookup(target)
        if target.type not in _HASHES:
            if target.type not in _LOOKUP:
                raise UnsupportedError(f"lookup in {target.type} map {target.name!r}")
            return [self.direct(_LOOKUP[target.type], "bpf_map_lookup_elem")]
        offsets = self.env.offsets
        value = offsets.htab_element_size + (target.key_size + 7 & ~7)
        call = self.direct("__htab_map_lookup_elem", "bpf_map_lookup_elem")
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
        """bpf_session_is_return: bit 63 of func_meta."""
        return [
            _func_meta(),
            Insn(isa.ALU64 | isa.RSH, Reg.R0, imm=63),
            Insn(isa.ALU64 | isa.AND, Reg.R0, imm=1),
        ]

    def session_cookie(self) -> list[Insn]:
        """bpf_session_cookie: the context minus 8 times the cookie index of func_meta."""
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
        """bpf_get_func_ip: the word below func_meta."""
        self.uses_ip = True
        return [Insn(_LOAD64, Reg.R0, Reg.R1, -16)]

    def arg_cnt(self) -> list[Insn]:
        """bpf_get_func_arg_cnt."""
        return self._arg_count(Reg.R0)

    def _arg_count(self, register: int) -> list[Insn]:
        """Number of argument slots; sessions keep more than that in the same word."""
        load = [Insn(_LOAD64, register, Reg.R1, -8)]
        if self.env.version >= (7, 0):
            load.append(Insn(isa.ALU64 | isa.AND, register, imm=0xFF))
        return load

    def func_arg(self) -> list[Insn]:
        """bpf_get_func_arg, with its check of the index."""
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
        """bpf_get_func_ret; entry programs get an error."""
        if self.kind in (ProgKind.FENTRY, ProgKind.FENTRY_MULTI):
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
        """bpf_get_smp_processor_id; arm64 leaves it to its JIT."""
        if self.env.kernel.arch is Arch.ARM64:
            return [Insn(_CALL, imm=HELPER_IDS["bpf_get_smp_processor_id"])]
        return self._percpu_load("cpu_number", isa.LDX | isa.MEM | isa.W)

    def current_task(self) -> list[Insn] | None:
        """bpf_get_current_task; None where it stays a call."""
        if self.env.kernel.arch is Arch.ARM64:
            return [Insn(_CALL, imm=HELPER_IDS["bpf_get_current_task"])]
        if self.env.version < (7, 0):
            return None
        return self._percpu_load("current_task", _LOAD64)

    def _percpu_load(self, symbol: str, load: int) -> list[Insn]:
        address = self.env.symbol(symbol, "an inlined helper")
        # Kernels before 7.0 have per-CPU variables at addresses near zero, and move 32 bits. Where
        # they lie elsewhere, as in the emulated kernel, the move has to extend the sign.
        low = self.env.version < (7, 0) and address < 1 << 32
        cls = isa.ALU if low else isa.ALU64
        return [
            Insn(cls | isa.MOV, Reg.R0, imm=signed32(address)),
            _percpu(Reg.R0),
            Insn(load, Reg.R0, Reg.R0),
        ]


INLINED_HELPERS: dict[str, Callable[[Inliner], list[Insn] | None]] = {
    "bpf_get_func_ip": Inliner.func_ip,
    "bpf_get_func_arg": Inliner.func_arg,
    "bpf_get_func_ret": Inliner.func_ret,
    "bpf_get_func_arg_cnt": Inliner.arg_cnt,
    "bpf_get_smp_processor_id": Inliner.smp_processor_id,
    "bpf_get_current_task": Inliner.current_task,
    "bpf_get_current_task_btf": Inliner.current_task,
}
"""Helpers that become instructions, or (None) stay calls."""

SESSION_KFUNCS: dict[str, Callable[[Inliner], list[Insn]]] = {
    "bpf_session_is_return": Inliner.is_return,
    "bpf_session_cookie": Inliner.session_cookie,
}
"""Kernel functions of fsession programs that become instructions."""


def _func_meta() -> Insn:
    return Insn(_LOAD64, Reg.R0, Reg.R1, -8)


def _percpu(register: int) -> Insn:
    return Insn(_MOV64 | isa.X, register, register, isa.PERCPU_MOV)


def signed32(value: int) -> int:
    """The low 32 bits as an immediate."""
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value
