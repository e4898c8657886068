import struct

import pytest

from tramposim.bpf.loaded import LoadedFunction, LoadedProgram
from tramposim.errors import InputError
from tramposim.kernel.declaration import parse_prototype
from tramposim.machine.traced import Cell, TargetProgram, TracedWorld
from tramposim.spec import Arch, Attachment, Kernel, ProgKind
from tramposim.study.bodies import programs_of
from tramposim.study.compare import GRID
from tramposim.study.scenario import parse_scenario


def kinds(scenario: str, body: str) -> list[str]:
    return [program.kind.value for program in programs_of(parse_scenario(scenario), body)]


@pytest.mark.parametrize(("scenario", "body"), GRID)
def test_every_cell_of_the_comparison_has_its_programs(scenario: str, body: str) -> None:
    expected = [] if scenario == "untraced" else scenario.replace("+cookie", "").split("+")
    assert kinds(scenario, body) == expected


def test_copies_are_programs_of_their_own() -> None:
    programs = programs_of(parse_scenario("fsession*3+cookie+fentry+sleepable"), "count")
    assert [program.kind for program in programs] == [ProgKind.FSESSION] * 3 + [ProgKind.FENTRY]
    assert len({program.name for program in programs}) == 4
    assert [program.sleepable for program in programs] == [False] * 3 + [True]


@pytest.mark.parametrize(
    ("scenario", "body", "says"),
    [
        ("fentry", "nothing", "unknown body 'nothing'; known are empty, count"),
        ("fentry", "latency-hash", "fentry has no body 'latency-hash'"),
        ("fsession", "latency-cookie", "fsession has no body 'latency-cookie'"),
    ],
)
def test_bodies_that_do_not_exist_are_named(scenario: str, body: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        programs_of(parse_scenario(scenario), body)


def _insn(opcode: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    return struct.pack("<BBhi", opcode, dst | src << 4, off, imm)


RECURSIVE = b"".join(
    (
        _insn(0xBF, 6, 1),  # r6 = r1
        _insn(0x61, 1, 6),  # r1 = *(u32 *)(r6 + 0)
        _insn(0x15, 1, 0, 4),  # if r1 == 0 goto +4
        _insn(0x07, 1, 0, 0, -1),  # r1 += -1
        _insn(0x63, 6, 1),  # *(u32 *)(r6 + 0) = r1
        _insn(0xBF, 1, 6),  # r1 = r6
        _insn(0x85, 0, 1),  # call function 0: itself
        _insn(0xB7, 0),  # r0 = 0
        _insn(0x95),  # exit
    )
)
"""A function that calls itself as often as the word says that its argument points to."""


def latencies_of_recursion(arch: Arch, scenario: str, body: str, deeper: int) -> dict[int, int]:
    """Calls by bucket of the histogram after one call of a function that goes `deeper`."""
    target = LoadedProgram("recur", ProgKind.FENTRY, (LoadedFunction(RECURSIVE),), linked=False)
    world = TracedWorld(
        Kernel(arch),
        parse_prototype("int recur(void *left)"),
        [Attachment(program) for program in programs_of(parse_scenario(scenario), body)],
        arguments=[Cell(64, deeper)],
        target=TargetProgram(target),
    )
    world.run(1, trace=False)
    counts = struct.unpack("<64Q", world.array("histogram")[0])
    return {bucket: count for bucket, count in enumerate(counts) if count}


@pytest.mark.parametrize("arch", list(Arch))
def test_the_latency_of_every_depth_is_delivered(arch: Arch) -> None:
    def of(scenario: str, body: str, deeper: int = 4) -> dict[int, int]:
        return latencies_of_recursion(arch, scenario, body, deeper)

    for scenario, body in (
        ("fentry+fexit", "latency-stack"),
        ("fsession", "latency-stack"),
        ("fsession+cookie", "latency-cookie"),
    ):
        # calls of a call last longer than it: five depths, five different latencies
        assert list(of(scenario, body).values()) == [1] * 5
    # one start time per thread: the innermost call's exit takes it, the others have none
    assert sum(of("fentry+fexit", "latency-hash").values()) == 1
    # 64 slots against a cookie per call
    assert sum(of("fentry+fexit", "latency-stack", 69).values()) == 64
    assert sum(of("fsession+cookie", "latency-cookie", 69).values()) == 70
