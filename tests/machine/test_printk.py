"""Formatted text: the guest's and the interpreter's, against printf of the C library."""

from __future__ import annotations

import ctypes
import random
from functools import cache

import pytest
from support.guest import Guest

from tramposim.bpf.memory import Memory
from tramposim.bpf.printk import FormatRefused, format_text
from tramposim.machine.tracebuffer import trace_lines
from tramposim.spec import Arch, Kernel

EINVAL = 22
LIBC = ctypes.CDLL(None)
BAD = 0xFFFF_8880_0123_4567 & ~0xFFF | 8
"""An address of the kernel's half where nothing is mapped (direct map of x86_64 and arm64)."""


class Printer(Guest):
    def __init__(self, arch: Arch) -> None:
        super().__init__(Kernel(arch))
        self.format = self.memory.kmalloc(2048, "format")
        self.words = self.memory.kmalloc(96, "arguments")
        self.text = self.memory.kmalloc(4096, "text")
        self.boot()

    def printk(self, text: bytes, *values: int) -> int:
        self.write_bytes(self.format, text + b"\0")
        arguments = [value & (1 << 64) - 1 for value in values]
        return self.signed("bpf_trace_printk", self.format, len(text) + 1, *arguments)

    def snprintf(self, text: bytes, values: tuple[int, ...], room: int = 1024) -> tuple[int, bytes]:
        self.write_bytes(self.format, text + b"\0")
        for index, value in enumerate(values):
            self.write(self.words + 8 * index, value & (1 << 64) - 1)
        array = self.words if values else 0
        length = self.signed(
            "bpf_snprintf", self.text + 2048, room, self.format, array, 8 * len(values)
        )
        return length, self.read_bytes(self.text + 2048, room).split(b"\0")[0]

    def shrink_ring(self, size: int) -> None:
        layout, pointer = self.runtime.structs, self.runtime.symbols["guest_trace_ring"]
        ring = self.read(self.memory.percpu_address(pointer, 0))
        self.write(ring + layout.offset("trace_ring.size"), size)
        self.write(ring + layout.offset("trace_ring.head"), 0)
        self.write(ring + layout.offset("trace_ring.tail"), 0)

    def lines(self) -> list[str]:
        return [line.text for line in trace_lines(self.memory, self.read_bytes)]


@cache
def printer(arch: Arch) -> Printer:
    return Printer(arch)


def of_libc(text: bytes, values: tuple[int, ...]) -> bytes:
    buffer = ctypes.create_string_buffer(4096)
    LIBC.snprintf(buffer, 4096, text, *(ctypes.c_uint64(v & (1 << 64) - 1) for v in values))
    return buffer.value


def of_interpreter(text: bytes, values: tuple[int, ...], memory: Memory | None = None) -> bytes:
    return format_text(text.decode(), values, memory or Memory(), "bpf_snprintf").encode()


def numbers(chance: random.Random) -> tuple[bytes, tuple[int, ...]]:
    """A format of numbers and letters that C and the kernel print alike, with its arguments."""
    text, values = b"", []
    for _ in range(chance.randrange(1, 5)):
        kind = chance.choice([b"d", b"i", b"u", b"x", b"X", b"c"])
        flags = b"".join(f for f in (b"-", b"0", b"+", b" ") if chance.random() < 0.25)
        if kind == b"c":
            flags = flags.replace(b"0", b"")
        if kind in b"uxXc":
            flags = flags.replace(b"+", b"").replace(b" ", b"")
        size = b"" if kind == b"c" else chance.choice([b"", b"l", b"ll"])
        width = chance.choice([b"", b"3", b"9", b"24"])
        text += chance.choice([b"", b"a ", b"%%"]) + b"%" + flags + width + size + kind
        values.append(
            chance.randrange(33, 127)
            if kind == b"c"
            else chance.getrandbits(64)
            if chance.random() < 0.7
            else chance.choice([0, 1, 10, 1 << 31, 1 << 63, (1 << 64) - 1])
        )
    return text, tuple(values)


@pytest.mark.parametrize("arch", list(Arch))
def test_numbers_come_out_as_the_c_library_prints_them(arch: Arch) -> None:
    chance = random.Random(7)
    for _ in range(60):
        text, values = numbers(chance)
        expected = of_libc(text, values)
        assert of_interpreter(text, values) == expected, (text, values)
        assert printer(arch).snprintf(text, values) == (len(expected) + 1, expected), text


