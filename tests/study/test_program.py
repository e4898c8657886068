"""Files that hold programs, told by suffix and content."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tramposim.errors import InputError, TramposimError
from tramposim.spec import ProgKind
from tramposim.study.kernels import kernel_of
from tramposim.study.program import program_images, read_source

OBJECTS = Path(__file__).parents[1] / "bpf" / "objects"
CODE = bytes.fromhex("b700000007000000 9500000000000000")
"""r0 = 7; exit"""


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("seven.bin", CODE),
        ("seven.hex", b"b7000000 07000000\n9500000000000000\n"),
        ("seven.bpf", b"seven:\nr0 = 7\nexit\n"),
    ],
)
def test_programs_without_a_section(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    (program,) = read_source(path)
    assert (program.name, program.kind, program.insns) == ("seven", ProgKind.SOCKET, CODE)


def test_objects_are_known_by_their_content(tmp_path: Path) -> None:
    path = tmp_path / "renamed"
    shutil.copy(OBJECTS / "order.o", path)
    programs = read_source(path)
    assert [(p.name, p.kind, p.target) for p in programs] == [
        ("one", ProgKind.FENTRY, "vfs_read"),
        ("two", ProgKind.FEXIT, "vfs_read"),
    ]


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_objects_are_compiled_function_by_function(arch: str) -> None:
    programs = read_source(OBJECTS / "order.o")
    images = dict(program_images(kernel_of(arch, "7.2"), programs))
    assert {name: len(functions) for name, functions in images.items()} == {"one": 4, "two": 4}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.bin", b"", "no instructions"),
        ("a.bin", CODE[:-1], "15 bytes of eBPF"),
        ("a.bin", b"\x18" + bytes(7), "ends inside a 64-bit immediate load"),
        ("a.hex", b"b7 0", "not hex digits"),
        ("a.bpf", b"\xff\xfe", "not UTF-8 text (byte 0)"),
        ("a.bpf", b"r0 = r9\nexit\n", "R9 !read_ok"),
        ("a.o", b"\x7fELF", "not a little-endian ELF64 file"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(TramposimError) as raised:
        read_source(path)
    assert words in str(raised.value)


def test_core_relocations_take_the_kernels_types(tmp_path: Path) -> None:
    with pytest.raises(TramposimError, match="give --btf FILE"):
        read_source(OBJECTS / "core.o")
    with pytest.raises(TramposimError, match="the kernel lacks byte_off of struct thing___old"):
        read_source(OBJECTS / "core.o", btf=OBJECTS / "kernel.o")
    with pytest.raises(InputError, match="No such file"):
        read_source(OBJECTS / "core.o", btf=tmp_path / "vmlinux")
