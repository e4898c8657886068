"""Instructions and memory accesses per function: ours beside the captured kernel's own code.

Both run in the same emulator over the same data; the captured bytes come from the reference
records, at the addresses of that boot.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.captured import Captured
from support.guest import Guest

from tramposim.machine.kerneldata import add_program, add_trampoline_image
from tramposim.machine.maps import add_map
from tramposim.spec import Arch, Kernel, Map, MapType

Step = tuple[str, tuple[int, ...]]


def enter_exit(guest: Guest) -> list[Step]:
    prog = add_program(guest.memory, 0x1000)
    image = add_trampoline_image(guest.memory, 0x2000, 64).im
    context = guest.memory.kmalloc(64, "run context")
    steps: list[Step] = []
    for pair in ("", "_recur", "_sleepable", "_sleepable_recur", "_lsm_cgroup"):
        steps.append((f"__bpf_prog_enter{pair}", (prog, context)))
        steps.append((f"__bpf_prog_exit{pair}", (prog, 1, context)))
    return [*steps, ("__bpf_tramp_enter", (image,)), ("__bpf_tramp_exit", (image,))]


def helpers(guest: Guest) -> list[Step]:
    frame = guest.memory.kmalloc(64, "frame")
    guest.memory.put(frame, 1)
    return [
        ("migrate_disable", ()),
        ("migrate_enable", ()),
        ("bpf_ktime_get_ns", ()),
        ("bpf_get_current_pid_tgid", ()),
        ("bpf_get_smp_processor_id", ()),
        ("bpf_get_func_ip_tracing", (frame + 16,)),
        ("get_func_ret", (frame + 8, frame + 32)),
        ("sched_clock", ()),
    ]


def maps(guest: Guest) -> list[Step]:
    table = add_map(guest.memory, Map("h", MapType.HASH, 8, 8, 1024), seed=99).address
    array = add_map(guest.memory, Map("a", MapType.ARRAY, 4, 8, 16)).address
    key = guest.memory.kmalloc(64, "key and value")
    guest.memory.put(key, 7)
    return [
        ("__htab_map_lookup_elem", (table, key)),
        ("htab_map_update_elem", (table, key, key + 8, 0)),
        ("__htab_map_lookup_elem", (table, key)),
        ("htab_map_delete_elem", (table, key)),
        ("htab_map_delete_elem", (table, key)),
        ("array_map_lookup_elem", (array, key)),
        ("bpf_map_lookup_elem", (array, key)),
    ]


def run(guest: Guest, scenario: Callable[[Guest], list[Step]]) -> list[tuple[str, int, int, int]]:
    steps = scenario(guest)
    guest.boot()
    rows = []
    for name, arguments in steps:
        guest.call(name, *arguments)
        kinds = [kind for kind, _, _ in guest.accesses]
        rows.append((name, len(guest.executed), kinds.count("r"), kinds.count("w")))
    return rows


@pytest.mark.parametrize("arch", list(Arch))
@pytest.mark.parametrize(
    ("scenario", "tolerance"), [(enter_exit, 0.10), (helpers, 0.15), (maps, 0.15)]
)
def test_as_many_instructions_as_the_kernel(
    arch: Arch, scenario: Callable[[Guest], list[Step]], tolerance: float, shared: Path
) -> None:
    ours = run(Guest(Kernel(arch)), scenario)
    kernels = run(Captured(Kernel(arch), shared), scenario)
    for (name, count, reads, writes), (_, expected, loads, stores) in zip(
        ours, kernels, strict=True
    ):
        assert count == pytest.approx(expected, rel=tolerance, abs=1), name
        # Saved registers are what compilers decide differently about.
        assert reads == pytest.approx(loads, rel=0.2, abs=4), name
        assert writes == pytest.approx(stores, rel=0.25, abs=4), name


FACTS = {"miss": 88, "insert": 363, "hit": 105, "update": 326, "delete": 270, "ktime": 36}
"""Executed per operation on x86_64, preallocated hash, 8-byte key (facts/runtime.md)."""


def test_map_operations_of_facts() -> None:
    guest = Guest(Kernel(Arch.X86_64))
    _, insert, hit, delete, *_ = maps(guest)
    guest.boot()
    steps = {"miss": hit, "insert": insert, "hit": hit, "update": insert, "delete": delete}
    for name, (function, arguments) in steps.items():
        guest.call(function, *arguments)
        assert len(guest.executed) == pytest.approx(FACTS[name], rel=0.15), name
    guest.call("bpf_ktime_get_ns")
    assert len(guest.executed) == pytest.approx(FACTS["ktime"], rel=0.15)
