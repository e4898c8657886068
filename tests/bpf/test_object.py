"""Objects that clang wrote: linking judged by what the source computes, maps by its text."""

from __future__ import annotations

import dataclasses
import errno
import struct
from pathlib import Path

import pytest

from tramposim.bpf.elf import read_elf
from tramposim.bpf.host import Host, TracedCall
from tramposim.bpf.insn import decode
from tramposim.bpf.object import load_object
from tramposim.bpf.precheck import check_program
from tramposim.bpf.vmlinux import kernel_btf, prototype_from_btf
from tramposim.errors import AttachError, GuestFault, InputError, UnsupportedError
from tramposim.spec import Map, MapFlag, MapType, ProgKind, Program, Relocation, Value

OBJECTS = Path(__file__).parent / "objects"
LINKED = (OBJECTS / "linked.o").read_bytes()
CORE = (OBJECTS / "core.o").read_bytes()
KERNEL = OBJECTS / "kernel.o"


def programs(content: bytes = LINKED, name: str = "linked.bpf.o") -> dict[str, Program]:
    return {program.name: program for program in load_object(content, name)}


def run(program: Program, *arguments: int, host: Host | None = None) -> int:
    host = host or Host()
    return host.run(program, TracedCall(host.memory, arguments or (1,), 0xFFFF)) & 0xFFFFFFFF


def replaced(content: bytes, section: str, at: int, new: bytes) -> bytes:
    """The object with bytes of a section changed."""
    data = read_elf(content, "t").section(section)
    assert data is not None
    start = content.index(data.data) + at
    return content[:start] + new + content[start + len(new) :]


def test_sections_say_what_programs_are() -> None:
    found = {n: (p.kind, p.target, p.sleepable) for n, p in programs().items()}
    assert found == {
        "main_program": (ProgKind.FENTRY, "bpf_fentry_test1", False),
        "session": (ProgKind.FSESSION, "bpf_fentry_test1", False),
        "configured": (ProgKind.FEXIT, "vfs_read", True),
        "hook": (ProgKind.LSM, "bpf_lsm_file_open", False),
        "context": (ProgKind.XDP, "", False),
    }


def test_subprograms_and_globals_compute_what_the_source_says() -> None:
    program = programs()["main_program"]
    host = Host()
    assert run(program, host=host) == 3 * (10 + 20 + 30) + 3 * 5 + 1
    assert run(program, host=host) == 196
    assert dict(host.maps["linked.bss"].items())[bytes(4)] == struct.pack("<Q", 2)


def test_maps() -> None:
    found = {m.name: m for p in programs().values() for m in p.maps}
    data, constants = MapFlag.MMAPABLE, MapFlag.MMAPABLE | MapFlag.RDONLY_PROG
    array = MapType.ARRAY
    table = struct.pack("<4i", 10, 20, 30, 40)
    text = struct.pack("<i", 3) + b"cookie %llx, returned %d\0"
    version = struct.pack("<II", 0, 7 << 16 | 2 << 8)
    assert found == {
        "counts": Map("counts", MapType.HASH, 4, 8, 16),
        "ring": Map("ring", MapType.RINGBUF, 0, 0, 8192),
        "percpu": Map("percpu", MapType.PERCPU_ARRAY, 4, 24, 3),
        "linked.bss": Map("linked.bss", array, 4, 8, 1, flags=data),
        "linked.data": Map("linked.data", array, 4, 16, 1, content=table, flags=data),
        "linked.rodata": Map("linked.rodata", array, 4, 29, 1, content=text, flags=constants),
        ".data.custom": Map(".data.custom", array, 4, 8, 1, content=b"\7" + bytes(7), flags=data),
        "linked.kconfig": Map("linked.kconfig", array, 4, 8, 1, content=version, flags=constants),
    }


def test_externs() -> None:
    session = programs()["session"]
    assert [name for _, name in session.kfuncs] == ["bpf_session_cookie", "bpf_session_is_return"]
    configured = programs()["configured"]
    assert Relocation.WEAK_SYMBOL in [kind for _, kind, _ in configured.relocations]
    assert run(configured) == 7 << 16 | 2 << 8
    old = load_object(LINKED, "linked.o", version="6.12.107")
    kconfig = next(m for p in old for m in p.maps if m.name == "linked.kconfig")
    assert kconfig.content == struct.pack("<II", 0, 6 << 16 | 12 << 8 | 107)


def test_errors_name_the_source_line() -> None:
    with pytest.raises(GuestFault, match=r"context: instruction 1 \(linked.bpf.c:\d+: return \*"):
        run(programs()["context"])


def test_constants_cannot_be_written() -> None:
    program = programs()["main_program"]
    (index, _, _) = next(r for r in program.relocations if r[2] == "linked.bss")
    maps = tuple(
        dataclasses.replace(m, flags=MapFlag.RDONLY_PROG) if m.name == "linked.bss" else m
        for m in program.maps
    )
    assert index == 0
    with pytest.raises(GuestFault, match=r"instruction 4 .*linked.bss, which is read-only"):
        run(dataclasses.replace(program, maps=maps))


