"""Bare programs on the interpreter and both JITs: every value is what RFC 9669 says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tramposim.bpf.asm import assemble
from tramposim.errors import GuestFault, InputError, TramposimError, UnsupportedError
from tramposim.machine.bare import BareResult, compile_and_run, interpret_bare
from tramposim.spec import Arch, Kernel

Engine = Callable[[bytes, bytes], BareResult]
ENGINES: dict[str, Engine] = {
    "interpreter": interpret_bare,
    "x86_64": lambda code, memory: compile_and_run(Kernel(Arch.X86_64), code, memory),
    "arm64": lambda code, memory: compile_and_run(Kernel(Arch.ARM64), code, memory),
}
MINIMUM = "r1 = 0x8000000000000000 ll"
WIDE = "r1 = 0x123456789abcdef0 ll"
NEGATIVE = "r1 = 0xffffffff80000001 ll"

ALU = [
    # section 4.1: 64- and 32-bit arithmetic; 32-bit results are zero-extended
    (f"{WIDE}; r1 += -1", 0x123456789ABCDEEF),
    (f"{WIDE}; w1 += -1", 0x9ABCDEEF),
    (f"{WIDE}; r2 = r1; w1 -= w2", 0),
    (f"{WIDE}; r1 *= 16", 0x23456789ABCDEF00),
    (f"{WIDE}; w1 *= 16", 0xABCDEF00),
    (f"{WIDE}; r1 |= -16", 0xFFFFFFFFFFFFFFF0),
    (f"{WIDE}; w1 |= 15", 0x9ABCDEFF),
    (f"{WIDE}; r1 &= -256", 0x123456789ABCDE00),
    (f"{WIDE}; w1 &= -256", 0x9ABCDE00),
    (f"{WIDE}; r1 ^= -1", 0xEDCBA9876543210F),
    (f"{WIDE}; w1 ^= -1", 0x6543210F),
    (f"{WIDE}; r1 = -r1", 0xEDCBA98765432110),
    (f"{WIDE}; w1 = -w1", 0x65432110),
    (f"{MINIMUM}; r1 = -r1", 0x8000000000000000),
    ("r1 = -5", 0xFFFFFFFFFFFFFFFB),
    ("w1 = -5", 0xFFFFFFFB),
    (f"{WIDE}; w1 = w1", 0x9ABCDEF0),
    # shift counts are masked with 63 and 31
    (f"{WIDE}; r2 = 68; r1 <<= r2", 0x23456789ABCDEF00),
    (f"{WIDE}; r2 = 36; w1 <<= w2", 0xABCDEF00),
    (f"{WIDE}; r2 = 68; r1 >>= r2", 0x0123456789ABCDEF),
    (f"{WIDE}; r2 = 36; w1 >>= w2", 0x09ABCDEF),
    (f"{NEGATIVE}; r2 = 68; r1 s>>= r2", 0xFFFFFFFFF8000000),
    (f"{NEGATIVE}; r2 = 36; w1 s>>= w2", 0xF8000000),
    (f"{NEGATIVE}; w1 s>>= 31", 0xFFFFFFFF),
    (f"{NEGATIVE}; r1 >>= 63", 1),
    ("r1 = 3; r1 <<= r1", 24),
    ("r1 = 3; r4 = 1; r4 <<= r1; r1 = r4", 8),
    # division: unsigned, by zero, signed toward zero, by -1
    ("r1 = -1; r1 /= 2", 0x7FFFFFFFFFFFFFFF),
    ("r1 = -1; w1 /= 2", 0x7FFFFFFF),
    ("r1 = 7; r1 /= -1", 0),
    ("r1 = 7; r1 %= -1", 7),
    (f"{WIDE}; r2 = 0; r1 /= r2", 0),
    (f"{WIDE}; r2 = 0; w1 /= w2", 0),
    (f"{WIDE}; r2 = 0; r1 %= r2", 0x123456789ABCDEF0),
    (f"{WIDE}; r2 = 0; w1 %= w2", 0x9ABCDEF0),
    (f"{WIDE}; r2 = 0x100000000 ll; w1 /= w2", 0),
    (f"{WIDE}; r2 = 0; r1 s/= r2", 0),
    (f"{WIDE}; r2 = 0; r1 s%= r2", 0x123456789ABCDEF0),
    (f"{WIDE}; r2 = 0; w1 s/= w2", 0),
    (f"{WIDE}; r2 = 0; w1 s%= w2", 0x9ABCDEF0),
    ("r1 = -13; r1 s/= 4", 0xFFFFFFFFFFFFFFFD),
    ("r1 = -13; r1 s%= 4", 0xFFFFFFFFFFFFFFFF),
    ("r1 = 13; r1 s%= -4", 1),
    ("r1 = -13; w1 s/= 4", 0xFFFFFFFD),
    ("r1 = -13; w1 s%= 4", 0xFFFFFFFF),
    ("r1 = -13; r2 = -4; r1 s/= r2", 3),
    ("r1 = -13; r2 = -4; w1 s%= w2", 0xFFFFFFFF),
    (f"{MINIMUM}; r1 s/= -1", 0x8000000000000000),
    (f"{MINIMUM}; r1 s%= -1", 0),
    (f"{MINIMUM}; r2 = -1; r1 s/= r2", 0x8000000000000000),
    (f"{MINIMUM}; r2 = -1; r1 s%= r2", 0),
    ("r1 = 0x80000000 ll; w2 = -1; w1 s/= w2", 0x80000000),
    ("r1 = 0x80000000 ll; w2 = -1; w1 s%= w2", 0),
    ("r1 = 0x80000000 ll; w1 s/= -1", 0x80000000),
    ("r0 = 91; r3 = 10; r0 /= r3; r1 = r0", 9),
    ("r3 = 91; r0 = 10; r3 /= r0; r1 = r3", 9),
    ("r3 = 91; r3 %= r3; r1 = r3", 0),
    # sign-extending moves
    ("r2 = 0x80; r1 = (s8)r2", 0xFFFFFFFFFFFFFF80),
    ("r2 = 0x8000; r1 = (s16)r2", 0xFFFFFFFFFFFF8000),
    ("r2 = 0x80000000 ll; r1 = (s32)r2", 0xFFFFFFFF80000000),
    ("r2 = 0x80; w1 = (s8)w2", 0xFFFFFF80),
    ("r2 = 0x18000; w1 = (s16)w2", 0xFFFF8000),
    # section 4.2: byte swaps
    (f"{WIDE}; r1 = be16 r1", 0xF0DE),
    (f"{WIDE}; r1 = be32 r1", 0xF0DEBC9A),
    (f"{WIDE}; r1 = be64 r1", 0xF0DEBC9A78563412),
    (f"{WIDE}; r1 = le16 r1", 0xDEF0),
    (f"{WIDE}; r1 = le32 r1", 0x9ABCDEF0),
    (f"{WIDE}; r1 = le64 r1", 0x123456789ABCDEF0),
    (f"{WIDE}; r1 = bswap16 r1", 0xF0DE),
    (f"{WIDE}; r1 = bswap32 r1", 0xF0DEBC9A),
    (f"{WIDE}; r1 = bswap64 r1", 0xF0DEBC9A78563412),
]

COMPARISONS = [
    # left, operator, right: taken at 64 bits, taken at 32 bits
    (5, "==", 5, True, True),
    (0x1_0000_0005, "==", 5, False, True),
    (0x1_0000_0005, "!=", 5, True, False),
    (-1, ">", 1, True, True),
    (0x1_0000_0000, ">", 1, True, False),
    (1, ">=", 1, True, True),
    (0x1_0000_0000, "<", 1, False, True),
    (-1, "<", 1, False, False),
    (0x1_0000_0001, "<=", 1, False, True),
    (-1, "s>", 1, False, False),
    (0x8000_0000, "s>", 1, True, False),
    (-1, "s>=", -1, True, True),
    (0x8000_0000, "s<", 1, False, True),
    (0x8000_0000, "s<=", 0, False, True),
    (0x1_0000_0000, "&", -1, True, False),
    (6, "&", 1, False, False),
    (6, "&", 2, True, True),
]

MEMORY = [
    ("r0 = *(u8 *)(r1 + 1)", 0x92),
    ("r0 = *(u16 *)(r1 + 1)", 0x9392),
    ("r0 = *(u32 *)(r1 + 1)", 0x95949392),
    ("r0 = *(u64 *)(r1 + 1)", 0x9897969594939291 >> 8 | 0x99 << 56),
    ("r0 = *(s8 *)(r1 + 1)", 0xFFFFFFFFFFFFFF92),
    ("r0 = *(s16 *)(r1 + 1)", 0xFFFFFFFFFFFF9392),
    ("r0 = *(s32 *)(r1 + 1)", 0xFFFFFFFF95949392),
    ("r0 = r2", 16),
    ("*(u64 *)(r1 + 0) = -2; r0 = *(u64 *)(r1 + 0)", 0xFFFFFFFFFFFFFFFE),
    ("*(u32 *)(r1 + 0) = -2; r0 = *(u64 *)(r1 + 0)", 0x98979695FFFFFFFE),
    ("*(u16 *)(r1 + 0) = 7; r0 = *(u32 *)(r1 + 0)", 0x94930007),
    ("r3 = 0x1234; *(u8 *)(r1 + 0) = r3; r0 = *(u16 *)(r1 + 0)", 0x9234),
    ("r3 = -1; *(u64 *)(r10 - 512) = r3; r0 = *(u32 *)(r10 - 508)", 0xFFFFFFFF),
    ("r1 += 16; r0 = *(u8 *)(r1 - 16)", 0x91),
]

OLD, ARGUMENT = 0x1122334455667788, 0x0F0F0F0F0F0F0F0F
OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b,
    "or": lambda a, b: a | b,
    "and": lambda a, b: a & b,
    "xor": lambda a, b: a ^ b,
}
SYMBOLS = {"add": "+=", "or": "|=", "and": "&=", "xor": "^="}


def run(engine: str, text: str, memory: bytes = b"") -> BareResult:
    (program,) = assemble(text.replace("; ", "\n"))
    return ENGINES[engine](program.insns, memory)


pytestmark = pytest.mark.parametrize("engine", ENGINES)


def test_arithmetic(engine: str) -> None:
    wrong = [
        (text, hex(expected), hex(value))
        for text, expected in ALU
        if (value := run(engine, f"r0 = 0; {text}; r0 = r1; exit").value) != expected
    ]
    assert wrong == []


def test_comparisons_of_both_widths_with_both_operands(engine: str) -> None:
    wrong = []
    for left, op, right, *taken in COMPARISONS:
        load = f"r6 = {left & (1 << 64) - 1:#x} ll; r7 = {right}"
        for register, expected in zip("rw", taken, strict=True):
            for operand in (str(right), f"{register}7"):
                test = f"if {register}6 {op} {operand} goto yes"
                text = f"{load}; {test}; r0 = 0; exit; yes:; r0 = 1; exit"
                if run(engine, text).value != expected:
                    wrong.append(text)
    assert wrong == []


def test_memory(engine: str) -> None:
    content = bytes(range(0x91, 0xA1))
    wrong = [
        (text, hex(value))
        for text, expected in MEMORY
        if (value := run(engine, f"{text}; exit", content).value) != expected
    ]
    assert wrong == []


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("bits", [32, 64])
def test_atomic_operations(engine: str, name: str, bits: int) -> None:
    mask = (1 << bits) - 1
    kept = OLD & ~mask & (1 << 64) - 1
    new = OPERATIONS[name](OLD & mask, ARGUMENT & mask) & mask | kept
    load = f"r3 = {ARGUMENT:#x} ll"
    prefix = "atomic64" if bits == 64 else "atomic"
    memory = OLD.to_bytes(8, "little")
    plain = run(
        engine, f"{load}; lock *(u{bits} *)(r1 + 0) {SYMBOLS[name]} r3; r0 = r3; exit", memory
    )
    assert (plain.value, int.from_bytes(plain.memory, "little")) == (ARGUMENT, new)
    for source in ("r3", "r0"):
        setup = load if source == "r3" else f"{load}; r0 = r3"
        fetching = run(
            engine,
            f"{setup}; {source} = {prefix}_fetch_{name}((u{bits} *)(r1 + 0), {source});"
            f" r0 = {source}; exit",
            memory,
        )
        assert (fetching.value, int.from_bytes(fetching.memory, "little")) == (OLD & mask, new)


@pytest.mark.parametrize("bits", [32, 64])
def test_exchanges_and_ordered_accesses(engine: str, bits: int) -> None:
    mask = (1 << bits) - 1
    memory = OLD.to_bytes(8, "little")
    kept = OLD & ~mask & (1 << 64) - 1
    load = f"r3 = {ARGUMENT:#x} ll; r4 = r1"
    exchange = "xchg_64" if bits == 64 else "xchg_32"
    swapped = run(engine, f"{load}; r3 = {exchange}(r4 + 0, r3); r0 = r3; exit", memory)
    assert swapped.value == OLD & mask
    assert int.from_bytes(swapped.memory, "little") == ARGUMENT & mask | kept
    name = "atomic64" if bits == 64 else "atomic"
    for compared, expected in ((OLD & mask, ARGUMENT & mask | kept), (1, OLD)):
        text = (
            f"{load}; r0 = {compared:#x} ll; r0 = {name}_cmpxchg((u{bits} *)(r4 + 0), r0, r3); exit"
        )
        result = run(engine, text, memory)
        assert (result.value, int.from_bytes(result.memory, "little")) == (OLD & mask, expected)
    for width in (8, 16, 32, 64):
        text = (
            f"{load}; store_release((u{width} *)(r4 + 0), r3);"
            f" r0 = load_acquire((u{width} *)(r4 + 0)); exit"
        )
        assert run(engine, text, memory).value == ARGUMENT & (1 << width) - 1


CALLS = {
    # callee-saved registers and the stack survive, r0 comes back
    "r6 = 1; r7 = 2; r8 = 3; r9 = 4; *(u64 *)(r10 - 8) = 5; r1 = 6; call f;"
    " r0 += r6; r0 += r7; r0 += r8; r0 += r9; r1 = *(u64 *)(r10 - 8); r0 += r1; exit;"
    " f:; r6 = 100; r7 = 100; r8 = 100; r9 = 100; *(u64 *)(r10 - 8) = 100; r0 = r1; exit": 21,
    # calls of calls, recursion down to 0
    "r1 = 5; call f; exit; f:; if r1 == 0 goto zero; r6 = r1; r1 += -1; call f; r0 += r6; exit;"
    " zero:; r0 = 0; exit": 15,
    "r6 = 40; r1 = &f ll; callx r1; r0 += r6; exit; f:; r6 = 0; r0 = 2; exit": 42,
    "r1 = &f ll; r2 = &g ll; r6 = r2; callx r1; r7 = r0; callx r6; r0 -= r7; exit;"
    " f:; r0 = 3; exit; g:; r0 = 10; exit": 7,
    "r2 = 5; callx r2; r0 = 2; exit": 2,
    "gotol far; r0 = 1; exit; far:; r0 = 2; exit": 2,
    "goto first; second:; r0 = 7; exit; first:; goto second": 7,
    "r0 = 1; exit; r0 = 2; exit": 1,
    "r0 = 0; again:; may_goto out; r0 += 1; if r0 < 100 goto again; out:; exit": 100,
    "r0 = 0; r1 = 1; r3 = 30; next:; r2 = r0; r2 += r1; r0 = r1; r1 = r2; r3 += -1;"
    " if r3 != 0 goto next; exit": 832040,
    "r1 = 7919; r0 = 1; r2 = 2; next:; r3 = r2; r3 *= r2; if r3 > r1 goto out; r3 = r1;"
    " r3 %= r2; r2 += 1; if r3 != 0 goto next; r0 = 0; out:; exit": 1,
}


def test_control_flow(engine: str) -> None:
    wrong = [
        (text, value)
        for text, expected in CALLS.items()
        if (value := run(engine, text).value) != expected
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("r0 = 0; call 9999; exit", UnsupportedError, "9999"),
        ("r0 = *(u16 *)skb[14]; exit", UnsupportedError, "instruction 0"),
        ("r1 = 0; r0 = *(u64 *)(r1 + 0); exit", GuestFault, "0x0"),
        ("r2 = 9999; callx r2; exit", TramposimError, "9999|0x0"),
    ],
)
def test_what_cannot_run_is_named(
    engine: str, text: str, error: type[TramposimError], says: str
) -> None:
    with pytest.raises(error, match=says):
        run(engine, text)


def test_programs_that_are_none_are_refused(engine: str) -> None:
    for code in (b"", b"1234567", bytes.fromhex("1800000000000000")):
        with pytest.raises(InputError):
            ENGINES[engine](code, b"")


@pytest.mark.parametrize(
    ("insn", "field"),
    [
        ("b7 00 02 00 00 00 00 00", "off"),  # r0 = 0
        ("bf 10 00 00 01 00 00 00", "imm"),  # r0 = r1
        ("d4 10 00 00 10 00 00 00", "src"),  # r0 = le16 r0
        ("95 01 00 00 00 00 00 00", "dst"),  # exit
    ],
)
def test_unused_fields_are_zero(engine: str, insn: str, field: str) -> None:
    code = bytes.fromhex(insn + " 95 00 00 00 00 00 00 00")
    with pytest.raises(InputError, match=f"instruction 0: the unused field {field}"):
        ENGINES[engine](code, b"")
