"""A program after the verifier: exactly what the kernel hands to its JIT."""

from __future__ import annotations

from dataclasses import dataclass

from tramposim.spec import ProgKind

__all__ = ["LoadedFunction", "LoadedProgram"]


@dataclass(frozen=True, slots=True)
class LoadedFunction:
    """One function of a loaded program (the main one, or a subprogram).

    `insns` are post-verifier instructions: real addresses in 64-bit loads, helper calls
    with imm relative to __bpf_call_base. `stack_depth` is in bytes (bpf_prog_aux field of
    the same name); the other fields are those of bpf_prog_aux too.
    """

    insns: bytes
    stack_depth: int = 0
    tail_call_reachable: bool = False
    exception_boundary: bool = False
    exception_cb: bool = False
    private_stack: int = 0
    """Per-CPU pointer of the private stack (aux.priv_stack_ptr) if the JIT uses one, else 0."""
    arena_vm_start: int = 0
    """Kernel address of the arena (bpf_arena_get_kern_vm_start), 0 without an arena."""
    arena_user_vm_start: int = 0
    verifier_zext: bool = False
    poke: tuple[tuple[int, int], ...] = ()
    """Patched tail calls: (1-based number in the imm, address of the target program or 0)."""


@dataclass(frozen=True, slots=True)
class LoadedProgram:
    """A loaded program: its functions (main first) and what its trampoline must know."""

    name: str
    kind: ProgKind
    functions: tuple[LoadedFunction, ...]
    sleepable: bool = False
    uses_session_cookie: bool = False
    uses_func_ip: bool = False
    linked: bool = True
    """Whether calls between the functions hold their distance; else the called function's
    number, in the offset (main is 0)."""
