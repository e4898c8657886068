"""What bpf_trace_printk prints, against C's printf and the kernel's documented conversions."""

from __future__ import annotations

import pytest

from tramposim.bpf.memory import Memory
from tramposim.bpf.printk import FormatRefused, format_text


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("plain\n", [], "plain"),
        ("100%%", [], "100%"),
        ("%d %i", [0xFFFFFFFE, 5], "-2 5"),
        ("%u %x %X", [0x1_FFFF_FFFE, 0xAB, 0xAB], "4294967294 ab AB"),
        ("%lld %llu %llx", [-2 & (1 << 64) - 1, 1 << 63, 1 << 63], f"-2 {1 << 63} {1 << 63:x}"),
        ("%ld", [-1 & (1 << 64) - 1], "-1"),
        ("[%5d][%-5d][%05d]", [42, 42, 42], "[   42][42   ][00042]"),
        ("%x %08llx", [255, 0xBEEF], "ff 0000beef"),
        ("%c%c", [72, 105], "Hi"),
        ("%px", [0xFFFF888104000000], "ffff888104000000"),
    ],
)
def test_conversions(text: str, values: list[int], expected: str) -> None:
    assert format_text(text, values, Memory(), "bpf_trace_printk") == expected


def test_strings_and_addresses_are_read_from_memory() -> None:
    memory = Memory()
    name = memory.allocate(8, "a name", b"eth0\0xyz").address
    address = memory.allocate(4, "an address", bytes([192, 168, 0, 1])).address
    text = format_text("%s|%6s|%pI4|%pi4|%s", [name, name, address, address, 0], memory, "x")
    assert text == "eth0|  eth0|192.168.0.1|192.168.000.001|"


@pytest.mark.parametrize("text", ["%f", "%d %d", "%", "%n", "%lc"])
def test_what_the_kernel_refuses_is_named(text: str) -> None:
    with pytest.raises(FormatRefused, match="bpf_trace_printk refuses the format"):
        format_text(text, [1], Memory(), "bpf_trace_printk")
