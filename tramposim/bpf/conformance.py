"""Conformance tests: the `.data` files of the public eBPF conformance suite.

A file is a list of sections, each begun by a line `-- NAME`: `asm` (mnemonics) or `raw`
(64-bit instruction words) is the program, `mem` the memory (hex bytes) whose address it gets
in r1 and whose length in r2, `result` the value of r0 that it must return, `error` what a
runtime is to say that refuses it. `-- no register offset` and `-- c` begin text that
assemblers skip. Lines that begin with `#` are comments.
"""

from __future__ import annotations

from dataclasses import dataclass

from tramposim.bpf.mnemonics import assemble_mnemonics
from tramposim.errors import InputError

__all__ = ["ConformanceTest", "parse_conformance"]

_SKIPPED = ("no register offset", "c")
_SECTIONS = ("asm", "raw", "mem", "result", "error")
_WORD = 1 << 64


@dataclass(frozen=True, slots=True)
class ConformanceTest:
    """A program with its memory, and the result (r0) or the error that it must have.

    `error` is None where the file has no such section, and may be empty (any error).
    """

    code: bytes
    memory: bytes = b""
    result: int | None = None
    error: str | None = None


def parse_conformance(text: str, file: str = "<text>") -> ConformanceTest:
    """Read a test file; raises `InputError` (`file:line: what`)."""
    sections = _split(text, file)
    raw = sections.get("raw", [])
    asm = sections.get("asm", [])
    if raw:
        code = b"".join(_words(line, f"{file}:{number}") for number, line in raw)
    else:
        first = asm[0][0] if asm else 1
        code = assemble_mnemonics("\n".join(line for _, line in asm), file, first)
    if not code:
        raise InputError("a test without instructions", file)
    memory = b"".join(_bytes(line, f"{file}:{number}") for number, line in sections.get("mem", []))
    error = sections.get("error")
    result = _result(sections.get("result", []), file)
    if result is None and error is None:
        raise InputError("a test without result and without error", file)
    return ConformanceTest(
        code, memory, result, None if error is None else " ".join(line for _, line in error).strip()
    )


def _split(text: str, file: str) -> dict[str, list[tuple[int, str]]]:
    """Lines of each section with their numbers; asm keeps empty lines, so that they count."""
    sections: dict[str, list[tuple[int, str]]] = {}
    lines: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.partition("#")[0].strip()
        if stripped.startswith("--"):
            name = stripped[2:].strip()
            if name in _SKIPPED:
                lines = []
            elif name in _SECTIONS:
                if name in sections:
                    raise InputError(f"a second section {name!r}", f"{file}:{number}")
                lines = sections[name] = []
            else:
                raise InputError(
                    f"unknown section {name!r}; known are {', '.join(_SECTIONS)}",
                    f"{file}:{number}",
                )
        elif stripped or lines is sections.get("asm"):
            lines.append((number, stripped))
    return sections


def _number(text: str, where: str) -> int:
    try:
        value = int(text[:64], 16 if text[:2].lower() == "0x" else 10)
    except ValueError:
        raise InputError(f"{text[:64]!r} is no number", where) from None
    if not 0 <= value < _WORD:
        raise InputError(f"{text[:64]} does not fit 64 bits", where)
    return value


def _words(line: str, where: str) -> bytes:
    return b"".join(_number(word, where).to_bytes(8, "little") for word in line.split())


def _bytes(line: str, where: str) -> bytes:
    try:
        return bytes(int(word, 16) for word in line.split())
    except ValueError:
        raise InputError(f"{line[:64]!r} is not hex bytes", where) from None


def _result(lines: list[tuple[int, str]], file: str) -> int | None:
    if not lines:
        return None
    if len(lines) > 1:
        raise InputError("more than one result", f"{file}:{lines[1][0]}")
    number, text = lines[0]
    return _number(text, f"{file}:{number}")
