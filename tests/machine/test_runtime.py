"""The linked guest runtime: instruction counts against the kernel's, effects, variants."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from support.captured import records
from support.guest import Guest

from tramposim.kernel.structs import structs
from tramposim.machine.kerneldata import TrampolineImage, add_program, add_trampoline_image
from tramposim.machine.runtime import load_runtime
from tramposim.spec import Arch, Kernel, Returns

CTX, SAVED, COOKIE = 0, 8, 0xC00C1E


class World(Guest):
    """One program, one image and run contexts."""

    def __init__(self, kernel: Kernel, cpus: int = 1, atomic: bool = False) -> None:
        super().__init__(kernel, cpus)
        self.prog = add_program(self.memory, 0x1000)
        self.image: TrampolineImage = add_trampoline_image(self.memory, 0x2000, 64, atomic=atomic)
        self.contexts = self.memory.kmalloc(64, "run contexts")
        self.boot()

    def member(self, address: int, member: str, size: int = 8) -> int:
        return self.read(address + self.runtime.structs.offset(member), size)

    def task(self, member: str, size: int = 8) -> int:
        return self.member(self.cpu.task, f"task_struct.{member}", size)

    def percpu(self, pointer: int, size: int = 8) -> int:
        return self.read(self.memory.percpu_address(pointer, self.cpu.number), size)

    def state(self) -> tuple[int, ...]:
        """Everything that a balanced pair of calls must leave as it found it."""
        active = self.member(self.prog, "bpf_prog.active")
        rq = self.runtime.symbols["runqueues"] + self.runtime.structs.offset("rq.nr_pinned")
        words = [
            self.task("migration_disabled", 2),
            self.task("bpf_ctx"),
            self.task("trc_reader_nesting", 4),
            self.percpu(active, 4),
            self.percpu(rq, 4),
        ]
        if self.kernel.arch is Arch.X86_64:
            words.append(self.task("rcu_read_lock_nesting", 4))
            words.append(self.percpu(self.runtime.symbols["__preempt_count"], 4))
        else:
            words.append(self.member(self.cpu.task, "thread_info.preempt_count"))
        return tuple(words)


PAIRS = ("", "_recur", "_sleepable", "_sleepable_recur", "_lsm_cgroup")


@pytest.fixture(scope="module", params=list(Arch))
def world(request: pytest.FixtureRequest) -> World:
    return World(Kernel(request.param))


@pytest.mark.parametrize("pair", PAIRS)
def test_enter_and_exit_are_balanced(world: World, pair: str) -> None:
    before = world.state()
    assert world.call(f"__bpf_prog_enter{pair}", world.prog, world.contexts) == 1
    assert world.task("bpf_ctx") == world.contexts
    assert world.state() != before
    world.call(f"__bpf_prog_exit{pair}", world.prog, 1, world.contexts)
    assert world.state() == before


@pytest.mark.parametrize("pair", ["_recur", "_sleepable_recur"])
def test_recursion_is_refused_and_counted(world: World, pair: str) -> None:
    stats = world.member(world.prog, "bpf_prog.stats")
    misses = stats + world.runtime.structs.offset("bpf_prog_stats.misses")
    before, missed = world.state(), world.percpu(misses)
    inner = world.contexts + 16
    assert world.call(f"__bpf_prog_enter{pair}", world.prog, world.contexts) == 1
    assert world.call(f"__bpf_prog_enter{pair}", world.prog, inner) == 0
    assert world.percpu(misses) == missed + 1
    assert world.read(inner + SAVED) == world.contexts
    world.call(f"__bpf_prog_exit{pair}", world.prog, 0, inner)
    assert world.task("bpf_ctx") == world.contexts
    world.call(f"__bpf_prog_exit{pair}", world.prog, 1, world.contexts)
    assert world.state() == before


@pytest.mark.parametrize("arch", list(Arch))
@pytest.mark.parametrize("atomic", [False, True])
def test_image_reference(arch: Arch, atomic: bool) -> None:
    world = World(Kernel(arch), cpus=2, atomic=atomic)
    before = world.state()

    def count() -> int:
        if not atomic:
            return world.percpu(world.image.percpu_count)
        return world.member(world.image.data, "percpu_ref_data.count")

    start = count()
    world.call("__bpf_tramp_enter", world.image.im)
    assert count() == start + 1
    world.call("__bpf_tramp_exit", world.image.im)
    assert count() == start
    assert world.state() == before


@pytest.mark.parametrize("arch", list(Arch))
@pytest.mark.parametrize("pair", PAIRS[:4])
def test_statistics(arch: Arch, pair: str) -> None:
    world = World(Kernel(arch, stats=True))
    before = world.state()
    start = world.call(f"__bpf_prog_enter{pair}", world.prog, world.contexts)
    assert start > 1
    world.call(f"__bpf_prog_exit{pair}", world.prog, start, world.contexts)
    stats = world.member(world.prog, "bpf_prog.stats")
    assert world.percpu(stats) == 1
    assert world.percpu(stats + 8) > 0
    assert world.state() == before


CALLED_6_12 = {
    (Arch.X86_64, "__bpf_prog_enter_recur"): 21 + 7 + 14,
    (Arch.X86_64, "__bpf_prog_exit_recur"): 12 + 2 + 30 + 9,
    (Arch.X86_64, "__bpf_tramp_enter"): 10 + 7 + 9,
    (Arch.ARM64, "__bpf_prog_enter_recur"): 27 + 15,
    (Arch.ARM64, "__bpf_prog_exit_recur"): 22 + 2 + 42,
    (Arch.ARM64, "__bpf_tramp_enter"): 12,
}
"""Instructions on the hot path of the captured 6.12.107 functions and what they call,
counted in their disassembly."""


@pytest.mark.parametrize("arch", list(Arch))
def test_older_kernels_guard_programs_by_calls(arch: Arch) -> None:
    world = World(Kernel(arch, version="6.12"))
    before = world.state()
    for pair in PAIRS:
        assert world.call(f"__bpf_prog_enter{pair}", world.prog, world.contexts) == 1
        entered = len(world.executed), f"__bpf_prog_enter{pair}"
        assert world.task("bpf_ctx") == world.contexts
        world.call(f"__bpf_prog_exit{pair}", world.prog, 1, world.contexts)
        exited = len(world.executed), f"__bpf_prog_exit{pair}"
        assert world.state() == before
        for count, name in (entered, exited):
            if (arch, name) in CALLED_6_12:
                assert count == pytest.approx(CALLED_6_12[arch, name], rel=0.1), name
    assert world.call("__bpf_prog_enter_recur", world.prog, world.contexts) == 1
    assert world.call("__bpf_prog_enter_recur", world.prog, world.contexts + 16) == 0
    world.call("__bpf_prog_exit_recur", world.prog, 0, world.contexts + 16)
    world.call("__bpf_prog_exit_recur", world.prog, 1, world.contexts)
    assert world.state() == before
    world.call("__bpf_tramp_enter", world.image.im)
    expected = CALLED_6_12[arch, "__bpf_tramp_enter"]
    assert len(world.executed) == pytest.approx(expected, rel=0.1)
    world.call("__bpf_tramp_exit", world.image.im)
    assert world.state() == before


@pytest.mark.parametrize("returns", list(Returns))
def test_every_return_thunk_returns(returns: Returns) -> None:
    world = World(Kernel(Arch.X86_64, returns=returns))
    before = world.state()
    assert world.call("__bpf_prog_enter_recur", world.prog, world.contexts) == 1
    world.call("__bpf_tramp_enter", world.image.im)
    world.call("__bpf_tramp_exit", world.image.im)
    world.call("__bpf_prog_exit_recur", world.prog, 1, world.contexts)
    assert world.state() == before


@pytest.mark.parametrize("lse", [False, True])
@pytest.mark.parametrize("pac", [False, True])
def test_arm64_variants(lse: bool, pac: bool) -> None:
    world = World(Kernel(Arch.ARM64, lse=lse, pac=pac))
    before = world.state()
    for name in ("", "_recur", "_sleepable_recur"):
        assert world.call(f"__bpf_prog_enter{name}", world.prog, world.contexts) == 1
        world.call(f"__bpf_prog_exit{name}", world.prog, 1, world.contexts)
    world.call("__bpf_tramp_enter", world.image.im)
    world.call("__bpf_tramp_exit", world.image.im)
    assert world.state() == before


FACTS = {
    ("__bpf_prog_enter_recur", "__bpf_prog_enter_recur"): 32,
    ("__bpf_prog_exit_recur", "__bpf_prog_exit_recur"): 26,
    ("__bpf_tramp_enter", "__bpf_tramp_enter"): 10,
    ("__bpf_tramp_exit", "__bpf_tramp_exit"): 10,
    ("__bpf_tramp_enter", "__rcu_read_lock"): 5,
    ("__bpf_tramp_enter", "__rcu_read_unlock"): 9,
}
"""Instructions executed per function on x86_64 (facts/runtime.md)."""


def test_instruction_counts_of_facts() -> None:
    world = World(Kernel(Arch.X86_64))
    calls = {
        "__bpf_prog_enter_recur": (world.prog, world.contexts),
        "__bpf_prog_exit_recur": (world.prog, 1, world.contexts),
        "__bpf_tramp_enter": (world.image.im,),
        "__bpf_tramp_exit": (world.image.im,),
    }
    counts = {}
    for name, arguments in calls.items():
        world.call(name, *arguments)
        counts[name] = world.counts()
    for (call, function), expected in FACTS.items():
        assert counts[call][function] == pytest.approx(expected, rel=0.1), (call, function)


def instructions(world: World, name: str) -> list[str]:
    """A function of the runtime as linked, disassembled."""
    import capstone

    if world.kernel.arch is Arch.X86_64:
        engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    else:
        engine = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
    region = next(r for r in world.runtime.regions if r.name == name)
    return [f"{i.mnemonic} {i.op_str}" for i in engine.disasm(region.data, region.address)]


def test_its_leaves_returns_in_the_second_half_of_a_line_alone() -> None:
    world = World(Kernel(Arch.X86_64, returns=Returns.ITS))
    thunk = world.runtime.symbols["its_return_thunk"]
    plain = thunked = 0
    for region in world.runtime.regions:
        if not region.name.startswith("__bpf_prog") or region.address & 15:
            continue
        for at in range(len(region.data) - 4):
            distance = int.from_bytes(region.data[at + 1 : at + 5], "little", signed=True)
            address = region.address + at
            if region.data[at] == 0xE9 and address + 5 + distance == thunk:
                thunked += 1
                assert not address & 0x20
            if region.data[at : at + 5] == b"\xc3\xcc\xcc\xcc\xcc":
                plain += 1
                assert address & 0x20
    assert plain > 3
    assert thunked > 3


def test_retpolines_become_indirect_branches_where_they_are_off() -> None:
    plain = World(Kernel(Arch.X86_64, retpoline=False))
    assert "jmp r11" in instructions(plain, "bpf_map_lookup_elem")
    assert "call r11" in instructions(plain, "__bpf_tramp_exit")
    thunk = World(Kernel(Arch.X86_64)).runtime.symbols["__x86_indirect_thunk_r11"]
    assert f"jmp {thunk:#x}" in instructions(World(Kernel(Arch.X86_64)), "bpf_map_lookup_elem")


def test_call_depth_is_accounted_before_called_functions() -> None:
    world = World(Kernel(Arch.X86_64, returns=Returns.STUFFING))
    called = world.runtime.symbols["__rcu_read_lock"]
    assert f"call {called - 9:#x}" in instructions(world, "__bpf_prog_enter_recur")
    assert "__rcu_read_lock" in world.runtime.accounted
    assert "__bpf_prog_enter_recur" not in world.runtime.accounted
    depth = world.runtime.symbols["__x86_call_depth"]
    before = world.percpu(depth)
    world.call("__bpf_prog_enter_recur", world.prog, world.contexts)
    assert world.percpu(depth) != before or before == (1 << 64) - 1


def test_lock_prefixes_go_on_one_cpu() -> None:
    one, two = (
        instructions(World(Kernel(Arch.X86_64), cpus=n), "htab_lock_bucket") for n in (1, 2)
    )
    assert not any(line.startswith("lock") for line in one)
    assert any(line.startswith("lock cmpxchg") for line in two)
    # A full barrier stays one: it is ordering, not exclusion.
    enter = instructions(World(Kernel(Arch.X86_64)), "__bpf_prog_enter_sleepable")
    assert any(line.startswith("lock add") for line in enter)


def test_arm64_entries_are_patched_for_tracing() -> None:
    world = World(Kernel(Arch.ARM64))
    assert instructions(world, "htab_map_update_elem")[:2] == ["mov x9, x30", "nop "]
    assert instructions(world, "__bpf_prog_enter_recur")[0] == "paciasp "


def test_functions_lie_where_captured_code_calls_them(shared: Path) -> None:
    for arch in Arch:
        symbols = records(shared, arch)[0]["symbols"]
        runtime = load_runtime(Kernel(arch), symbols)
        for name, address in symbols.items():
            assert runtime.symbols[name] == address
        enter = runtime.symbols["__bpf_prog_enter_recur"]
        base = structs(arch).text["__bpf_prog_enter_recur"][0]
        assert enter == symbols["_stext"] + base


def test_functions_that_do_not_fit_are_reached_by_a_jump() -> None:
    world = World(Kernel(Arch.X86_64))
    enter = world.runtime.symbols["__bpf_prog_enter_recur"]
    crowded = {"__bpf_prog_enter_recur": enter, "__bpf_prog_exit_recur": enter + 32}
    runtime = load_runtime(Kernel(Arch.X86_64), crowded)
    assert runtime.symbols["__bpf_prog_enter_recur"] == enter
    stub = next(r for r in runtime.regions if r.address == enter)
    assert stub.data[0] == 0xE9
    ends = [(r.address, r.address + len(r.data)) for r in runtime.regions]
    assert all(end <= start for (_, end), (start, _) in pairwise(ends))


def test_kernels_of_several_cpus_keep_lock_prefixes() -> None:
    def prefixes(kernel: Kernel) -> list[bool]:
        code = instructions(World(kernel), "htab_lock_bucket")
        return ["lock" in line for line in code if "cmpxchg" in line]

    assert prefixes(Kernel(Arch.X86_64)) == [False]
    assert prefixes(Kernel(Arch.X86_64, smp=True)) == [True]
