"""x86_64 trampoline images: what each step of `tramposim.jit.emission` emits.

Facts: arch_prepare_bpf_trampoline (arch/x86/net/bpf_jit_comp.c), checked against images of
booted kernels. The frame is drawn in `tramposim.kernel.frame.x86_64_frame`.
"""

from __future__ import annotations

from tramposim.jit.assembler import Label, Operand, Target
from tramposim.jit.emission import Emission
from tramposim.jit.shape import ProgramShape, Shape
from tramposim.jit.x86_64.assembler import (
    CC_E,
    CC_NE,
    R8,
    R9,
    RAX,
    RBP,
    RBX,
    RCX,
    RDI,
    RDX,
    RSI,
    RSP,
    X86Assembler,
)  # fmt: skip
from tramposim.kernel.frame import (
    FUNC_META,
    IP,
    RETURN_VALUE,
    RUN_CTX,
    RUN_CTX_COOKIE,
    SAVED_RBX,
    STACK_ARGUMENTS,
    argument,
    session_cookie,
    x86_64_frame,
)  # fmt: skip
from tramposim.kernel.image import FrameLayout
from tramposim.kernel.nodes import TrampFlag
from tramposim.spec import Returns

__all__ = ["emit_trampoline"]

PATCH_SIZE = 5
"""Bytes of a patched site: a call, a jmp or a nop (X86_PATCH_SIZE)."""


def emit_trampoline(asm: X86Assembler, shape: Shape) -> FrameLayout:
    """Emit the image of `shape` into `asm`; returns its frame."""
    trampoline = _Trampoline(asm, shape)
    trampoline.emit()
    return trampoline.frame


