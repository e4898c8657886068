"""Random prototypes and attachments, executed: on both architectures every program runs in
the kernel's order and sees the arguments, the return value and its own session cookie. (The
world itself checks the calling convention and what the function receives at every call.)"""

import struct
from dataclasses import dataclass

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tramposim.bpf.asm import assemble
from tramposim.machine.traced import TracedWorld
from tramposim.spec import Arch, Attachment, Kernel, ProgKind, Prototype, Returns, Value

RECORD = 8 * 16
RETURN_VALUE, HITS, COOKIE = 13, 14, 15
MOST_PROGRAMS = 6
LOG = 64 + 2 * MOST_PROGRAMS * RECORD
CALLS = 2


@dataclass(frozen=True)
class Attached:
    """A program to attach: what it does besides recording what it sees."""

    kind: ProgKind
    uses_cookie: bool = False
    sleepable: bool = False
    result: int = 0
    """What an fmod_ret program returns."""

    @property
    def before(self) -> bool:
        return self.kind in (ProgKind.FENTRY, ProgKind.FSESSION)

    @property
    def after(self) -> bool:
        return self.kind in (ProgKind.FEXIT, ProgKind.FSESSION)


def source(number: int, program: Attached, prototype: Prototype) -> str:
    """A program that records order, context and cookie in record 2*number (+1 at exit)."""
    record = 64 + 2 * number * RECORD
    lines = [
        f".map log array key=4 value={LOG} entries=1",
        f".section {program.kind.value}{'.s' if program.sleepable else ''}/f",
        f"p{number}:",
        "r6 = r1",
        f"r8 = map[log][0] + {record} ll",
        "r9 = 0",
    ]
    if program.kind is ProgKind.FSESSION:
        lines += ["call bpf_session_is_return", "r9 = r0", "if r9 == 0 goto entry"]
    if program.after:
        lines += [f"r8 += {RECORD}"]
        if prototype.returns is not None and prototype.slots < 12:
            lines += [
                f"r1 = *(u64 *)(r6 + {8 * prototype.slots})",
                f"*(u64 *)(r8 + {8 * RETURN_VALUE}) = r1",
            ]
    if program.kind is ProgKind.FSESSION:
        lines += ["entry:"]
    lines += [
        "r7 = map[log][0] + 0 ll",
        "r1 = 1",
        "r1 = atomic64_fetch_add((u64 *)(r7 + 0), r1)",
        "*(u64 *)(r8 + 0) = r1",
    ]
    for slot in range(prototype.slots):
        lines += [f"r1 = *(u64 *)(r6 + {8 * slot})", f"*(u64 *)(r8 + {8 + 8 * slot}) = r1"]
    lines += [f"r1 = *(u64 *)(r8 + {8 * HITS})", "r1 += 1", f"*(u64 *)(r8 + {8 * HITS}) = r1"]
    if program.uses_cookie:
        lines += [
            "r1 = r6",
            "call bpf_session_cookie",
            "r1 = *(u64 *)(r0 + 0)",
            f"*(u64 *)(r8 + {8 * COOKIE}) = r1",
            f"r1 = {1000 + number}",
            "*(u64 *)(r0 + 0) = r1",
        ]
    return "\n".join([*lines, f"r0 = {program.result}", "exit"])


VALUES = st.one_of(
    st.builds(Value, st.sampled_from((1, 2, 4, 8)), signed=st.booleans()),
    st.builds(Value, st.integers(1, 16), struct=st.just(True)),
)
PROTOTYPES = st.builds(
    Prototype,
    st.just("f"),
    st.lists(VALUES, max_size=8).map(tuple),
    st.one_of(st.none(), st.builds(Value, st.sampled_from((4, 8)))),
).filter(lambda prototype: prototype.slots <= 12)
PROGRAMS = st.one_of(
    st.builds(
        Attached,
        st.sampled_from((ProgKind.FENTRY, ProgKind.FEXIT)),
        sleepable=st.booleans(),
    ),
    st.builds(Attached, st.just(ProgKind.FSESSION), st.booleans(), st.booleans()),
    st.builds(Attached, st.just(ProgKind.FMOD_RET), result=st.sampled_from((0, 0, 7))),
)
KERNELS = st.sampled_from(
    (
        Kernel(Arch.X86_64),
        Kernel(Arch.X86_64, "7.0"),
        Kernel(Arch.X86_64, returns=Returns.STUFFING),
        Kernel(Arch.X86_64, returns=Returns.SRSO),
        Kernel(Arch.ARM64),
        Kernel(Arch.ARM64, "7.0"),
    )
)
SESSION = Attached(ProgKind.FSESSION, uses_cookie=True)
MANY = Prototype("f", (Value(8),) * 7 + (Value(16, struct=True), Value(4)), Value(8))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(KERNELS, PROTOTYPES, st.lists(PROGRAMS, min_size=1, max_size=MOST_PROGRAMS))
@example(Kernel(Arch.X86_64), MANY, [SESSION, Attached(ProgKind.FEXIT), SESSION])
@example(Kernel(Arch.ARM64), MANY, [SESSION, Attached(ProgKind.FMOD_RET, result=7), SESSION])
def test_programs_run_in_order_and_see_what_they_should(
    kernel: Kernel, prototype: Prototype, programs: list[Attached]
) -> None:
    arguments = [
        (0x0102030405060708 * (number + 1)) & ((1 << 8 * min(value.size - 8 * piece, 8)) - 1)
        for number, (value, piece) in enumerate(
            (value, piece) for value in prototype.arguments for piece in range(value.slots)
        )
    ]
    attachments = [
        Attachment(assemble(source(number, program, prototype), f"p{number}")[0], cookie=number)
        for number, program in enumerate(programs)
    ]
    world = TracedWorld(kernel, prototype, attachments, arguments=arguments)
    execution = world.run(CALLS, trace=False)
    log = struct.unpack(f"<{LOG // 8}Q", world.array("log")[0])

    def record(number: int, is_return: bool) -> tuple[int, ...]:
        first = (64 + (2 * number + is_return) * RECORD) // 8
        return log[first : first + RECORD // 8]

    # The last attached runs first; the first fmod_ret program that returns non-zero decides.
    numbers = list(reversed(range(len(programs))))
    before = [(n, False) for n in numbers if programs[n].before]
    modifying = [n for n in numbers if programs[n].kind is ProgKind.FMOD_RET]
    decided = next((i for i, n in enumerate(modifying) if programs[n].result), len(modifying) - 1)
    after = [(n, True) for n in numbers if programs[n].after]
    expected = before + [(n, False) for n in modifying[: decided + 1]] + after

    order = sorted(
        (record(number, side)[0], number, side)
        for number in numbers
        for side in (False, True)
        if record(number, side)[HITS]
    )
    assert [(number, side) for _, number, side in order] == expected
    assert log[0] == CALLS * len(expected)
    replaced = next((programs[n].result for n in modifying if programs[n].result), None)
    width = (1 << 8 * prototype.returns.size) - 1 if prototype.returns else 0
    result = (sum(arguments) if replaced is None else replaced) & width
    for number, side in expected:
        seen = record(number, side)
        assert seen[HITS] == CALLS
        assert list(seen[1 : 1 + prototype.slots]) == arguments
        if side and prototype.returns and prototype.slots < 12:
            assert seen[RETURN_VALUE] & width == result
        if programs[number].uses_cookie:
            assert seen[COOKIE] == (1000 + number if side else 0)
    if prototype.returns is not None:
        assert {value & width for value in execution.returns} == {result}
