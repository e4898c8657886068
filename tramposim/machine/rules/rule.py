"""The rules by name, and how a broken one is reported."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["MEANINGS", "Rule", "Violation"]


class Rule(StrEnum):
    """What is checked; `MEANINGS` says what each asks for."""

    CALLEE_SAVED = "callee-saved"
    FRAME_CHAIN = "frame-chain"
    STACK_BALANCE = "stack-balance"
    STACK_ALIGNMENT = "stack-alignment"
    RETURN_ADDRESS = "return-address"
    ARGUMENTS = "arguments"
    RETURN_VALUE = "return-value"
    CONTEXT = "context"
    FUNC_META = "func-meta"
    FUNC_IP = "func-ip"
    BPF_COOKIE = "bpf-cookie"
    SESSION_COOKIE = "session-cookie"
    RETURN_SLOT = "return-slot"
    RUN_CTX = "run-ctx"
    ENTER_EXIT = "enter-exit"
    TRAMP_ENTER_EXIT = "tramp-enter-exit"
    CALL_ORDER = "call-order"
    CALL_DEPTH = "call-depth"
    FRAME_WRITES = "frame-writes"
    RED_ZONE = "red-zone"
    MEMORY = "memory"
    EXECUTION = "execution"
    LANDING_PAD = "landing-pad"
    POINTER_AUTH = "pointer-authentication"
    PATCHABLE_NOP = "patchable-nop"
    PATCHED_OUT = "patched-out"
    RETURNS_ONCE = "returns-once"
    RESULT = "result"
    REGISTERS = "registers"
    HELPER_CALL = "helper-call"
    STORES = "stores"
    TAIL_CALL = "tail-call"


MEANINGS: dict[Rule, str] = {
    Rule.CALLEE_SAVED: "Callee-saved registers and the frame pointer have their old values back"
    " on return, on every path.",
    Rule.FRAME_CHAIN: "At every call the frame pointer leads through (frame pointer, return"
    " address) pairs to the caller's frame, as stack unwinding needs.",
    Rule.STACK_BALANCE: "On return the stack pointer is where the caller expects it.",
    Rule.STACK_ALIGNMENT: "At calls the stack pointer is aligned: arm64 16 bytes; x86_64 8, and"
    " 16 for the original function if it has stack arguments.",
    Rule.RETURN_ADDRESS: "The code returns to its caller, or to the traced function's body if"
    " that is still to run, with that one's return address intact.",
    Rule.ARGUMENTS: "The original function gets the arguments that the caller passed, in"
    " registers and on the stack.",
    Rule.RETURN_VALUE: "The caller gets what the original function, or the fmod_ret or"
    " struct_ops program in its place, returned.",
    Rule.CONTEXT: "Every program gets a context that begins with the argument slots.",
    Rule.FUNC_META: "The word below the context has the number of argument slots, the index of"
    " the program's session cookie, and bit 63 at the exit of sessions.",
    Rule.FUNC_IP: "Where a program asks for it, the word below func_meta is the traced"
    " function's address.",
    Rule.BPF_COOKIE: "run_ctx holds the link's BPF cookie while its program runs.",
    Rule.SESSION_COOKIE: "Session cookies lie in the frame, one per program, are zero before"
    " the first program runs and keep their value until the exit of the session.",
    Rule.RETURN_SLOT: "The slot behind the arguments is zero before sessions and fmod_ret"
    " programs run, and holds the return value afterwards.",
    Rule.RUN_CTX: "Enter and exit get the same run_ctx, in the frame, left alone in between.",
    Rule.ENTER_EXIT: "Enter and exit of a program are paired on every path, with the program"
    " and the start time, also when enter returns 0; then the body is skipped.",
    Rule.TRAMP_ENTER_EXIT: "__bpf_tramp_enter and __bpf_tramp_exit are paired around a call of"
    " the original function, with the image's bpf_tramp_image.",
    Rule.CALL_ORDER: "Programs, the original function and the kernel's functions are called in"
    " the order of the lists; an fmod_ret program that returns non-zero ends its list.",
    Rule.CALL_DEPTH: "With call depth tracking, the depth counter is counted for the call of"
    " the image and for every call whose callee does not count itself.",
    Rule.FRAME_WRITES: "Stores go to the frame, maps and per-CPU data, nowhere else.",
    Rule.RED_ZONE: "Nothing is accessed below the stack pointer; kernels have no red zone.",
    Rule.MEMORY: "Accesses go where there is memory, and programs read only what the"
    " interpreter reads.",
    Rule.EXECUTION: "The code runs to its end: no undefined instruction, no endless loop, no"
    " jump to where no code is.",
    Rule.LANDING_PAD: "Targets of indirect branches begin with endbr64 (IBT) or bti (BTI).",
    Rule.POINTER_AUTH: "Every paciasp is undone by an autiasp with the same lr and sp (arm64).",
    Rule.PATCHABLE_NOP: "The place that detaching a program patches is one whole nop.",
    Rule.PATCHED_OUT: "With a program patched out, all else still works.",
    Rule.RETURNS_ONCE: "Every call returns once.",
    Rule.RESULT: "A program returns what the interpreter computes.",
    Rule.REGISTERS: "After every eBPF instruction the machine's registers hold what the"
    " interpreter's do, read or not.",
    Rule.HELPER_CALL: "A program calls the functions that the interpreter calls, in that order,"
    " with the same register values and memory.",
    Rule.STORES: "A program makes the stores of the interpreter, in its order, and leaves the"
    " same memory.",
    Rule.TAIL_CALL: "A tail call goes to the same program with the same context.",
}
"""What each rule asks for."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken rule: where (address of the instruction), what was found.

    `instruction` is the disassembled instruction, `path` names the choices that led there and
    the last taken branches (from, to), oldest first.
    """

    rule: Rule
    address: int
    detail: str
    instruction: str = ""
    path: str = ""
    branches: tuple[tuple[int, int], ...] = ()

    def __str__(self) -> str:
        text = f"{self.rule} at {self.address:#x}"
        if self.instruction:
            text += f" ({self.instruction})"
        text += f": {self.detail}"
        if self.path:
            text += f"; path: {self.path}"
        if self.branches:
            arrows = ", ".join(f"{a:#x} -> {b:#x}" for a, b in self.branches[-8:])
            text += f"; last branches: {arrows}"
        return text
