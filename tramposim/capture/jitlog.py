"""Kernel log of `net.core.bpf_jit_enable=2`: what bpf_jit_dump (include/linux/filter.h) prints.

Each dump is `flen=N proglen=N pass=N image=ADDRESS from=COMM pid=N` and lines of
`JIT code: OFFSET: BYTES`, 16 bytes each, possibly behind the log's own prefix.
"""

from __future__ import annotations

import re

from tramposim.capture.dump import MAX_CODE, Dump, DumpedFunction
from tramposim.errors import InputError

__all__ = ["is_jit_log", "parse_jit_log"]

_HEAD = re.compile(r"flen=(\d+) proglen=(\d+) pass=(\d+) image=(\S+)")
_LINE = re.compile(r"JIT code: ([0-9a-fA-F]{1,16}): ((?:[0-9a-fA-F]{2} ?)+)\s*$")
_HASHED = 32


def is_jit_log(text: str) -> bool:
    """Whether a text holds such a dump."""
    return _HEAD.search(text) is not None


def parse_jit_log(text: str, where: str) -> tuple[Dump, ...]:
    """The dumped functions, each a dump of its own; the last pass of each image counts.

    Raises `InputError` for lines without their head, gaps, and a dump that is cut off.
    """
    dumps: dict[str, Dump] = {}
    code, length, image, name, head = bytearray(), 0, "", "", 0

    def finish() -> None:
        if not head:
            return
        if len(code) != length:
            raise InputError(f"{len(code)} of {length} bytes are there", f"{where}:{head}")
        address = _address(image)
        dumps[image or name] = Dump(name, (DumpedFunction(name, bytes(code), address),))

    for number, line in enumerate(text.splitlines(), 1):
        found = _HEAD.search(line)
        if found:
            finish()
            code, head, image = bytearray(), number, found[4]
            length = int(found[2])
            if not 0 < length <= MAX_CODE:
                raise InputError(f"proglen={length}", f"{where}:{number}")
            name = f"line {number}"
            continue
        data = _LINE.search(line)
        if data is None:
            continue
        if not head:
            raise InputError("JIT code without a line `flen=... proglen=...`", f"{where}:{number}")
        if int(data[1], 16) not in (len(code), (_address(image) or 0) + len(code)):
            raise InputError(f"offset {data[1]} behind {len(code):#x} bytes", f"{where}:{number}")
        code += bytes.fromhex(data[2])
        if len(code) > length:
            raise InputError(f"more than proglen={length} bytes", f"{where}:{number}")
    finish()
    if not dumps:
        raise InputError("no line `flen=... proglen=... pass=... image=...`", where)
    return tuple(dumps.values())


def _address(text: str) -> int | None:
    """The image's address; None if the log hides it (%pK, %p: zeros or a 32-bit hash)."""
    try:
        address = int(text, 16)
    except ValueError:
        return None
    return address if address >> _HASHED and address < 1 << 64 else None
