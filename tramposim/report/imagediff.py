"""Two images side by side: which instructions of which part differ."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from tramposim.kernel.image import Image
from tramposim.report.listing import image_lines

__all__ = ["PartDiff", "diff_text", "image_diff", "part_rows"]

_OFFSET = re.compile(r"(?<=[ ,])\+(0x[0-9a-f]+)$")


@dataclass(frozen=True, slots=True)
class PartDiff:
    """A part of either image: lines with ` ` (both), `-` (first only) or `+` (second only).

    `bytes_before` and `bytes_after` are the part's sizes, 0 where it does not exist.
    """

    name: str
    lines: tuple[tuple[str, str], ...]
    bytes_before: int
    bytes_after: int

    @property
    def same(self) -> bool:
        """Whether the part is the same in both."""
        return all(sign == " " for sign, _ in self.lines)


def image_diff(before: Image, after: Image) -> tuple[PartDiff, ...]:
    """All parts of both images in order; branch targets inside count by the part they reach."""
    old, new = _part_texts(before), _part_texts(after)
    names = [name for name, _, _ in old], [name for name, _, _ in new]
    found = []
    for tag, a0, a1, b0, b1 in SequenceMatcher(None, *names, autojunk=False).get_opcodes():
        if tag == "equal":
            found += [_diff(*pair) for pair in zip(old[a0:a1], new[b0:b1], strict=True)]
            continue
        found += [_alone("-", part) for part in old[a0:a1]]
        found += [_alone("+", part) for part in new[b0:b1]]
    return tuple(found)


_PartText = tuple[str, list[str], int]


def _part_texts(image: Image) -> list[_PartText]:
    """Name, instructions and bytes of every part that has any."""
    lines = list(image_lines(image))
    parts: list[_PartText] = []
    for part in image.parts:
        if part.start == part.end:
            continue
        texts = [
            _OFFSET.sub(lambda match: _part_at(image, int(match[1], 16)), line.text)
            + (f"  ; {line.note}" if line.note else "")
            for line in lines
            if part.start <= line.offset < part.end
        ]
        parts.append((part.name, texts, part.end - part.start))
    return parts


def _part_at(image: Image, offset: int) -> str:
    for part in image.parts:
        if part.start <= offset < part.end:
            inside = offset - part.start
            return f"<{part.name}>" if not inside else f"<{part.name}+{inside:#x}>"
    return f"<+{offset:#x}>"


def _diff(old: _PartText, new: _PartText) -> PartDiff:
    lines: list[tuple[str, str]] = []
    matcher = SequenceMatcher(None, old[1], new[1], autojunk=False)
    for tag, a0, a1, b0, b1 in matcher.get_opcodes():
        if tag == "equal":
            lines += [(" ", text) for text in old[1][a0:a1]]
            continue
        lines += [("-", text) for text in old[1][a0:a1]]
        lines += [("+", text) for text in new[1][b0:b1]]
    return PartDiff(new[0], tuple(lines), old[2], new[2])


def _alone(sign: str, part: _PartText) -> PartDiff:
    name, texts, size = part
    sizes: Sequence[int] = (size, 0) if sign == "-" else (0, size)
    return PartDiff(name, tuple((sign, text) for text in texts), *sizes)


def part_rows(parts: Sequence[PartDiff]) -> list[dict[str, str | int]]:
    """A row of a record for each part that differs: its sizes and how many lines changed."""
    return [
        {
            "what": "part",
            "part": part.name,
            "bytes_before": part.bytes_before,
            "bytes_after": part.bytes_after,
            "instructions_removed": sum(sign == "-" for sign, _ in part.lines),
            "instructions_added": sum(sign == "+" for sign, _ in part.lines),
        }
        for part in parts
        if not part.same
    ]


def diff_text(parts: Sequence[PartDiff], before: str, after: str, context: int = 2) -> str:
    """The parts that differ, with `context` equal lines around what does; others by name."""
    lines = [f"--- {before}", f"+++ {after}"]
    same: list[str] = []
    for part in parts:
        if part.same:
            same.append(part.name)
            continue
        size = part.bytes_after - part.bytes_before
        lines += ["", f"{part.name} ({part.bytes_before} -> {part.bytes_after} bytes, {size:+d})"]
        lines += _in_context(part.lines, context)
    if len(same) == len(parts):
        return "\n".join([*lines, "", "The images are the same instruction by instruction.", ""])
    return "\n".join([*lines, "", f"Same: {', '.join(same) or 'no part'}.", ""])


def _in_context(lines: Sequence[tuple[str, str]], context: int) -> list[str]:
    changed = [index for index, (sign, _) in enumerate(lines) if sign != " "]
    shown = {near for index in changed for near in range(index - context, index + context + 1)}
    texts: list[str] = []
    for index, (sign, text) in enumerate(lines):
        if index in shown:
            texts.append(f"  {sign} {text}")
        elif not texts or texts[-1] != "    ...":
            texts.append("    ...")
    return texts
