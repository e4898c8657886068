"""What the rules need to know of a program's kernel, from its JIT environment."""

from __future__ import annotations

from collections.abc import Sequence

from tramposim.bpf.helpers import HELPER_IDS
from tramposim.bpf.loaded import LoadedFunction
from tramposim.bpf.outside import Target
from tramposim.errors import InputError
from tramposim.jit.arm64.registers import register_map as arm64_map
from tramposim.jit.environment import JitEnvironment
from tramposim.jit.program import compile_program, lay_out
from tramposim.jit.trampoline import THUNKS
from tramposim.jit.x86_64.registers import register_map as x86_64_map
from tramposim.machine.guestkernel import GuestKernel, GuestProgram
from tramposim.machine.rules.compiled import GS_BASE, PERCPU_ARM64, TASK_ARM64, CompiledProgram
from tramposim.machine.rules.listing import Listing
from tramposim.spec import Arch, Returns

__all__ = ["compiled_program", "guest_subject"]

_MASK = (1 << 64) - 1
_X86_NAMES = (
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip
_TAIL_ENTRY = {Arch.X86_64: 12, Arch.ARM64: 24}
"""Where tail calls enter a program without landing pad and signature, in bytes."""
_PAD = 4


def compiled_program(
    env: JitEnvironment,
    functions: Sequence[LoadedFunction],
    addresses: Sequence[int],
    chunks: Sequence[bytes],
) -> CompiledProgram:
    """The subject: functions at addresses, with each one's code.

    Raises `InputError` if these do not belong together.
    """
    if not len(functions) == len(addresses) == len(chunks) or not functions:
        raise InputError(
            f"{len(functions)} functions at {len(addresses)} addresses with {len(chunks)} codes"
        )
    kernel, rules, symbols = env.kernel, env.rules, env.symbols
    x86 = kernel.arch is Arch.X86_64
    frames = ("x25",) * len(functions)
    if x86:
        frames = tuple("r9" if function.private_stack else "rbp" for function in functions)
        numbers = x86_64_map(rules.scratch, bool(functions[0].private_stack))
        registers = {bpf: _X86_NAMES[number] for bpf, number in numbers.items()}
        pads = int(kernel.ibt)
    else:
        numbers_arm64 = arm64_map(rules.scratch, rules.result)
        registers = {bpf: f"x{number}" for bpf, number in numbers_arm64.items()}
        pads = kernel.bti + kernel.pac
    may_goto = symbols.get("arch_bpf_timed_may_goto")
    offsets = rules.offsets
    target = Target(
        call_base=symbols.get("__bpf_call_base", 0),
        percpu=0 if x86 else PERCPU_ARM64,
        task=TASK_ARM64,
        inlined={} if x86 else _INLINED,
        thread_cpu=offsets.thread_info_cpu,
        address_bits=(56 if env.five_level_paging else 47) if x86 else 0,
        preserving=frozenset() if may_goto is None else frozenset({may_goto}),
        noreturn=frozenset({symbols["bpf_throw"]} if "bpf_throw" in symbols else ()),
        scratch=rules.scratch,
        map_max_entries=offsets.map_max_entries,
        array_ptrs=offsets.array_ptrs,
        prog_bpf_func=offsets.prog_bpf_func,
        tail_entry=_TAIL_ENTRY[kernel.arch] + _PAD * pads,
        patched_tail_calls=x86,
    )
    thunk = symbols.get(THUNKS.get(kernel.returns, ""))
    counted = kernel.returns is Returns.STUFFING and x86
    return CompiledProgram(
        arch=kernel.arch,
        listing=Listing(kernel.arch, *zip(addresses, chunks, strict=True)),
        functions=tuple(functions),
        addresses=tuple(addresses),
        target=target,
        registers=registers,
        frames=frames,
        names={address: name for name, address in symbols.items()},
        thunks=frozenset() if thunk is None or not x86 else frozenset({thunk}),
        indirect=frozenset(
            address for name, address in symbols.items()
            if name in ("__x86_indirect_thunk_rcx", "__x86_indirect_jump_thunk_rcx")
        ),
        tail_register="rcx" if x86 else "",
        depth=(symbols["__x86_call_depth"] + GS_BASE) & _MASK
        if counted and "__x86_call_depth" in symbols
        else 0,
        accounted=env.accounted,
        percpu_at=_percpu_at(symbols.get("this_cpu_off")) if x86 else 0,
        landing_pads=kernel.ibt if x86 else kernel.bti,
        signed=kernel.pac and not x86,
    )  # fmt: skip


def guest_subject(guest: GuestKernel, program: GuestProgram) -> CompiledProgram:
    """The subject of a program that a guest kernel loaded."""
    env, loaded = guest.jit_environment(), program.loaded
    addresses = lay_out(env, loaded, program.address)
    compiled = compile_program(env, loaded, addresses)
    chunks = [function.code for function in compiled.functions]
    return compiled_program(env, loaded.functions, addresses, chunks)


_INLINED = {
    HELPER_IDS["bpf_get_current_task"]: "task",
    HELPER_IDS["bpf_get_current_task_btf"]: "task",
    HELPER_IDS["bpf_get_smp_processor_id"]: "cpu",
}
"""Helpers that arm64's JIT replaces by code."""


def _percpu_at(offset: int | None) -> int:
    """Where gs:this_cpu_off lies; instructions hold the low half of the address."""
    if offset is None:
        return 0
    low = offset & 0xFFFFFFFF
    return GS_BASE + (low - (1 << 32) if low >> 31 else low) & _MASK
