"""Listings of images: disassembly with every part, call target and frame slot named."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tramposim.kernel.image import FrameLayout, Image, Part
from tramposim.machine.disassembly import disassemble
from tramposim.spec import Arch

__all__ = ["Line", "frame_text", "image_lines", "listing_text"]

_X86_SLOT = re.compile(r"\[rbp ([+-]) (0x[0-9a-f]+|[0-9]+)\]")
_ARM64_SLOT = re.compile(r"\[sp(?:, #(0x[0-9a-f]+|[0-9]+))?\]$")
_ADD_SP = re.compile(r"x[0-7], sp(?:, #(0x[0-9a-f]+|[0-9]+))?$")
_NUMBER = re.compile(r"#?(0x[0-9a-f]+|[0-9]+)$")
_MOVE = re.compile(r"x([0-9]+), #(-?(?:0x[0-9a-f]+|[0-9]+))(?:, lsl #([0-9]+))?$")

_BRANCHES = {
    Arch.X86_64: re.compile(r"^(call|j[a-z]+)$"),
    Arch.ARM64: re.compile(r"^(bl?|b\.[a-z]+|cbn?z|tbn?z|adr)$"),
}


@dataclass(frozen=True, slots=True)
class Line:
    """One instruction: offset in the image, bytes, text, what its operand is (or empty)."""

    offset: int
    code: bytes
    text: str
    note: str = ""


def image_lines(image: Image) -> Iterator[Line]:
    """Instructions of an image in order, with branch targets and frame slots named."""
    notes = _Notes(image)
    for insn in disassemble(image.arch, image.code, image.address):
        offset = insn.address - image.address
        text, note = notes.of(insn.mnemonic, insn.operands)
        yield Line(offset, insn.code, text, note)


class _Notes:
    """Names for the operands of instructions, read in order."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self._constants: dict[int, int] = {}
        """arm64 registers that hold a constant built by movz/movn/movk."""

    def of(self, mnemonic: str, operands: str) -> tuple[str, str]:
        """Text of an instruction with its branch target named, and a note."""
        image = self._image
        text = f"{mnemonic} {operands}".strip()
        if _BRANCHES[image.arch].match(mnemonic):
            number = _NUMBER.search(operands)
            if number:
                before = operands[: number.start()]
                return f"{mnemonic} {before}{self._place(int(number[1], 0))}".strip(), ""
        if image.arch is Arch.ARM64:
            self._follow(mnemonic, operands)
            if mnemonic in ("blr", "br") and operands[1:].isdigit():
                target = self._constants.get(int(operands[1:]))
                return text, self._place(target) if target is not None else ""
        return text, self._slot(operands)

    def _place(self, address: int) -> str:
        image = self._image
        if address in image.symbols:
            return image.symbols[address]
        offset = address - image.address
        if 0 <= offset <= len(image.code):
            return f"+{offset:#x}"
        return f"{address:#x}"

    def _follow(self, mnemonic: str, operands: str) -> None:
        match = _MOVE.match(operands)
        if not match or mnemonic not in ("mov", "movz", "movn", "movk"):
            return
        register, value, shift = int(match[1]), int(match[2], 0), int(match[3] or 0)
        if mnemonic == "movk":
            known = self._constants.get(register, 0)
            value = known & ~(0xFFFF << shift) | value << shift
        self._constants[register] = value & (1 << 64) - 1

    def _slot(self, operands: str) -> str:
        frame = self._image.frame
        if frame is None:
            return ""
        if frame.base == "rbp":
            match = _X86_SLOT.search(operands)
            offset = int(match[1] + match[2].removeprefix("0x"), _base(match[2])) if match else None
        else:
            match = _ARM64_SLOT.search(operands) or _ADD_SP.search(operands)
            offset = int(match[1] or "0", 0) if match else None
        if offset is None:
            return ""
        return next((s.name for s in frame.slots if s.offset <= offset < s.offset + s.size), "")


def _base(text: str) -> int:
    return 16 if text.startswith("0x") else 10


def listing_text(image: Image, title: str) -> str:
    """The whole listing: a heading, then each part's name followed by its instructions."""
    lines = [
        f"{title}: {len(image.code)} bytes of code, {image.size} with fill, at {image.address:#x}"
    ]
    parts = iter(image.parts)
    upcoming: Part | None = next(parts, None)
    instructions = list(image_lines(image))
    widest = max((len(insn.code) for insn in instructions), default=0)
    longest = max((len(insn.text) for insn in instructions if insn.note), default=0)
    for insn in instructions:
        while upcoming is not None and upcoming.start <= insn.offset:
            if upcoming.start < upcoming.end:
                lines += ["", upcoming.name + (f" ({upcoming.detail})" if upcoming.detail else "")]
            upcoming = next(parts, None)
        text = f"{insn.text:<{longest}}  ; {insn.note}" if insn.note else insn.text
        lines.append(f"  +{insn.offset:03x}  {insn.code.hex():<{2 * widest}}  {text}")
    return "\n".join(lines) + "\n"


def frame_text(frame: FrameLayout, title: str) -> str:
    """The stack frame from high to low addresses, a line per slot."""
    rows: Sequence[tuple[str, str, str]] = [
        (f"{frame.base}{slot.offset:+#x}", str(slot.size), slot.name) for slot in frame.slots
    ]
    where, size = (max(map(len, column)) for column in list(zip(*rows, strict=True))[:2])
    lines = [f"{title}: frame of {frame.size} bytes", ""]
    lines.append(f"  {'place':<{max(where, 5)}}  {'bytes':>{max(size, 5)}}  slot")
    lines += [f"  {row[0]:<{max(where, 5)}}  {row[1]:>{max(size, 5)}}  {row[2]}" for row in rows]
    return "\n".join(lines) + "\n"
