"""x86_64 trampoline images: what is emitted, in the order in which it is emitted.

Facts: arch_prepare_bpf_trampoline (arch/x86/net/bpf_jit_comp.c), checked against images of
booted kernels. The frame is drawn in `tramposim.kernel.frame.x86_64_frame`.
"""

from __future__ import annotations

from tramposim.jit.assembler import Label, Operand, Target
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

ARGUMENT_REGISTERS = (RDI, RSI, RDX, RCX, R8, R9)
PATCH_SIZE = 5
"""Bytes of a patched site: a call, a jmp or a nop (X86_PATCH_SIZE)."""


def emit_trampoline(asm: X86Assembler, shape: Shape) -> FrameLayout:
    """Emit the image of `shape` into `asm`; returns its frame."""
    trampoline = _Trampoline(asm, shape)
    trampoline.emit()
    return trampoline.frame


class _Trampoline:
    def __init__(self, asm: X86Assembler, shape: Shape) -> None:
        flags = shape.flags
        self.asm = asm
        self.shape = shape
        self.calls_original = bool(flags & TrampFlag.CALL_ORIG)
        self.keeps_result = bool(flags & (TrampFlag.CALL_ORIG | TrampFlag.RET_FENTRY_RET))
        self.jmp_entry = self.calls_original and not flags & TrampFlag.SKIP_FRAME
        self.stuffing = shape.kernel.returns is Returns.STUFFING
        self.frame = x86_64_frame(flags, shape.placement, shape.cookies, self.jmp_entry)
        self.offset = {slot.name: slot.offset for slot in self.frame.slots}

    def emit(self) -> None:
        asm, shape, flags = self.asm, self.shape, self.shape.flags
        do_fexit = asm.label()

        self.prologue()
        self.save_arguments()
        if self.calls_original:
            self.tramp_call("tramp_enter", shape.operands.tramp_enter, "__bpf_tramp_enter")
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
        if shape.fmod_ret:
            asm.align(16)
        asm.bind(do_fexit)
        if shape.fsession:
            asm.begin("mark return")
            self.store_func_meta(shape.func_meta(self.frame, is_return=True))
        for program in shape.fexit:
            self.call_program(program, is_return=True)
        if flags & TrampFlag.RESTORE_REGS:
            asm.begin("restore args")
            self.load_arguments()
        if self.calls_original:
            self.tramp_call("tramp_exit", shape.operands.tramp_exit, "__bpf_tramp_exit")
        elif flags & TrampFlag.TAIL_CALL_CTX:
            asm.begin("tail call counter")
            self.load_tail_call_counter()
        self.epilogue()

    def prologue(self) -> None:
        asm, flags = self.asm, self.shape.flags
        asm.begin("prologue")
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
                self.store(argument(number), ARGUMENT_REGISTERS[slot.register])
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

    def load_arguments(self) -> None:
        for number, slot in enumerate(self.shape.placement.slots):
            if slot.register is not None:
                self.load(ARGUMENT_REGISTERS[slot.register], argument(number))

    def push_stack_arguments(self) -> None:
        asm, shape = self.asm, self.shape
        for slot in shape.placement.slots:
            if slot.stack is not None:
                asm.load(RAX, RBP, self.incoming(slot.stack))
                asm.store(RBP, self.offset[STACK_ARGUMENTS] + 8 * slot.stack, RAX)
        if shape.placement.stack == 1 and shape.last_argument_size <= 4:
            asm.store_imm32(RBP, self.offset[STACK_ARGUMENTS] + 4, 0)

    def tramp_call(self, name: str, target: Operand, symbol: str) -> None:
        self.asm.begin(name)
        self.asm.mov_imm(RDI, self.shape.operands.im)
        self.call(target, symbol)

    def clear_session(self) -> None:
        self.asm.begin("clear session slots")
        for number in range(self.shape.cookies):
            self.store_imm(session_cookie(number), 0)
        self.store_imm(RETURN_VALUE, 0)

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
            asm.nop(PATCH_SIZE)
            asm.skips.append((program.subject, start, end))
        asm.mov_imm(RDI, program.cookie)
        asm.store(RBP, self.offset[RUN_CTX] + RUN_CTX_COOKIE, RDI)
        asm.mov_imm(RDI, program.p)
        asm.lea(RSI, RBP, self.offset[RUN_CTX])
        self.call(program.enter, program.enter_symbol)
        asm.mov(RBX, RAX)
        asm.test(RAX, RAX)
        asm.jcc_short(CC_E, skip)

        asm.begin(f"body {program.name}", program.subject)
        asm.lea(RDI, RBP, self.context)
        self.call(program.bpf_func)
        if keep_result:
            self.store(RETURN_VALUE, RAX)

        asm.bind(skip)
        asm.begin(f"exit {program.name}", program.subject)
        asm.mov_imm(RDI, program.p)
        asm.mov(RSI, RBX)
        asm.lea(RDX, RBP, self.offset[RUN_CTX])
        self.call(program.exit, program.exit_symbol)
        asm.bind(end)

    @property
    def context(self) -> int:
        """Offset of the programs' ctx: argument 0, right above func_meta."""
        return self.offset[FUNC_META] + 8

    def call_fmod_ret(self, do_fexit: Label) -> None:
        asm = self.asm
        asm.begin("clear return value")
        self.store_imm(RETURN_VALUE, 0)
        for program in self.shape.fmod_ret:
            self.call_program(program, keep_result=True)
            asm.begin(f"check {program.name}", program.subject)
            asm.cmp_mem_imm8(RBP, self.offset[RETURN_VALUE], 0)
            asm.jcc(CC_NE, do_fexit)

    def call_original(self) -> None:
        asm, shape = self.asm, self.shape
        asm.begin("call original")
        self.load_arguments()
        self.push_stack_arguments()
        if shape.flags & TrampFlag.TAIL_CALL_CTX:
            self.load_tail_call_counter()
        self.call(shape.operands.original)
        self.store(RETURN_VALUE, RAX)
        if shape.rules.nop_after_original:
            asm.nop(PATCH_SIZE)

    def load_tail_call_counter(self) -> None:
        """rax, which the prologue pushed: a program that tail-calls expects it there."""
        self.asm.load_wide(RAX, RBP, -self.frame.size - 8)

    def epilogue(self) -> None:
        asm, shape = self.asm, self.shape
        asm.begin("epilogue")
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
