"""BTF: a running kernel's own types, hand-written ones, and malformed data."""

from __future__ import annotations

import random
import struct
from contextlib import suppress
from pathlib import Path

import pytest

from tramposim.bpf.btf import Kind, parse_btf
from tramposim.bpf.vmlinux import kernel_btf, prototype_from_btf
from tramposim.errors import AttachError, InputError, TramposimError, UnsupportedError
from tramposim.spec import Value

VMLINUX = Path("/sys/kernel/btf/vmlinux")


def wrap(types: bytes, strings: bytes) -> bytes:
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    return header + types + strings


def small(parameters: tuple[int, ...] = (2, 3), returns: int = 1, last: bytes = b"") -> bytes:
    """`int f(long, char *)` written out by hand from the format's description.

    Types: 1 int, 2 long, 3 int *, 4 the prototype, 5 f, 6 a struct of 24 bytes, then `last`.
    """
    strings = b"\0int\0long\0f\0s\0"
    types = struct.pack("<IIII", 1, 1 << 24, 4, 1 << 24 | 32)
    types += struct.pack("<IIII", 5, 1 << 24, 8, 1 << 24 | 64)
    types += struct.pack("<III", 0, 2 << 24, 1)
    types += struct.pack("<III", 0, 13 << 24 | len(parameters), returns)
    types += b"".join(struct.pack("<II", 0, number) for number in parameters)
    types += struct.pack("<III", 10, 12 << 24, 4)
    types += struct.pack("<III", 12, 4 << 24, 24)
    return wrap(types + last, strings)


def test_prototype() -> None:
    prototype = prototype_from_btf(small(), "f")
    assert prototype.arguments == (Value(8, signed=True), Value(8))
    assert prototype.returns == Value(4, signed=True)
    with pytest.raises(InputError, match="no function 'g'"):
        prototype_from_btf(small(), "g")


def test_functions_that_kernels_do_not_trace() -> None:
    for data, words in (
        (small(parameters=(1,) * 13), "The function f has 13 arguments. Too many."),
        (small(parameters=(1, 0)), "The function f with variable args is unsupported."),
        (small(parameters=(1, 6)), "The function f arg1 type STRUCT is unsupported."),
        (small(returns=6), "The function f return type STRUCT is unsupported."),
    ):
        with pytest.raises(AttachError) as raised:
            prototype_from_btf(data, "f")
        assert raised.value.log == words


def test_references_are_bounded() -> None:
    loop = struct.pack("<III", 5, 8 << 24, 7)
    with pytest.raises(InputError, match="type 7 refers to itself"):
        prototype_from_btf(small(parameters=(7,), last=loop), "f")
    with pytest.raises(InputError, match="refers to type 99, but has 7"):
        parse_btf(small(last=struct.pack("<III", 0, 2 << 24, 99)), "t")
    with pytest.raises(UnsupportedError, match="type 7 is of kind 31"):
        parse_btf(small(last=struct.pack("<III", 0, 31 << 24, 0)), "t")
    array = struct.pack("<IIIIII", 0, 3 << 24, 0, 7, 1, 1 << 31)
    with pytest.raises(InputError, match="refers to itself"):
        parse_btf(small(last=array), "t").size(7)


def test_enumerations() -> None:
    signed = struct.pack("<IIIII", 0, 1 << 31 | 6 << 24 | 1, 4, 1, 0xFFFFFFFF)
    wide = struct.pack("<IIIIII", 0, 19 << 24 | 1, 8, 5, 1, 0x80000000)
    btf = parse_btf(small(last=signed + wide), "t")
    assert [(e.name, e.value) for e in btf.enumerators(btf.get(7))] == [("int", -1)]
    assert [(e.name, e.value) for e in btf.enumerators(btf.get(8))] == [("long", 1 << 63 | 1)]
    assert btf.ids("f") == (5,)
    assert btf.ids("f", Kind.INT) == ()


@pytest.mark.skipif(not VMLINUX.exists(), reason="the running kernel offers no BTF")
def test_prototypes_of_the_running_kernel() -> None:
    prototype = prototype_from_btf(VMLINUX, "vfs_read")
    assert [argument.size for argument in prototype.arguments] == [8, 8, 8, 8]
    assert prototype.returns == Value(8, signed=True)
    btf = kernel_btf(VMLINUX)
    (page,) = btf.ids("__u64", Kind.TYPEDEF)
    assert btf.size(page) == 8
    with pytest.raises(AttachError, match="The function _printk with variable args"):
        prototype_from_btf(VMLINUX, "_printk")


def test_malformed_data_gives_named_errors() -> None:
    rng = random.Random(1)
    for _ in range(3000):
        data = bytearray(small())
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        with suppress(TramposimError):
            btf = parse_btf(bytes(data[: rng.randrange(len(data) + 1)]), "t")
            for number in range(1, len(btf) + 1):
                with suppress(TramposimError):
                    btf.size(number)
            btf.prototype("f")
