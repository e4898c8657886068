"""The order in which trampoline images are emitted, which the architectures share.

Facts: arch_prepare_bpf_trampoline (arch/x86/net/bpf_jit_comp.c) and prepare_trampoline
(arch/arm64/net/bpf_jit_comp.c). What each step is made of is the architectures' own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from tramposim.jit.assembler import Assembler, Label, Target
from tramposim.jit.shape import ProgramShape, Shape
from tramposim.kernel.frame import FUNC_META, RETURN_VALUE, argument
from tramposim.kernel.image import FrameLayout
from tramposim.kernel.nodes import TrampFlag

__all__ = ["Emission"]

A = TypeVar("A", bound=Assembler)


class Emission(ABC, Generic[A]):
    """Emits the image of `shape` into `asm`; slots of `frame` are addressed by their names.

    `argument_registers` are those that the calling convention passes arguments in, `result` the
    one that a function returns in.
    """

    argument_registers: tuple[int, ...]
    result: int

    def __init__(self, asm: A, shape: Shape, frame: FrameLayout) -> None:
        self.asm = asm
        self.shape = shape
        self.frame = frame
        self.offset = {slot.name: slot.offset for slot in frame.slots}
        flags = shape.flags
        self.calls_original = bool(flags & TrampFlag.CALL_ORIG)
        self.keeps_result = bool(flags & (TrampFlag.CALL_ORIG | TrampFlag.RET_FENTRY_RET))

    @property
    def context(self) -> int:
        """Offset of the programs' ctx: argument 0, right above func_meta."""
        return self.offset[FUNC_META] + 8

    def emit(self) -> None:
        """The whole image."""
        asm, shape = self.asm, self.shape
        after_fmod_ret = asm.label()
        asm.begin("prologue")
        self.prologue()
        self.save_arguments()
        if self.calls_original:
            self.call_tramp_enter()
        if shape.fsession:
            asm.begin("clear session slots")
            self.clear_session()
        for program in shape.fentry:
            keeps = bool(shape.flags & TrampFlag.RET_FENTRY_RET)
            self.call_program(program, keep_result=keeps)
        if shape.fmod_ret:
            self.call_fmod_ret(after_fmod_ret)
        if self.calls_original:
            self.call_original()
        self.bind_after_fmod_ret(after_fmod_ret)
        if shape.fsession:
            asm.begin("mark return")
            self.store_func_meta(shape.func_meta(self.frame, is_return=True))
        for program in shape.fexit:
            self.call_program(program, is_return=True)
        self.finish()
        asm.begin("epilogue")
        self.epilogue()

    def call_tramp_enter(self) -> None:
        """Take the image's reference for as long as the original function runs."""
        self.asm.begin("tramp_enter")
        self.load_im()
        self.call(self.shape.operands.tramp_enter, "__bpf_tramp_enter")

    def call_tramp_exit(self) -> None:
        """Give it back."""
        self.asm.begin("tramp_exit")
        self.load_im()
        self.call(self.shape.operands.tramp_exit, "__bpf_tramp_exit")

    def call_program(
        self, program: ProgramShape, is_return: bool = False, keep_result: bool = False
    ) -> None:
        """Enter, body unless the enter function returns 0, and exit of one program."""
        asm, shape = self.asm, self.shape
        skip, end = asm.label(), asm.label()

        asm.begin(f"enter {program.name}", program.subject)
        if program.cookie_number is not None:
            self.store_func_meta(shape.func_meta(self.frame, program, is_return))
        if shape.rules.skip_nops:
            start = asm.label()
            asm.bind(start)
            self.patchable_nop()
            asm.skips.append((program.subject, start, end))
        self.enter_program(program, skip)

        asm.begin(f"body {program.name}", program.subject)
        self.call_body(program)
        if keep_result:
            self.store(RETURN_VALUE, self.result)

        asm.bind(skip)
        asm.begin(f"exit {program.name}", program.subject)
        self.exit_program(program)
        asm.bind(end)

    def call_fmod_ret(self, done: Label) -> None:
        """The fmod_ret programs; one that returns other than 0 replaces the function."""
        asm = self.asm
        asm.begin("clear return value")
        self.clear_result()
        for program in self.shape.fmod_ret:
            self.call_program(program, keep_result=True)
            asm.begin(f"check {program.name}", program.subject)
            self.branch_on_result(done)

    def call_original(self) -> None:
        """The traced function behind its patched entry."""
        self.asm.begin("call original")
        self.load_arguments()
        self.push_stack_arguments()
        self.enter_original()
        self.store(RETURN_VALUE, self.result)
        if self.shape.rules.nop_after_original:
            self.patchable_nop()

    def load_arguments(self) -> None:
        """Registers as the traced function was entered with them."""
        for number, slot in enumerate(self.shape.placement.slots):
            if slot.register is not None:
                self.load(self.argument_registers[slot.register], argument(number))

    def bind_after_fmod_ret(self, label: Label) -> None:
        """Where a fmod_ret program that replaces the function goes on."""
        self.asm.bind(label)

    @abstractmethod
    def prologue(self) -> None:
        """Entry: landing pad and frame."""

    @abstractmethod
    def save_arguments(self) -> None:
        """func_meta, the function's address, the arguments, callee-saved registers."""

    @abstractmethod
    def clear_session(self) -> None:
        """Zero in the session cookies and the return value."""

    @abstractmethod
    def enter_program(self, program: ProgramShape, skip: Label) -> None:
        """run_ctx, the enter function, and the branch to `skip` if it returns 0."""

    @abstractmethod
    def call_body(self, program: ProgramShape) -> None:
        """The program itself, on the context."""

    @abstractmethod
    def exit_program(self, program: ProgramShape) -> None:
        """The exit function."""

    @abstractmethod
    def clear_result(self) -> None:
        """Zero in the slot of the return value."""

    @abstractmethod
    def branch_on_result(self, done: Label) -> None:
        """To `done` if the return value's slot is not 0."""

    @abstractmethod
    def push_stack_arguments(self) -> None:
        """Arguments that the function takes on the stack."""

    @abstractmethod
    def enter_original(self) -> None:
        """To the traced function and back."""

    @abstractmethod
    def finish(self) -> None:
        """tramp_exit, and the arguments' registers if the image returns into the function."""

    @abstractmethod
    def epilogue(self) -> None:
        """Result, callee-saved registers, frame, return."""

    @abstractmethod
    def patchable_nop(self) -> None:
        """A nop that the kernel turns into a jump."""

    @abstractmethod
    def load_im(self) -> None:
        """The image's struct bpf_tramp_image as the first argument of a call."""

    @abstractmethod
    def call(self, target: Target, symbol: str = "") -> None:
        """A call of the kernel function `symbol`, or of a program."""

    @abstractmethod
    def store_func_meta(self, value: int) -> None:
        """The word below the context."""

    @abstractmethod
    def store(self, name: str, source: int) -> None:
        """A register into a slot of the frame."""

    @abstractmethod
    def load(self, to: int, name: str) -> None:
        """A slot of the frame into a register."""
