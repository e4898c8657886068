"""Whole traced worlds: what executes is what booted kernels execute."""

import errno
import struct
from dataclasses import replace

import numpy as np
import pytest

from tramposim.bpf.asm import assemble
from tramposim.errors import AttachError, GuestFault, InputError
from tramposim.kernel.declaration import parse_prototype
from tramposim.machine.guestkernel import GuestKernel
from tramposim.machine.testrun import TEST_FUNCTIONS, arguments_of_test_run
from tramposim.machine.traced import Cell, TracedFunction, TracedWorld, default_arguments
from tramposim.spec import Arch, Attachment, Entry, Kernel, Returns
from tramposim.study.bodies import programs_of
from tramposim.study.scenario import parse_scenario

TEST1 = parse_prototype("int bpf_fentry_test1(int a)")
SCENARIOS = ("untraced", "fentry", "fexit", "fentry+fexit", "fsession", "fsession+cookie")


def world(
    arch: Arch, scenario: str, body: str = "empty", kernel: Kernel | None = None
) -> TracedWorld:
    programs = programs_of(parse_scenario(scenario), body)
    return TracedWorld(kernel or Kernel(arch), TEST1, [Attachment(program) for program in programs])


@pytest.mark.parametrize(
    ("scenario", "count"),
    [("untraced", 8), ("fentry", 115), ("fexit", 170), ("fentry+fexit", 266), ("fsession", 270)],
)
def test_x86_64_executes_as_many_instructions_as_the_kernel(scenario: str, count: int) -> None:
    # Counted on the 7.2.13 kernel's own code (hardware table: insts, plain returns, jmp entry).
    execution = world(Arch.X86_64, scenario).run(3)
    assert execution.instructions == 3 * count
    assert execution.returns == (2, 2, 2)


@pytest.mark.parametrize("arch", list(Arch))
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_runs_hot_and_repeats(arch: Arch, scenario: str) -> None:
    made = world(arch, scenario)
    made.run(4, trace=False)
    trace = made.run(3).trace
    assert trace is not None
    assert trace.call_count == 3
    calls = [trace.pcs[a:b].tolist() for a, b in zip(trace.calls, trace.calls[1:], strict=False)]
    assert calls[0] == calls[1] == calls[2]
    assert np.all(np.diff(trace.accesses["insn"].astype(np.int64)) >= 0)
    for pc in set(calls[0]):
        assert trace.region_of(pc).name


def test_fsession_executes_more_of_its_image_than_the_pair() -> None:
    sizes = {}
    for scenario in ("fentry+fexit", "fsession", "fsession+cookie"):
        made = world(Arch.X86_64, scenario)
        assert made.image is not None
        runs = made.run(1).trace
        assert runs is not None
        start, end = made.image.address, made.image.address + len(made.image.code)
        sizes[scenario] = int(np.count_nonzero((runs.pcs >= start) & (runs.pcs < end)))
    pair = sizes["fentry+fexit"]
    assert sizes["fsession"] - pair == 4
    assert sizes["fsession+cookie"] - pair == 10


def test_entries_are_those_of_the_kernel() -> None:
    assert world(Arch.X86_64, "untraced").entry is None
    assert world(Arch.X86_64, "fentry").entry is Entry.CALL
    assert world(Arch.X86_64, "fexit").entry is Entry.JMP
    assert world(Arch.ARM64, "fexit").entry is Entry.FTRACE
    old = Kernel(Arch.X86_64, "6.12")
    assert world(Arch.X86_64, "fexit", kernel=old).entry is Entry.CALL
    assert world(Arch.ARM64, "fexit", kernel=Kernel(Arch.ARM64, entry=Entry.BL)).entry is Entry.BL
    chosen = Kernel(Arch.X86_64, entry=Entry.CALL)
    assert world(Arch.X86_64, "fexit", kernel=chosen).entry is Entry.CALL