class _Trampoline(Emission[X86Assembler]):
    argument_registers = (RDI, RSI, RDX, RCX, R8, R9)
    result = RAX

    def __init__(self, asm: X86Assembler, shape: Shape) -> None:
        flags = shape.flags
        self.jmp_entry = bool(flags & TrampFlag.CALL_ORIG) and not flags & TrampFlag.SKIP_FRAME
        self.stuffing = shape.kernel.returns is Returns.STUFFING
        super().__init__(
            asm, shape, x86_64_frame(flags, shape.placement, shape.cookies, self.jmp_entry)
        )

    def prologue(self) -> None:
        asm, flags = self.asm, self.shape.flags
        if flags & TrampFlag.INDIRECT:
            if self.shape.kernel.ibt:
                asm.endbr64()
        elif self.stuffing:
            # For the call that entered the image, which the kernel did not account.
            asm.account_call(self.shape.operands.call_depth)
        asm.push(RBP)
        asm.mov(RBP, RSP)
        asm.sub_imm(RSP, self.frame.size)
        if flags & TrampFlag.TAIL_CALL_CTX:
            asm.push(RAX)
        self.store(SAVED_RBX, RBX)

    def save_arguments(self) -> None:
        asm, shape = self.asm, self.shape
        asm.begin("func_meta")
        self.store_func_meta(shape.func_meta(self.frame))
        if IP in self.offset:
            asm.begin("function address")
            self.store_imm(IP, shape.operands.func_addr)
        if shape.placement.slots:
            asm.begin("save args")
        for number, slot in enumerate(shape.placement.slots):
            if slot.register is not None:
                self.store(argument(number), self.argument_registers[slot.register])
            elif slot.stack is not None:
                asm.load(RAX, RBP, self.incoming(slot.stack))
                self.store(argument(number), RAX)
        if shape.placement.stack == 1 and shape.last_argument_size <= 4:
            last = next(n for n, s in enumerate(shape.placement.slots) if s.stack == 0)
            asm.store_imm32(RBP, self.offset[argument(last)] + 4, 0)

    def incoming(self, stack_slot: int) -> int:
        """Where the caller pushed a stack argument: above rbp lie the saved rbp, the
        caller's return address and, unless entered by jmp, the one into the function."""
        return (16 if self.jmp_entry else 24) + 8 * stack_slot

    def push_stack_arguments(self) -> None:
        asm, shape = self.asm, self.shape
        for slot in shape.placement.slots:
            if slot.stack is not None:
                asm.load(RAX, RBP, self.incoming(slot.stack))
                asm.store(RBP, self.offset[STACK_ARGUMENTS] + 8 * slot.stack, RAX)
        if shape.placement.stack == 1 and shape.last_argument_size <= 4:
            asm.store_imm32(RBP, self.offset[STACK_ARGUMENTS] + 4, 0)

    def load_im(self) -> None:
        self.asm.mov_imm(RDI, self.shape.operands.im)

    def clear_session(self) -> None:
        for number in range(self.shape.cookies):
            self.store_imm(session_cookie(number), 0)
        self.clear_result()

    def patchable_nop(self) -> None:
        self.asm.nop(PATCH_SIZE)

    def enter_program(self, program: ProgramShape, skip: Label) -> None:
        asm = self.asm
        asm.mov_imm(RDI, program.cookie)
        asm.store(RBP, self.offset[RUN_CTX] + RUN_CTX_COOKIE, RDI)
        asm.mov_imm(RDI, program.p)
        asm.lea(RSI, RBP, self.offset[RUN_CTX])
        self.call(program.enter, program.enter_symbol)
        asm.mov(RBX, RAX)
        asm.test(RAX, RAX)
        asm.jcc_short(CC_E, skip)

    def call_body(self, program: ProgramShape) -> None:
        self.asm.lea(RDI, RBP, self.context)
        self.call(program.bpf_func)

    def exit_program(self, program: ProgramShape) -> None:
        asm = self.asm
        asm.mov_imm(RDI, program.p)
        asm.mov(RSI, RBX)
        asm.lea(RDX, RBP, self.offset[RUN_CTX])
        self.call(program.exit, program.exit_symbol)

    def clear_result(self) -> None:
        self.store_imm(RETURN_VALUE, 0)

    def branch_on_result(self, done: Label) -> None:
        self.asm.cmp_mem_imm8(RBP, self.offset[RETURN_VALUE], 0)
        self.asm.jcc(CC_NE, done)

    def enter_original(self) -> None:
        if self.shape.flags & TrampFlag.TAIL_CALL_CTX:
            self.load_tail_call_counter()
        self.call(self.shape.operands.original)

    def bind_after_fmod_ret(self, label: Label) -> None:
        if self.shape.fmod_ret:
            self.asm.align(16)
        super().bind_after_fmod_ret(label)

    def finish(self) -> None:
        asm, flags = self.asm, self.shape.flags
        if flags & TrampFlag.RESTORE_REGS:
            asm.begin("restore args")
            self.load_arguments()
        if self.calls_original:
            self.call_tramp_exit()
        elif flags & TrampFlag.TAIL_CALL_CTX:
            asm.begin("tail call counter")
            self.load_tail_call_counter()

    def load_tail_call_counter(self) -> None:
        """rax, which the prologue pushed: a program that tail-calls expects it there."""
        self.asm.load_wide(RAX, RBP, -self.frame.size - 8)

    def epilogue(self) -> None:
        asm, shape = self.asm, self.shape
        if self.keeps_result:
            self.load(RAX, RETURN_VALUE)
        self.load(RBX, SAVED_RBX)
        asm.leave()
        if shape.flags & TrampFlag.SKIP_FRAME:
            asm.add_imm(RSP, 8)
        if shape.kernel.returns is Returns.PLAIN:
            asm.ret()
            asm.int3()
        else:
            asm.jmp(shape.operands.return_thunk)

    def call(self, target: Target, symbol: str = "") -> None:
        """A call, preceded by call-depth accounting unless the callee's padding has it."""
        if self.stuffing and symbol not in self.shape.padded:
            self.asm.account_call(self.shape.operands.call_depth)
        self.asm.call(target)

    def store_func_meta(self, value: int) -> None:
        self.store_imm(FUNC_META, value)

    def store_imm(self, name: str, value: Operand) -> None:
        self.asm.mov_imm(RAX, value)
        self.store(name, RAX)

    def store(self, name: str, source: int) -> None:
        self.asm.store(RBP, self.offset[name], source)

    def load(self, to: int, name: str) -> None:
        self.asm.load(to, RBP, self.offset[name])