def test_only_programs_of_other_types() -> None:
    content = (OBJECTS / "order.o").read_bytes()
    for name in (b"fentry/vfs_read", b"fexit/vfs_read"):
        content = content.replace(name + b"\0", b"tp".ljust(len(name) + 1, b"\0"))
    with pytest.raises(UnsupportedError, match=r"^order.o: section tp: programs of this type"):
        load_object(content, "order.o")


def test_licence() -> None:
    bad = replaced(LINKED, "license", 0, b"MIT")
    with pytest.raises(AttachError, match="session: instruction 2: cannot call kernel") as raised:
        load_object(bad, "linked.o")
    assert raised.value.errno == errno.EINVAL
    assert raised.value.log == ("cannot call kernel function from non-GPL compatible program")


def test_core_relocations() -> None:
    btf = kernel_btf(KERNEL)
    with pytest.raises(UnsupportedError, match=r"byte_off of struct thing \(0:0\): .* --btf"):
        load_object(CORE, "core.o")
    found = {p.name: p for p in load_object(CORE, "core.o", btf)}
    words = r"missing: instruction 1 .*the kernel lacks byte_off of struct thing___old \(0:0\)"
    with pytest.raises(UnsupportedError, match=words):
        check_program(found["missing"])
    offsets = [(i.offset, i.size) for i in decode(found["offsets"].insns) if i.cls == 1]
    # pid became a long at 128; parts[1].last lies at 72 + 16 + 8, next at 64, first at 4.
    assert sorted(offsets) == [(0, 8), (4, 4), (64, 8), (96, 8), (128, 8)]
    questions = 96 + 1 * 1000 + 0 * 10000 + 136 * 100000 + 5 * 100000000
    assert run(found["questions"]) == questions
    assert run(found["bits"]) == (64 - 5) * 100 + (64 - 5)


def test_prototype_from_an_object_with_a_kernels_types() -> None:
    prototype = prototype_from_btf(KERNEL, "f")
    assert prototype.arguments == (
        Value(8),
        Value(4),
        Value(8, struct=True),
        Value(1, signed=True),
    )
    assert prototype.returns == Value(4, signed=True)


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (b"\x7fELF\x01\x01\x01" + bytes(80), InputError, "not a little-endian ELF64"),
        (LINKED[:60], InputError, "header is cut off"),
        (LINKED[:-100], InputError, "reach beyond the file's end"),
        (
            LINKED[:18] + b"\x3e\0" + LINKED[20:],
            InputError,
            "but no BPF object; compile with clang -target bpf",
        ),
        (LINKED.replace(b"\0xdp\0", b"\0xdx\0"), InputError, "section xdx: no program type"),
        (replaced(LINKED, ".BTF", 0, b"\0\0"), InputError, ".BTF: not little-endian BTF"),
        (replaced(LINKED, ".BTF.ext", 0, b"\0\0"), InputError, ".BTF.ext: not little-endian"),
    ],
)
def test_malformed_objects(content: bytes, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=f"^linked.o: .*{words}|^linked.o: {words}"):
        load_object(content, "linked.o")


@pytest.mark.parametrize(
    ("kind", "at", "value", "words"),
    [
        ("type", 8, 77, "fentry/bpf_fentry_test1, offset 0x0: relocation of type 77"),
        ("symbol", 12, 4000, "offset 0x0: relocation against symbol 4000"),
        ("place", 0, 1 << 20, r"offset 0x100000 lies outside of fentry/bpf_fentry_test1"),
    ],
)
def test_malformed_relocations(kind: str, at: int, value: int, words: str) -> None:
    content = replaced(LINKED, ".relfentry/bpf_fentry_test1", at, struct.pack("<I", value))
    with pytest.raises((InputError, UnsupportedError), match=words):
        load_object(content, "linked.o")


def test_subprograms_lie_where_libbpf_puts_them() -> None:
    """Instruction and distance of every call, as libbpf's log of loading the object says."""
    content = (OBJECTS / "order.o").read_bytes()
    calls = {
        program.name: [
            (index, insn.imm)
            for index, insn in enumerate(decode(program.insns))
            if insn.opcode == 0x85
        ]
        for program in load_object(content, "order.o")
    }
    assert calls == {
        "one": [(1, 10), (4, 17), (8, 20), (23, 5), (26, -15), (34, -23)],
        "two": [(1, 5), (4, 9), (8, 5), (11, 10), (19, 2)],
    }


def test_programs_of_other_types_are_left_out_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    mixed = LINKED.replace(b"\0xdp\0", b"\0tp\0\0")
    found = load_object(mixed, "linked.o")
    assert [program.name for program in found] == ["main_program", "session", "configured", "hook"]
    assert caplog.messages == ["linked.o: left out, of types that are not simulated: context (tp)"]