@pytest.mark.parametrize("arch", list(Arch))
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"%p", b"ffff888001000008"),
        (b"%20px|", b"    ffff888001000008|"),
        (b"%pK%%", b"ffff888001000008%"),
    ],
)
def test_pointers_are_not_hashed(arch: Arch, text: bytes, expected: bytes) -> None:
    values = (0xFFFF888001000008,)
    assert printer(arch).snprintf(text, values)[1] == expected
    assert of_interpreter(text, values) == expected


REFUSED = [b"%", b"%z", b"%5", b"%h d", b"%ld %", b"%lld%d", b"%f", b"%o", b"%.3d", b"%*d",
           b"%pq", b"caf\xc3\xa9 %d", b"%hhx"]  # fmt: skip


@pytest.mark.parametrize("arch", list(Arch))
@pytest.mark.parametrize("text", REFUSED)
def test_what_the_kernel_refuses_is_refused(arch: Arch, text: bytes) -> None:
    assert printer(arch).snprintf(text, (1,))[0] == -EINVAL
    if text.isascii():
        with pytest.raises(FormatRefused, match="bpf_snprintf"):
            of_interpreter(text, (1,))


@pytest.mark.parametrize("arch", list(Arch))
def test_texts_and_addresses(arch: Arch) -> None:
    guest = printer(arch)
    where = guest.text
    guest.write_bytes(where, b"words\0" + bytes([192, 168, 0, 7]) + bytes(range(0x20, 0x30)))
    memory = Memory()
    memory.place(where, 26, "text", guest.read_bytes(where, 26))
    for text, value, expected in (
        (b"[%s]", where, b"[words]"),
        (b"[%8s|%%]", where, b"[   words|%]"),
        (b"[%-8s]", where, b"[words   ]"),
        (b"[%pks]", where, b"[words]"),
        (b"[%s]", BAD, b"[]"),
        (b"%pI4", where + 6, b"192.168.0.7"),
        (b"%pi4", where + 6, b"192.168.000.007"),
        (b"%pI6", where + 10, b"2021:2223:2425:2627:2829:2a2b:2c2d:2e2f"),
        (b"%pi6", where + 10, b"202122232425262728292a2b2c2d2e2f"),
    ):
        assert guest.snprintf(text, (value,))[1] == expected
        assert of_interpreter(text, (value,), memory) == expected


@pytest.mark.parametrize("arch", list(Arch))
def test_what_does_not_fit_is_cut_off_and_counted(arch: Arch) -> None:
    guest = printer(arch)
    assert guest.snprintf(b"%d apples", (12,), room=6) == (10, b"12 ap")
    assert guest.signed("bpf_snprintf", 0, 0, guest.format, guest.words, 8) == 10
    assert guest.signed("bpf_snprintf", 0, 4, guest.format, guest.words, 8) == -EINVAL
    assert guest.signed("bpf_snprintf", guest.text, 4, guest.format, guest.words, 12) == -EINVAL
    assert guest.signed("bpf_snprintf", guest.text, 4, guest.format, guest.words, 104) == -EINVAL


@pytest.mark.parametrize("arch", list(Arch))
def test_printed_lines_are_read_back_oldest_first_and_the_newest_stay(arch: Arch) -> None:
    guest = Printer(arch)
    assert guest.printk(b"first\n") == 6
    assert guest.printk(b"%d of %s", 2, guest.format) == len("2 of ") + len("%d of %s")
    assert guest.printk(b"%d %d %d %d", 1, 2, 3) == -EINVAL
    assert guest.signed("bpf_trace_printk", guest.format, 3) == -EINVAL
    lines = trace_lines(guest.memory, guest.read_bytes)
    assert [line.text for line in lines] == ["first", "2 of %d of %s"]
    assert lines[0].time_ns < lines[1].time_ns
    assert lines[0].pid == 1000
    filler = b"x" * 300
    guest.shrink_ring(4096)
    for number in range(20):
        assert guest.printk(b"%d " + filler, number) > 300
    kept = [int(text.split()[0]) for text in guest.lines()]
    assert kept == list(range(kept[0], 20))
    assert 10 < len(kept) < 14
    guest.write_bytes(guest.format, b"%llx %c\0")
    guest.write(guest.words, 0xABC)
    guest.write(guest.words + 8, ord("!"))
    assert guest.signed("bpf_trace_vprintk", guest.format, 8, guest.words, 16) == 5
    assert guest.lines()[-1] == "abc !"
