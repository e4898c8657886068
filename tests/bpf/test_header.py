"""Headers from damaged kernel types: named errors only."""

from __future__ import annotations

import random
import struct
from contextlib import suppress
from pathlib import Path

import pytest

from tramposim.bpf import header as header_module
from tramposim.bpf.btf import parse_btf
from tramposim.bpf.elf import read_elf
from tramposim.bpf.header import kernel_header
from tramposim.bpf.vmlinux import kernel_btf
from tramposim.errors import InputError, TramposimError

KERNEL = Path(__file__).parent / "objects" / "kernel.o"


def test_declarations_come_after_what_they_contain() -> None:
    text = kernel_header(kernel_btf(KERNEL))
    lines = text.splitlines()
    thing = next(i for i, line in enumerate(lines) if line.startswith("struct thing {"))
    inner = next(i for i, line in enumerate(lines) if line.startswith("struct inner {"))
    assert inner < thing
    assert lines[thing] == (
        "struct thing { struct filler filler; union { struct { struct inner *next; "
        "struct inner parts[3]; }; long other; }; unsigned char flag : 5; long pid; };"
    )
    assert "enum color { BLUE = 0, RED = 1, GREEN = 5 };" in lines


def test_damaged_types_give_named_errors() -> None:
    section = read_elf(KERNEL.read_bytes(), "t").section(".BTF")
    assert section is not None
    rng = random.Random(11)
    for _ in range(2000):
        data = bytearray(section.data)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(24, len(data))] = rng.randrange(256)
        with suppress(TramposimError):
            kernel_header(parse_btf(bytes(data), "t"))


def test_types_that_describe_endless_text_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of 40 anonymous structs holds the next one twice."""
    types = b"".join(
        struct.pack("<III", 0, 4 << 24 | 2, 8)
        + struct.pack("<III", 0, number + 2, 0)
        + struct.pack("<III", 0, number + 2, 0)
        for number in range(40)
    )
    types += struct.pack("<IIII", 1, 1 << 24, 4, 32)
    types += struct.pack("<III", 5, 8 << 24, 1)
    strings = b"\0int\0t\0"
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    monkeypatch.setattr(header_module, "_MAX_STEPS", 100_000)
    with pytest.raises(InputError, match="nest too deeply"):
        kernel_header(parse_btf(header + types + strings, "t"))
