"""Program records of kernel captures: what the kernel's JIT was given, and what it made.

A record is one of `progs[]` of a trampoline case, or a `prog` record of a jit file, as
decoded from JSON; `boot` is the first record of its file. See `tramposim.capture/1`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from tramposim.bpf import insn as isa
from tramposim.bpf.insn import Insn, decode
from tramposim.bpf.loaded import LoadedFunction, LoadedProgram
from tramposim.errors import InputError
from tramposim.jit.program import CompiledProgram, JitEnvironment, JitOffsets, compile_program
from tramposim.spec import Arch, Kernel, ProgKind, Returns

__all__ = ["CapturedProgram", "kernel_of", "program_environment", "read_program", "rebuild"]

_RETURNS = {
    "retbleed_return_thunk": Returns.UNTRAINED,
    "srso_return_thunk": Returns.SRSO,
    "srso_alias_return_thunk": Returns.SRSO_ALIAS,
    "its_return_thunk": Returns.ITS,
    "call_depth_return_thunk": Returns.STUFFING,
}
_KINDS = {
    "fe": ProgKind.FENTRY,
    "fx": ProgKind.FEXIT,
    "fm": ProgKind.FMOD_RET,
    "fs": ProgKind.FSESSION,
    "me": ProgKind.FENTRY_MULTI,
    "mx": ProgKind.FEXIT_MULTI,
    "ms": ProgKind.FSESSION_MULTI,
    "lsm": ProgKind.LSM,
    "so": ProgKind.STRUCT_OPS,
    "xdp": ProgKind.XDP,
    "tc": ProgKind.TC,
}
_ACCOUNTED = (
    "__bpf_prog_enter_sleepable_recur",
    "__bpf_prog_exit_sleepable_recur",
    "__htab_map_lookup_elem",
)
"""Functions that Debian's kernels call directly themselves, so that accounting already
stands before them (measured; the rest of the kernel's text is not in program records)."""


@dataclass(frozen=True, slots=True)
class CapturedProgram:
    """A program that a kernel compiled: the JIT's input, where it lies, and the code."""

    id: str
    program: LoadedProgram
    addresses: tuple[int, ...]
    code: bytes
    five_level_paging: bool
    """x86_64: the program's own address lies where only five-level paging puts it."""


def kernel_of(boot: Mapping[str, Any]) -> Kernel:
    """The kernel of a capture: version and the knobs that its boot record shows."""
    arch = Arch(boot["arch"])
    variant = boot.get("variant", "")
    if arch is Arch.ARM64:
        modern = variant != "a72"
        return Kernel(arch, boot["kernel"], lse=modern, pac=modern)
    returns = Returns.PLAIN
    for symbol in boot.get("x86_return_thunk_symbols") or ():
        returns = _RETURNS.get(symbol, returns)
    if "Stuffing" in (boot.get("vulnerabilities", {}).get("retbleed") or ""):
        returns = Returns.STUFFING
    spectre = boot.get("vulnerabilities", {}).get("spectre_v2") or ""
    return Kernel(arch, boot["kernel"], returns=returns, retpoline="Retpolines" in spectre)


def program_environment(boot: Mapping[str, Any]) -> JitEnvironment:
    """The environment to compile the programs of a capture in."""
    offsets = boot.get("offsets", {})
    symbols = boot["symbols"]
    return JitEnvironment(
        kernel=kernel_of(boot),
        symbols=symbols,
        offsets=JitOffsets(
            offsets.get("bpf_map_max_entries", 76),
            offsets.get("bpf_array_ptrs", 304),
            offsets.get("bpf_prog_bpf_func", 72),
        ),
        accounted=frozenset(symbols[name] for name in _ACCOUNTED if name in symbols),
    )


def read_program(record: Mapping[str, Any], boot: Mapping[str, Any]) -> CapturedProgram | None:
    """The JIT's input of a record; None if the kernel did not load the program.

    Raises `InputError` if the record lacks what it should hold.
    """
    if not record.get("jited") or not record.get("main"):
        return None
    name = record.get("id") or record.get("name") or "?"
    try:
        mains = record.get("funcs") or [record["main"]]
        code = bytes.fromhex(record["jited"])
        functions = tuple(_function(main, boot, code) for main in mains)
        addresses = tuple(record["ksyms"])
        kind = _KINDS.get(record.get("kind") or record.get("ptype") or "", ProgKind.SOCKET)
        fields = record["main"]["prog_fields"]
        return CapturedProgram(
            name,
            LoadedProgram(
                name=name,
                kind=kind,
                functions=functions,
                sleepable=bool(fields.get("sleepable")),
                uses_session_cookie=bool(fields.get("call_session_cookie")),
                uses_func_ip=bool(fields.get("call_get_func_ip")),
            ),
            addresses,
            code,
            boot["arch"] == Arch.X86_64 and record["main"]["p"] >> 47 != (1 << 17) - 1,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"program record {name}: {type(error).__name__}: {error}") from error


def rebuild(program: CapturedProgram, env: JitEnvironment) -> CompiledProgram:
    """Compile a captured program from its inputs alone."""
    if env.five_level_paging != program.five_level_paging:
        env = replace(env, five_level_paging=program.five_level_paging)
    return compile_program(env, program.program, program.addresses)


def _function(main: Mapping[str, Any], boot: Mapping[str, Any], code: bytes) -> LoadedFunction:
    aux = main["aux_fields"]
    insns = bytes.fromhex(main["insnsi"])
    arena = arena_user = 0
    if aux.get("arena"):
        arena, arena_user = _arena_addresses(Arch(boot["arch"]), code)
    return LoadedFunction(
        insns=insns,
        stack_depth=aux["stack_depth"],
        tail_call_reachable=bool(aux.get("tail_call_reachable")),
        exception_boundary=bool(aux.get("exception_boundary")),
        exception_cb=bool(aux.get("exception_cb")),
        private_stack=aux["priv_stack_ptr"] if aux.get("jits_use_priv_stack") else 0,
        arena_vm_start=arena,
        arena_user_vm_start=arena_user,
        verifier_zext=bool(aux.get("verifier_zext")),
        poke=_poke(insns, boot),
    )


def _poke(insns: bytes, boot: Mapping[str, Any]) -> tuple[tuple[int, int], ...]:
    """Targets of the tail calls to constant indices, as the map was filled at load time.

    The map is the last one loaded to r2 before the call, the index the constant in r3.
    """
    if not boot.get("prog_array_contents") or b"\xf5" not in insns[::8]:
        return ()
    names = {info["addr"]: name for name, info in boot["maps"].items()}
    decoded = decode(insns)
    targets: list[tuple[int, int]] = []
    for index, insn in enumerate(decoded):
        if insn.opcode != isa.JMP | isa.TAIL_CALL or insn.imm == 0:
            continue
        contents = boot["prog_array_contents"].get(names.get(_map_in_r2(decoded, index), ""), ())
        key = _constant_in_r3(decoded, index)
        if key is not None and key < len(contents) and contents[key] is not None:
            targets.append((insn.imm, boot["tail_call_progs"][contents[key]]["bpf_func"]))
    return tuple(targets)


def _map_in_r2(insns: list[Insn], before: int) -> int:
    for index in range(before - 2, -1, -1):
        if insns[index].opcode == isa.LD_IMM64 and insns[index].dst == isa.Reg.R2:
            low, high = insns[index].imm & 0xFFFFFFFF, insns[index + 1].imm & 0xFFFFFFFF
            return high << 32 | low
    return 0


def _constant_in_r3(insns: list[Insn], before: int) -> int | None:
    for index in range(before - 1, -1, -1):
        insn = insns[index]
        if insn.dst == isa.Reg.R3 and insn.opcode in (isa.ALU64 | isa.MOV, isa.ALU | isa.MOV):
            return insn.imm
    return None


@lru_cache(maxsize=256)
def _arena_addresses(arch: Arch, code: bytes) -> tuple[int, int]:
    """Kernel and user address of a program's arena.

    Records hold them nowhere but in the code: as the constant in the arena's base register,
    and as the upper half that an address space cast inserts.
    """
    if arch is Arch.X86_64:
        at = code.index(b"\x49\xbc")
        base = int.from_bytes(code[at + 2 : at + 10], "little")
        for at in range(len(code) - 11):
            shifted = code[at : at + 2] in (b"\x48\xc1", b"\x49\xc1") and code[at + 3] == 32
            if shifted and code[at + 2] & 0xF8 == 0xE0:
                skip = 2 if code[at + 5] == 0x0D else 3
                return base, int.from_bytes(code[at + 4 + skip : at + 8 + skip], "little") << 32
        return base, 0
    words = [int.from_bytes(code[at : at + 4], "little") for at in range(0, len(code), 4)]
    base = 0
    for word in words:
        if word & 31 == 28 and word & 0x1F800000 == 0x12800000:
            base = _move_wide(base, word)
    for at, word in enumerate(words):
        # lsl xd, xd, #32 behind the 32-bit constant.
        if word & 0xFFFFFC00 == 0xD3607C00 and word & 31 == word >> 5 & 31:
            value, first = 0, at
            while words[first - 1] & 31 == word & 31 and words[first - 1] & 0x1F800000 == 0x12800000:
                first -= 1
            for move in words[first:at]:
                value = _move_wide(value, move)
            return base, (value & 0xFFFFFFFF) << 32
    return base, 0


def _move_wide(value: int, word: int) -> int:
    """The register after a movn, movz or movk."""
    shift, imm = (word >> 21 & 3) * 16, word >> 5 & 0xFFFF
    kind = word >> 29 & 3
    if kind == 3:
        return value & ~(0xFFFF << shift) | imm << shift
    mask = (1 << 64) - 1 if word >> 31 else (1 << 32) - 1
    return (imm << shift if kind == 2 else ~(imm << shift)) & mask
