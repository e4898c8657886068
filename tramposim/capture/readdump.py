"""Reading a dump of any form: told by its content."""

from __future__ import annotations

from pathlib import Path

from tramposim.capture.bpftool import parse_bpftool
from tramposim.capture.dump import MAX_CODE, Dump, DumpedFunction, read_bytes
from tramposim.capture.jitlog import is_jit_log, parse_jit_log
from tramposim.capture.objdump import is_objdump, parse_objdump
from tramposim.capture.records import XZ_MAGIC
from tramposim.errors import InputError

__all__ = ["is_capture", "read_dump"]


def is_capture(path: Path) -> bool:
    """Whether a file is a capture (`tramposim.capture/1`): xz, or lines with `rec`."""
    content = read_bytes(path)[:4096]
    return content.startswith(XZ_MAGIC) or (
        content.lstrip().startswith(b"{") and b'"rec"' in content.split(b"\n")[0]
    )


def read_dump(path: Path) -> tuple[Dump, ...]:
    """The programs and images of a dump file.

    JSON of bpftool, a kernel log with JIT dumps, a disassembly of objdump, hex digits, else
    raw bytes of one function. Raises `InputError` for what cannot be read.
    """
    content, where = read_bytes(path), str(path)
    if not content.strip():
        raise InputError("an empty file", where)
    text = _text(content)
    if text is not None and is_jit_log(text):
        return parse_jit_log(text, where)
    if content.lstrip()[:1] in (b"[", b"{"):
        return parse_bpftool(content, where)
    if text is not None and is_objdump(text):
        return parse_objdump(text, where)
    if text is not None:
        try:
            content = bytes.fromhex("".join(text.split()))
        except ValueError:
            raise InputError(
                "text that is none of: JSON of bpftool, JIT log, objdump -d, hex digits", where
            ) from None
    if len(content) > MAX_CODE:
        raise InputError(f"more than {MAX_CODE >> 20} MiB of code", where)
    return (Dump(path.stem, (DumpedFunction(path.stem, content),)),)


def _text(content: bytes) -> str | None:
    """The content as text, None if it is binary."""
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError:
        return None
    return text if all(c.isprintable() or c in "\t\r\n" for c in text) else None
