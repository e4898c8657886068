"""The interpreter against RFC 9669 and against what booted kernels returned."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tramposim.bpf.asm import assemble
from tramposim.bpf.host import Host, TracedCall
from tramposim.bpf.insn import decode
from tramposim.bpf.interpreter import interpret
from tramposim.bpf.memory import Memory
from tramposim.capture.records import Capture, ProgRecord
from tramposim.errors import GuestFault, InputError, UnsupportedError
from tramposim.spec import Map, MapType, ProgKind, Program, Relocation


def run(text: str, *arguments: int, budget: int = 1000) -> int:
    (program,) = assemble(text)
    return interpret(decode(program.insns), Memory(), arguments=arguments, budget=budget)


VALUES = [
    ("r0 = -1\nw0 += 1", 0),
    ("r0 = -1\nr0 += 1", 0),
    ("w0 = -1", 0xFFFFFFFF),
    ("r0 = -1", 0xFFFFFFFFFFFFFFFF),
    ("r0 = 7\nr1 = 0\nr0 /= r1", 0),
    ("r0 = 7\nr1 = 0\nr0 %= r1", 7),
    ("r0 = -7\nr0 s/= 2", -3),
    ("r0 = -7\nr0 s%= 2", -1),
    ("r0 = 0x8000000000000000 ll\nr0 s/= -1", 1 << 63),
    ("w0 = 0x80000000\nw0 s%= -1", 0),
    ("r0 = 1\nr1 = 65\nr0 <<= r1", 2),
    ("w0 = 1\nw1 = 33\nw0 <<= w1", 2),
    ("w0 = -8\nw0 s>>= 1", 0xFFFFFFFC),
    ("r1 = 0x80\nr0 = (s8)r1", -128),
    ("r1 = 0x80\nw0 = (s8)w1", 0xFFFFFF80),
    ("r0 = 0x1122334455667788 ll\nr0 = be32 r0", 0x88776655),
    ("r0 = 0x1122334455667788 ll\nr0 = le16 r0", 0x7788),
    ("r0 = 0x1122334455667788 ll\nr0 = bswap64 r0", 0x8877665544332211),
    ("r0 = 5\nw0 = -w0", 0xFFFFFFFB),
    ("r1 = -1\nr0 = 1\nif w1 s< 0 goto +1\nr0 = 0", 1),
    ("r1 = -1\nr0 = 1\nif r1 > 5 goto +1\nr0 = 0", 1),
    ("*(u64 *)(r10 - 8) = -2\nr0 = *(s16 *)(r10 - 8)", -2),
    ("*(u64 *)(r10 - 8) = 5\nr0 = 3\nr0 = atomic64_fetch_add((u64 *)(r10 - 8), r0)", 5),
    (
        "*(u64 *)(r10 - 8) = 5\nr0 = 5\nr1 = 9\n"
        "r0 = atomic64_cmpxchg((u64 *)(r10 - 8), r0, r1)\nr0 = *(u64 *)(r10 - 8)",
        9,
    ),
    ("r0 = 2\nr6 = 40\ncall double\nr0 += r6\nexit\ndouble: r6 = 1\nr0 *= 2", 44),
]


@pytest.mark.parametrize(("text", "expected"), VALUES)
def test_values(text: str, expected: int) -> None:
    assert run(text + "\nexit") == expected & (1 << 64) - 1


@pytest.mark.parametrize(
    ("text", "error", "what"),
    [
        ("r0 = *(u64 *)(r10 - 520)\nexit", GuestFault, "instruction 0: a load"),
        ("r0 = *(u64 *)(r10 - 4)\nexit", GuestFault, "offset 508 of the stack"),
        ("r1 = 0\n*(u8 *)(r1 + 0) = 1\nexit", GuestFault, "where nothing is"),
        ("goto -1", GuestFault, "budget"),
        ("r0 = 0", GuestFault, "left the program"),
        ("f: call f\nexit", GuestFault, "nested"),
        ("call bpf_ktime_get_ns\nexit", UnsupportedError, "bpf_ktime_get_ns"),
        ("r1 = r10\nlock *(u64 *)(r1 - 12) += r1\nexit", GuestFault, "atomic"),
    ],
)
def test_faults_name_instruction_and_access(text: str, error: type[Exception], what: str) -> None:
    with pytest.raises(error, match=what):
        run(text)


def test_arguments_are_in_r1_and_up() -> None:
    assert run("r0 = r1\nr0 -= r2\nexit", 50, 8) == 42


def test_maps_answer_as_kernels_do() -> None:
    """Insert, replace, NOEXIST, EXIST, full and deleted elements of a hash of one entry."""
    text = """
    .map h hash key=8 value=8 entries=1
        *(u64 *)(r10 - 8) = {key}
        *(u64 *)(r10 - 16) = 77
        r1 = map[h] ll
        r2 = r10
        r2 += -8
        r3 = r10
        r3 += -16
        r4 = {flags}
        call bpf_map_{operation}_elem
        exit
    """
    host = Host()
    answers = []
    for operation, key, flags in [
        ("update", 1, 2), ("update", 1, 1), ("update", 1, 1), ("update", 1, 2), ("update", 2, 0),
        ("delete", 2, 0), ("delete", 1, 0), ("update", 2, 0),
    ]:  # fmt: skip
        (program,) = assemble(text.format(operation=operation, key=key, flags=flags))
        value = host.run(program)
        answers.append(value - (1 << 64) if value >> 63 else value)
    assert answers == [-2, 0, -17, 0, -7, -2, 0, 0]


def test_a_session_keeps_its_cookie() -> None:
    text = """
    .map seen array key=4 value=16 entries=1
    .section fsession
        r6 = r1
        call bpf_session_cookie
        r7 = r0
        r1 = r6
        call bpf_session_is_return
        if r0 != 0 goto exiting
        *(u64 *)(r7 + 0) = 0xDEADBEE
        r0 = 0
        exit
    exiting:
        r8 = map[seen][0] + 0 ll
        r1 = *(u64 *)(r7 + 0)
        *(u64 *)(r8 + 0) = r1
        r1 = *(u64 *)(r6 + 8)
        *(u64 *)(r8 + 8) = r1
        r0 = 0
        exit
    """
    (program,) = assemble(text)
    host = Host()
    call = TracedCall(host.memory, (41,), 0x1000)
    assert host.run(program, call) == 0
    call.returned(42)
    assert host.run(program, call) == 0
    ((_, value),) = host.maps["seen"].items()
    assert value == (0xDEADBEE).to_bytes(8, "little") + (42).to_bytes(8, "little")


def test_printk_formats() -> None:
    text = """
        r1 = 0x646c6c2520756c25 ll  // "%lu %lld"
        *(u64 *)(r10 - 16) = r1
        *(u64 *)(r10 - 8) = {end}
        r1 = r10
        r1 += -16
        r2 = 16
        r3 = 7
        r4 = -1
        call bpf_trace_printk
        exit
    """
    host = Host()
    host.run(assemble(text.format(end=0))[0])
    assert host.output == ["7 -1"]
    assert host.run(assemble(text.format(end=0x6625))[0]) == -errno.EINVAL & (1 << 64) - 1
    assert host.output == ["7 -1"]
    assert len(host.notes) == 1


def test_only_sessions_have_session_functions() -> None:
    (program,) = assemble(".section fentry\ncall bpf_session_cookie\nexit")
    with pytest.raises(InputError, match="fsession"):
        Host().run(program)


def test_results_of_booted_kernels(shared: Path) -> None:
    """Return value and map contents of the reproducible programs that read no context."""
    golden = shared / "golden"
    stable = set((golden / "stable_ids.txt").read_text().split())
    before = bytes((i * 37 + 11) & 255 for i in range(512))
    declared = Map("_ms", MapType.ARRAY, 4, 512, 1)
    checked = 0
    for _, record in Capture(golden / "x86_64-7.2.13-default-jit.jsonl.xz"):
        assert isinstance(record, ProgRecord)
        code = bytes.fromhex(record.insns)
        reads_context = code[:2] == b"\xbf\x16" or record.ptype not in ("socket", "tc", "xdp")
        others = {name for _, _, name in record.relocs} - {"_ms"}
        if record.id not in stable or record.run is None or reads_context or others:
            continue
        if any(x.opcode == 0xE5 or (x.opcode == 0x85 and x.src == 2) for x in decode(code)):
            continue  # may_goto ends by time, kernel functions are those of the boot
        host = Host()
        relocations = tuple((i, Relocation(kind), name) for i, kind, name in record.relocs)
        maps = (declared,) if relocations else ()
        program = Program(record.id, ProgKind.SOCKET, code, maps, relocations)
        host.declare((declared,))
        host.maps["_ms"].update(bytes(4), before, 0)
        context = host.memory.allocate(256, "the context")
        value = host.run(program, arguments=(context.address,))
        assert value & 0xFFFFFFFF == record.run["retval"], record.id
        ((_, after),) = host.maps["_ms"].items()
        assert after.hex() == record.ms_after, record.id
        checked += 1
    assert checked > 100