@pytest.mark.parametrize("arch", list(Arch))
@pytest.mark.parametrize("scenario", ["fentry", "fexit", "fsession"])
def test_counting_programs_count_on_this_cpu(arch: Arch, scenario: str) -> None:
    made = world(arch, scenario, "count")
    made.run(7, trace=False)
    runs = 14 if scenario == "fsession" else 7
    assert struct.unpack("<Q", made.array("counts")[0]) == (runs,)


@pytest.mark.parametrize("arch", list(Arch))
@pytest.mark.parametrize(
    ("scenario", "body"),
    [
        ("fentry+fexit", "latency-hash"),
        ("fsession", "latency-hash"),
        ("fsession+cookie", "latency-cookie"),
    ],
)
def test_latency_reaches_the_histogram(arch: Arch, scenario: str, body: str) -> None:
    made = world(arch, scenario, body)
    made.run(20, trace=False)
    buckets = struct.unpack("<64Q", made.array("histogram")[0])
    assert sum(buckets) == 20
    assert sum(1 for bucket in buckets if bucket) <= 2
    if body == "latency-hash":
        assert made.hash("starts") == {}


@pytest.mark.parametrize("returns", list(Returns))
def test_every_kind_of_return_runs(returns: Returns) -> None:
    kernel = Kernel(Arch.X86_64, returns=returns)
    assert world(Arch.X86_64, "fsession+cookie", kernel=kernel).run(3).returns == (2, 2, 2)


@pytest.mark.parametrize(("lse", "pac", "bti"), [(False, False, False), (True, True, True)])
def test_every_arm64_variant_runs(lse: bool, pac: bool, bti: bool) -> None:
    kernel = Kernel(Arch.ARM64, lse=lse, pac=pac, bti=bti)
    assert world(Arch.ARM64, "fsession+cookie", kernel=kernel).run(3).returns == (2, 2, 2)


@pytest.mark.parametrize("arch", list(Arch))
@pytest.mark.parametrize("scenario", ["fexit+sleepable", "fsession+cookie+sleepable"])
def test_sleepable_programs_enter_and_exit_by_their_own_pair(arch: Arch, scenario: str) -> None:
    made = world(arch, scenario)
    execution = made.run(2)
    assert execution.returns == (2, 2)
    assert execution.trace is not None
    executed = set(execution.trace.pcs.tolist())
    symbols = made.guest.runtime.symbols
    for name in ("__bpf_prog_enter", "__bpf_prog_exit"):
        assert symbols[f"{name}_sleepable_recur"] in executed
        assert symbols[f"{name}_recur"] not in executed


@pytest.mark.parametrize("arch", list(Arch))
def test_statistics_cost_two_clock_reads(arch: Arch) -> None:
    kernel = Kernel(arch, stats=True)
    made = world(arch, "fentry", kernel=kernel)
    execution = made.run(3)
    assert execution.returns == (2, 2, 2)
    assert execution.instructions > world(arch, "fentry").run(3).instructions
    stats = made.guest.memory.structs.offset("bpf_prog.stats")
    pointer = made.guest.machine.read_int(made.programs[0].p + stats)
    counted = (pointer + made.guest.cpu.percpu_offset) % (1 << 64)
    assert made.guest.machine.read_int(counted) == 3


def test_an_image_in_reach_is_entered_by_bl_and_calls_by_bl() -> None:
    near = world(Arch.ARM64, "fsession", kernel=Kernel(Arch.ARM64, entry=Entry.BL))
    far = world(Arch.ARM64, "fsession")
    assert near.image is not None
    assert far.image is not None
    assert len(near.image.code) < len(far.image.code)
    assert near.run(2).instructions < far.run(2).instructions


@pytest.mark.parametrize("arch", list(Arch))
def test_many_arguments_and_structs_arrive(arch: Arch) -> None:
    prototype = parse_prototype(
        "long f(int a, void *b, short c, char d, u64 e, long g, int h, u64 i)"
    )
    programs = programs_of(parse_scenario("fsession"), "empty")
    made = TracedWorld(
        Kernel(arch),
        prototype,
        [Attachment(program) for program in programs],
        arguments=[1, 2, 3, 4, 5, 6, 7, 8],
    )
    assert made.run(2).returns == (36, 36)


