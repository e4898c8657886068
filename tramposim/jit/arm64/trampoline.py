"""arm64 trampoline images: what is emitted, in the order in which it is emitted.

Facts: prepare_trampoline (arch/arm64/net/bpf_jit_comp.c), checked against images of booted
kernels. The frame is drawn in `tramposim.kernel.frame.arm64_frame`.
"""

from __future__ import annotations

from tramposim.jit.arm64.assembler import FP, LR, SP, XZR, Arm64Assembler
from tramposim.jit.assembler import Label, Operand
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


class _Trampoline:
    def __init__(self, asm: Arm64Assembler, shape: Shape) -> None:
        flags = shape.flags
        self.asm = asm
        self.shape = shape
        self.calls_original = bool(flags & TrampFlag.CALL_ORIG)
        self.keeps_result = bool(flags & (TrampFlag.CALL_ORIG | TrampFlag.RET_FENTRY_RET))
        # A traced function is entered with its caller's return address in x9 and its own in
        # lr, and gets a frame for each; a struct_ops image is called like any function.
        self.traced = not flags & TrampFlag.INDIRECT
        self.frame = arm64_frame(flags, shape.placement, shape.cookies)
        self.offset = {slot.name: slot.offset for slot in self.frame.slots}

    def emit(self) -> None:
        asm, shape, flags = self.asm, self.shape, self.shape.flags
        do_fexit = asm.label()

        self.prologue()
        self.save_arguments()
        if self.calls_original:
            self.tramp_call("tramp_enter", shape.operands.tramp_enter)
        if shape.fsession:
            self.clear_session()
        for program in shape.fentry:
            self.call_program(
                program,
                keep_result=bool(flags & TrampFlag.RET_FENTRY_RET),
            )
        if shape.fmod_ret:
            self.call_fmod_ret(do_fexit)
        if self.calls_original:
            self.call_original()
        asm.bind(do_fexit)
        if shape.fsession:
            asm.begin("mark return")
            self.store_func_meta(shape.func_meta(self.frame, is_return=True))
        for program in shape.fexit:
            self.call_program(program, is_return=True)
        if self.calls_original:
            self.tramp_call("tramp_exit", shape.operands.tramp_exit)
        if flags & TrampFlag.RESTORE_REGS:
            asm.begin("restore args")
            self.load_arguments()
        self.epilogue()

    def prologue(self) -> None:
        asm = self.asm
        asm.begin("prologue")
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
                self.store(argument(number), slot.register)
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

    def load_arguments(self) -> None:
        for number, slot in enumerate(self.shape.placement.slots):
            if slot.register is not None:
                self.load(slot.register, argument(number))

    def push_stack_arguments(self) -> None:
        for slot in self.shape.placement.slots:
            if slot.stack is not None:
                self.asm.ldr(SCRATCH, FP, self.incoming(slot.stack))
                self.asm.str(SCRATCH, SP, self.offset[STACK_ARGUMENTS] + 8 * slot.stack)

    def tramp_call(self, name: str, target: Operand) -> None:
        self.asm.begin(name)
        self.asm.mov_imm(X0, self.shape.operands.im)
        self.asm.call(target)

    def clear_session(self) -> None:
        self.asm.begin("clear session slots")
        self.asm.movz(SCRATCH, 0)
        for number in range(self.shape.cookies):
            self.store(session_cookie(number), SCRATCH)
        self.store(RETURN_VALUE, SCRATCH)

    def call_program(
        self, program: ProgramShape, is_return: bool = False, keep_result: bool = False
    ) -> None:
        asm, shape = self.asm, self.shape
        skip, end = asm.label(), asm.label()

        asm.begin(f"enter {program.name}", program.subject)
        if program.cookie_number is not None:
            self.store_func_meta(shape.func_meta(self.frame, program, is_return))
        if shape.rules.skip_nops:
            start = asm.label()
            asm.bind(start)
            asm.nop()
            asm.skips.append((program.subject, start, end))
        asm.store_imm(program.cookie, SCRATCH, SP, self.offset[RUN_CTX] + RUN_CTX_COOKIE)
        asm.mov_address(PROG, program.p)
        asm.mov(X0, PROG)
        asm.add_imm(X1, SP, self.offset[RUN_CTX])
        asm.call(program.enter)
        asm.mov(START, X0)
        asm.cbz(X0, skip)

        asm.begin(f"body {program.name}", program.subject)
        asm.add_imm(X0, SP, self.context)
        asm.call(program.bpf_func)
        if keep_result:
            self.store(RETURN_VALUE, X0)

        asm.bind(skip)
        asm.begin(f"exit {program.name}", program.subject)
        asm.mov(X0, PROG)
        asm.mov(X1, START)
        asm.add_imm(X2, SP, self.offset[RUN_CTX])
        asm.call(program.exit)
        asm.bind(end)

    @property
    def context(self) -> int:
        """Offset of the programs' ctx: argument 0, right above func_meta."""
        return self.offset[FUNC_META] + 8

    def call_fmod_ret(self, do_fexit: Label) -> None:
        asm = self.asm
        asm.begin("clear return value")
        self.store(RETURN_VALUE, XZR)
        for program in self.shape.fmod_ret:
            self.call_program(program, keep_result=True)
            asm.begin(f"check {program.name}", program.subject)
            self.load(SCRATCH, RETURN_VALUE)
            asm.cbnz(SCRATCH, do_fexit)

    def call_original(self) -> None:
        asm, shape = self.asm, self.shape
        back = asm.label()
        asm.begin("call original")
        self.load_arguments()
        self.push_stack_arguments()
        # The return address into the traced function, behind its patched entry.
        self.load(SCRATCH, RETURN_ADDRESS)
        asm.adr(LR, back)
        asm.ret(SCRATCH)
        asm.bind(back)
        self.store(RETURN_VALUE, X0)
        if shape.rules.nop_after_original:
            asm.nop()

    def epilogue(self) -> None:
        asm = self.asm
        asm.begin("epilogue")
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

    def store_func_meta(self, value: int) -> None:
        self.asm.mov_imm(SCRATCH, value)
        self.store(FUNC_META, SCRATCH)

    def store(self, name: str, source: int) -> None:
        self.asm.str(source, SP, self.offset[name])

    def load(self, to: int, name: str) -> None:
        self.asm.ldr(to, SP, self.offset[name])
