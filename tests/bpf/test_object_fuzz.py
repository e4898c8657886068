"""Damaged objects: named errors only, in bounded time."""

from __future__ import annotations

import random
import struct
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tramposim.bpf.btf import parse_btf
from tramposim.bpf.elf import read_elf
from tramposim.bpf.object import load_object
from tramposim.bpf.precheck import check_program
from tramposim.bpf.vmlinux import kernel_btf, parse_kernel_btf
from tramposim.errors import TramposimError

OBJECTS = Path(__file__).parent / "objects"
CONTENTS = [(OBJECTS / name).read_bytes() for name in ("linked.o", "core.o")]
ROUNDS = 1500
EXTREMES = (0, 1, 2, 7, 8, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def damaged(rng: random.Random, content: bytes) -> bytes:
    """The object with a few bytes or words changed, mostly where structure is; or cut off."""
    data = bytearray(content)
    elf = read_elf(content, "t")
    structured = [s for s in elf.sections if s.data and s.name != ".strtab"]
    headers = len(content) - 64 * len(elf.sections)
    for _ in range(rng.randrange(1, 5)):
        where = rng.random()
        if where < 0.1:
            at = rng.randrange(64)
        elif where < 0.3:
            at = rng.randrange(headers, len(content))
        else:
            section = rng.choice(structured)
            at = content.index(section.data) + rng.randrange(len(section.data))
        if rng.random() < 0.5:
            data[at] = rng.randrange(256)
        else:
            at = min(at & ~3, len(data) - 4)
            data[at : at + 4] = struct.pack("<I", rng.choice(EXTREMES))
    return bytes(data if rng.random() < 0.9 else data[: rng.randrange(len(data))])


@pytest.mark.parametrize("content", CONTENTS, ids=["linked", "core"])
def test_damaged_objects_give_named_errors(content: bytes) -> None:
    rng = random.Random(7)
    btf = kernel_btf(OBJECTS / "kernel.o")
    slowest = 0.0
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        with suppress(TramposimError):
            for program in load_object(damaged(rng, content), "t.o", btf):
                check_program(program)
        slowest = max(slowest, time.perf_counter() - begin)
    assert slowest < 5


def test_damaged_kernel_types_give_named_errors() -> None:
    content = (OBJECTS / "kernel.o").read_bytes()
    rng = random.Random(3)
    for _ in range(ROUNDS):
        with suppress(TramposimError):
            parse_kernel_btf(damaged(rng, content), "t").prototype("f")


def test_arbitrary_bytes_give_named_errors() -> None:
    rng = random.Random(5)
    for _ in range(300):
        junk = rng.randbytes(rng.randrange(300))
        for content in (junk, b"\x7fELF\x02\x01\x01" + junk):
            with suppress(TramposimError):
                load_object(content, "t.o")
        with suppress(TramposimError):
            parse_btf(b"\x9f\xeb\x01" + junk, "t")
