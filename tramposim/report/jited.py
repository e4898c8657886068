"""An image as the expected lines of a kernel selftest: `__jited("...")`.

BPF selftests compare what the JIT emitted with such lines. Their text is LLVM's with hex
immediates; branches inside the code go to labels L0, L1, ...; what differs from boot to boot
(call targets, addresses of kernel objects) matches anything: `{{.*}}`. Format:
tools/testing/selftests/bpf/jit_disasm_helpers.c and prog_tests/verifier.c.
"""

from __future__ import annotations

import re

from tramposim.kernel.image import Image
from tramposim.machine.disassembly import Instruction, disassemble
from tramposim.spec import Arch

__all__ = ["jited_text"]

ANYTHING = "{{.*}}"
_KERNEL_HALF = 0xFF00 << 48
"""Constants from here up are taken as kernel addresses."""
_DECIMAL = re.compile(r"([$#]-?)([0-9]+)\b(?!x)")
_DISPLACEMENT = re.compile(r"(?<![0-9a-zA-Z$])(-?)([0-9]+)\(")
_SHIFT = re.compile(r"(lsl )#0x([0-9a-f]+)")
_TARGET = re.compile(r"#?(0x[0-9a-f]+)$")
_CONSTANT = re.compile(r"([$#])(-?(?:0x[0-9a-f]+|[0-9]+))")
_CALLS = {"callq", "bl"}
_BRANCHES = re.compile(r"^(j[a-z]+|b|b\.[a-z]+|cbn?z|tbn?z)$")
_ARM64_MOVES = ("mov", "movz", "movn", "movk")


def jited_text(image: Image) -> str:
    """The lines of a whole image, in order, without the bytes behind its last return."""
    instructions = list(disassemble(image.arch, image.code, image.address, att=True))
    if image.arch is Arch.X86_64 and instructions and instructions[-1].mnemonic == "int3":
        instructions.pop()
    labels = _labels(image, instructions)
    varying = _varying_moves(instructions) if image.arch is Arch.ARM64 else set()
    lines = []
    for insn in instructions:
        text = _text(image.arch, insn, labels, insn.address in varying)
        label = labels.get(insn.address)
        lines.append(f'__jited("{f"{label}:" if label else ""}\t{text}")')
    return "\n".join(lines) + "\n"


def _target(insn: Instruction) -> int | None:
    match = _TARGET.search(insn.operands) if _BRANCHES.match(insn.mnemonic) else None
    return int(match[1], 16) if match else None


def _labels(image: Image, instructions: list[Instruction]) -> dict[int, str]:
    """Labels of the branch targets inside the image, numbered by address."""
    inside = range(image.address, image.address + len(image.code))
    found = (_target(insn) for insn in instructions)
    targets = {target for target in found if target is not None and target in inside}
    return {target: f"L{number}" for number, target in enumerate(sorted(targets))}


def _varying_moves(instructions: list[Instruction]) -> set[int]:
    """Addresses of the arm64 instructions that together load a kernel address."""
    varying: set[int] = set()
    sequence: list[int] = []
    value, register = 0, ""
    for insn in [*instructions, Instruction(0, b"", "nop", "")]:
        loaded = insn.operands.split(",")[0]
        constant = _CONSTANT.search(insn.operands)
        is_move = insn.mnemonic in _ARM64_MOVES and constant is not None
        if not (is_move and insn.mnemonic == "movk" and loaded == register):
            if value >= _KERNEL_HALF and len(sequence) > 1:
                varying.update(sequence)
            sequence, value, register = [], 0, loaded
        if is_move and constant is not None:
            number = int(constant[2], 0) & (1 << 64) - 1
            shift = re.search(r"lsl #([0-9]+)", insn.operands)
            by = int(shift[1]) if shift else 0
            is_first = insn.mnemonic != "movk"
            value = number if is_first else value & ~(0xFFFF << by) | number << by
            sequence.append(insn.address)
    return varying


def _text(arch: Arch, insn: Instruction, labels: dict[int, str], varying: bool) -> str:
    """One instruction as LLVM prints it, its variable operand replaced."""
    if insn.mnemonic in _CALLS:
        return f"{insn.mnemonic}\t{ANYTHING}"
    target = _target(insn)
    if target is not None:
        before = insn.operands[: _TARGET.search(insn.operands).start()]  # type: ignore[union-attr]
        return f"{insn.mnemonic}\t{before}{labels.get(target, ANYTHING)}"
    if insn.mnemonic == "adr" or varying:
        register, _, rest = insn.operands.partition(", ")
        shift = f", {rest.partition(', ')[2]}" if ", lsl" in rest else ""
        return f"{insn.mnemonic}\t{register}, {ANYTHING}{shift}"
    operands = insn.operands
    if arch is Arch.X86_64:
        constant = _CONSTANT.search(operands)
        value = int(constant[2], 0) if constant else 0
        if constant and value & (1 << 64) - 1 >= _KERNEL_HALF and abs(value) >= 1 << 16:
            operands = operands.replace(constant[0], f"${ANYTHING}")
        elif constant and value >= 1 << 63:
            operands = operands.replace(constant[0], f"${value - (1 << 64):#x}")
        operands = _DISPLACEMENT.sub(lambda m: f"{m[1]}{int(m[2]):#x}(", operands)
        operands = re.sub(r"\((%[a-z0-9]+), (%[a-z0-9]+)", r"(\1,\2", operands)
    operands = _DECIMAL.sub(lambda m: f"{m[1]}{int(m[2]):#x}", operands)
    operands = _SHIFT.sub(lambda m: f"{m[1]}#{int(m[2], 16)}", operands)
    if insn.mnemonic in ("lsl", "lsr", "asr"):
        head, _, amount = operands.rpartition("#")
        operands = f"{head}#{int(amount, 0)}" if head else operands
    return f"{insn.mnemonic}\t{operands}" if operands else insn.mnemonic
