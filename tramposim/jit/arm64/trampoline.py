"""arm64 trampoline images: what each step of `tramposim.jit.emission` emits.

Facts: prepare_trampoline (arch/arm64/net/bpf_jit_comp.c), checked against images of booted
kernels. The frame is drawn in `tramposim.kernel.frame.arm64_frame`.
"""

from __future__ import annotations

from tramposim.jit.arm64.assembler import FP, LR, SP, XZR, Arm64Assembler
from tramposim.jit.assembler import Label, Target
from tramposim.jit.emission import Emission
from tramposim.jit.shape import ProgramShape, Shape
from tramposim.kernel.frame import (
    FUNC_META,
    IP,
    RETURN_ADDRESS,
    RETURN_VALUE,
    RUN_CTX,
    RUN_CTX_COOKIE,
    SAVED_X19,
    SAVED_X20,
    STACK_ARGUMENTS,
    argument,
    arm64_frame,
    session_cookie,
)  # fmt: skip
from tramposim.kernel.image import FrameLayout
from tramposim.kernel.nodes import TrampFlag

__all__ = ["emit_trampoline"]

X0, X1, X2, X9, X10, X19, X20 = 0, 1, 2, 9, 10, 19, 20
PROG, START, SCRATCH = X19, X20, X10


def emit_trampoline(asm: Arm64Assembler, shape: Shape) -> FrameLayout:
    """Emit the image of `shape` into `asm`; returns its frame."""
    trampoline = _Trampoline(asm, shape)
    trampoline.emit()
    return trampoline.frame


class _Trampoline(Emission[Arm64Assembler]):
    argument_registers = tuple(range(8))
    result = X0

    def __init__(self, asm: Arm64Assembler, shape: Shape) -> None:
        flags = shape.flags
        # A traced function is entered with its caller's return address in x9 and its own in
        # lr, and gets a frame for each; a struct_ops image is called like any function.
        self.traced = not flags & TrampFlag.INDIRECT
        super().__init__(asm, shape, arm64_frame(flags, shape.placement, shape.cookies))

    def prologue(self) -> None:
        asm = self.asm
        if self.shape.kernel.bti:
            asm.bti_jc()  # entered by bl, br (through ftrace or a PLT) or blr (struct_ops)
        if self.traced:
            asm.push_pair(FP, X9)
            asm.mov(FP, SP)
        asm.push_pair(FP, LR)
        asm.mov(FP, SP)
        asm.sub_imm(SP, SP, self.frame.size)

    def save_arguments(self) -> None:
        asm, shape = self.asm, self.shape
        if IP in self.offset:
            asm.begin("function address")
            asm.mov_address(SCRATCH, shape.operands.func_addr)
            self.store(IP, SCRATCH)
        asm.begin("func_meta")
        if shape.rules.wide_meta:
            asm.movz(SCRATCH, shape.func_meta(self.frame))
        else:
            asm.mov_imm(SCRATCH, shape.func_meta(self.frame))
        self.store(FUNC_META, SCRATCH)
        asm.begin("save args")
        for number, slot in enumerate(shape.placement.slots):
            if slot.register is not None:
                self.store(argument(number), self.argument_registers[slot.register])
            elif slot.stack is not None:
                asm.ldr(SCRATCH, FP, self.incoming(slot.stack))
                if slot.used < 8:
                    asm.clear_upper(SCRATCH, slot.used)
                self.store(argument(number), SCRATCH)
        self.store(SAVED_X19, X19)
        self.store(SAVED_X20, X20)

    def incoming(self, stack_slot: int) -> int:
        """Where the caller left a stack argument: above the frames pushed by the prologue."""
        return (32 if self.traced else 16) + 8 * stack_slot

    def push_stack_arguments(self) -> None:
        for slot in self.shape.placement.slots:
            if slot.stack is not None:
                self.asm.ldr(SCRATCH, FP, self.incoming(slot.stack))
                self.asm.str(SCRATCH, SP, self.offset[STACK_ARGUMENTS] + 8 * slot.stack)

    def load_im(self) -> None:
        self.asm.mov_imm(X0, self.shape.operands.im)

    def clear_session(self) -> None:
        self.asm.movz(SCRATCH, 0)
        for number in range(self.shape.cookies):
            self.store(session_cookie(number), SCRATCH)
        self.store(RETURN_VALUE, SCRATCH)

    def patchable_nop(self) -> None:
        self.asm.nop()

    def enter_program(self, program: ProgramShape, skip: Label) -> None:
        asm = self.asm
        asm.store_imm(program.cookie, SCRATCH, SP, self.offset[RUN_CTX] + RUN_CTX_COOKIE)
        asm.mov_address(PROG, program.p)
        asm.mov(X0, PROG)
        asm.add_imm(X1, SP, self.offset[RUN_CTX])
        self.call(program.enter)
        asm.mov(START, X0)
        asm.cbz(X0, skip)

    def call_body(self, program: ProgramShape) -> None:
        self.asm.add_imm(X0, SP, self.context)
        self.call(program.bpf_func)

    def exit_program(self, program: ProgramShape) -> None:
        asm = self.asm
        asm.mov(X0, PROG)
        asm.mov(X1, START)
        asm.add_imm(X2, SP, self.offset[RUN_CTX])
        self.call(program.exit)

    def clear_result(self) -> None:
        self.store(RETURN_VALUE, XZR)

    def branch_on_result(self, done: Label) -> None:
        self.load(SCRATCH, RETURN_VALUE)
        self.asm.cbnz(SCRATCH, done)

    def enter_original(self) -> None:
        asm = self.asm
        back = asm.label()
        # The return address into the traced function, behind its patched entry.
        self.load(SCRATCH, RETURN_ADDRESS)
        asm.adr(LR, back)
        asm.ret(SCRATCH)
        asm.bind(back)

    def finish(self) -> None:
        if self.calls_original:
            self.call_tramp_exit()
        if self.shape.flags & TrampFlag.RESTORE_REGS:
            self.asm.begin("restore args")
            self.load_arguments()

    def epilogue(self) -> None:
        asm = self.asm
        self.load(X19, SAVED_X19)
        self.load(X20, SAVED_X20)
        if self.keeps_result:
            self.load(X0, RETURN_VALUE)
        asm.mov(SP, FP)
        asm.pop_pair(FP, LR)
        if not self.traced:
            asm.ret()
            return
        asm.pop_pair(FP, X9)
        if self.shape.flags & TrampFlag.SKIP_FRAME:
            asm.mov(LR, X9)
            asm.ret(X9)
        else:
            asm.mov(X10, LR)
            asm.mov(LR, X9)
            asm.ret(X10)

    def call(self, target: Target, symbol: str = "") -> None:
        self.asm.call(target)

    def store_func_meta(self, value: int) -> None:
        self.asm.mov_imm(SCRATCH, value)
        self.store(FUNC_META, SCRATCH)

    def store(self, name: str, source: int) -> None:
        self.asm.str(source, SP, self.offset[name])

    def load(self, to: int, name: str) -> None:
        self.asm.ldr(to, SP, self.offset[name])