@pytest.mark.parametrize("arch", list(Arch))
def test_fmod_ret_replaces_the_result_and_skips_the_function(arch: Arch) -> None:
    prototype = parse_prototype("int bpf_modify_return_test(int a, int *b)")
    (program,) = assemble(".section fmod_ret/f\nmodify:\n r0 = 42\n exit\n", "test")
    made = TracedWorld(
        Kernel(arch),
        prototype,
        [Attachment(program)],
        arguments=arguments_of_test_run(prototype),
    )
    execution = made.run(1)
    assert execution.returns == (42,)
    assert made.guest.machine.read_int(made.arguments[1], 4) == 2
    assert len(execution.snapshots.at(made.target.body)) == 0


@pytest.mark.parametrize("arch", list(Arch))
def test_damaged_arguments_are_noticed(arch: Arch) -> None:
    made = world(arch, "fexit")
    assert made.image is not None
    part = next(part for part in made.image.parts if "call" in part.name.lower())
    reload = {Arch.X86_64: bytes.fromhex("488b7df0"), Arch.ARM64: None}[arch]
    at = made.image.code.find(reload, part.start) if reload else part.start
    nop = b"\x90" * 4 if arch is Arch.X86_64 else bytes.fromhex("1f2003d5")
    made.guest.machine.write(made.image.address + at, nop)
    with pytest.raises(GuestFault, match="arguments delivered"):
        made.run(1)


def test_refusals_are_the_kernels() -> None:
    with pytest.raises(AttachError) as refused:
        world(Arch.X86_64, "fsession*19")
    assert refused.value.errno == errno.E2BIG
    with pytest.raises(AttachError):
        world(Arch.X86_64, "fsession", kernel=Kernel(Arch.X86_64, "6.12"))
    with pytest.raises(InputError, match="takes 1 argument slots, 2 values"):
        TracedWorld(Kernel(Arch.X86_64), TEST1, arguments=[1, 2])
    with pytest.raises(InputError, match="no program declares a map 'nope'"):
        world(Arch.X86_64, "fentry").array("nope")


def test_default_arguments_point_at_lines_of_their_own() -> None:
    prototype = parse_prototype("int f(int a, void *b, long c)")
    assert default_arguments(prototype) == (1, Cell(64), 3)


@pytest.mark.parametrize("arch", list(Arch))
def test_programs_call_their_subprograms(arch: Arch) -> None:
    text = """
        .map out array key=4 value=8 entries=1
        .section fentry/f
        outer:
            r1 = 40
            call add_two
            r1 = map[out][0] ll
            *(u64 *)(r1 + 0) = r0
            r0 = 0
            exit
        add_two:
            r0 = r1
            r0 += 2
            exit
    """
    (program,) = assemble(text, "test")
    made = TracedWorld(Kernel(arch), TEST1, [Attachment(program)])
    assert made.run(1).returns == (2,)
    assert made.array("out") == [struct.pack("<Q", 42)]


@pytest.mark.parametrize("arch", Arch)
def test_functions_of_the_kernels_text_do_not_overlap(arch: Arch) -> None:
    """All test functions traced in one kernel: what one's entry needs is not another's code."""
    guest = GuestKernel(Kernel(arch))
    (program,) = assemble(".section fexit/f\nr0 = 0\nexit\n", "test")
    functions = []
    for prototype, arguments in TEST_FUNCTIONS.values():
        loaded = guest.load(replace(program, name=prototype.name))
        functions.append(TracedFunction(guest, prototype, [(loaded, 0)], arguments=arguments))
    results = [function.run(1, trace=False).returns[0] & 0xFFFFFFFF for function in functions]
    # bpf_fentry_test1(1) to bpf_fentry_test6(16, ..., 21) as net/bpf/test_run.c has them.
    assert results[:6] == [2, 5, 15, 34, 65, 111]
