"""Code on the host's own CPU: results and faults of the child process."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.host import on_x86_64
from tramposim._native.engine import EXECUTE, READ, WRITE
from tramposim.errors import GuestFault, HostBusy, UnsupportedError
from tramposim.machine import native
from tramposim.machine.addresses import PAGE, user_map
from tramposim.machine.hostexport import host_image
from tramposim.machine.native import HostCode, run_on_host
from tramposim.machine.traced import TracedWorld
from tramposim.spec import Arch, Attachment, Kernel, ProgKind
from tramposim.study.bodies import programs_of
from tramposim.study.scenario import parse_scenario
from tramposim.study.subject import function_of

pytestmark = on_x86_64

BASE = user_map(Arch.X86_64).text.base


def _page(code: str) -> tuple[int, int, bytes]:
    return BASE, READ | EXECUTE, bytes.fromhex(code).ljust(PAGE, b"\xcc")


def test_a_chain_of_multiplications_takes_its_latency() -> None:
    # 200 x imul rax, rcx: 3 cycles each on every x86_64 core since 2008 (uops.info)
    code = "480fafc1" * 200
    (cycles,) = run_on_host([HostCode(BASE, BASE + 800, {"rax": 1, "rcx": 3})], [_page(code)])
    assert cycles.low > 500
    assert cycles.kept <= cycles.samples


def test_a_fault_names_place_and_kind() -> None:
    with pytest.raises(GuestFault, match=f"{BASE:#x}: undefined"):
        run_on_host([HostCode(BASE, BASE + 2, {})], [_page("0f0b")], samples=5)
    # mov rax, [rbx]
    with pytest.raises(GuestFault, match=r"not there \(at 0x1234\)"):
        run_on_host([HostCode(BASE, BASE + 3, {"rbx": 0x1234})], [_page("488b03")], samples=5)


def test_pages_appear_where_a_block_touches_them_up_to_the_limit() -> None:
    # push rax; mov rcx, [rcx] (the fill points to itself's page)
    code = HostCode(BASE, BASE + 4, {"rsp": 0x12345600, "rcx": 0x12345600})
    (cycles,) = run_on_host([code], [_page("50488b09")], provided=2, fill=0x12345600, samples=5)
    assert cycles.median > 0
    with pytest.raises(GuestFault):
        run_on_host([code], [_page("50488b09")], provided=0, samples=5)


def test_an_address_that_is_taken_is_a_clear_error() -> None:
    pages = [(BASE, READ | EXECUTE, bytes(2 * PAGE)), (BASE + PAGE, READ | WRITE, bytes(PAGE))]
    with pytest.raises(UnsupportedError, match=r"not free|exists"):
        run_on_host([HostCode(BASE, BASE, {})], pages)


def test_a_cpu_that_is_never_idle_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    # a probe as fast as the first children's is never seen again
    monkeypatch.setattr(native, "_fastest", SimpleNamespace(cycles=1.0, seen=[]))
    monkeypatch.setattr(native, "_PATIENCE", 0.5)
    with pytest.raises(HostBusy, match="never idle"):
        run_on_host([HostCode(BASE, BASE, {})], [_page("")], samples=5)


def test_an_address_that_is_taken_by_chance_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # an interpreter whose first process has its heap where the code must lie
    seen = tmp_path / "seen"
    interpreter = tmp_path / "python"
    interpreter.write_text(
        f'#!/bin/sh\n[ -e {seen} ] && exec {sys.executable} "$@"\n'
        f"touch {seen}; echo 'OSError: mapping 4096 bytes at 0x40000000: File exists' >&2; exit 1\n"
    )
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    (cycles,) = run_on_host([HostCode(BASE, BASE + 1, {})], [_page("90")], samples=5)
    assert cycles.kept >= 1


def test_a_traced_call_runs_natively() -> None:
    kernel = Kernel(Arch.X86_64)
    programs = programs_of(parse_scenario("fentry+fexit"), "latency-hash")
    world = TracedWorld(
        kernel,
        function_of(),
        [Attachment(program) for program in programs],
        addresses=user_map(Arch.X86_64),
    )
    assert world.programs[0].loaded.kind in ProgKind
    world.run(2, trace=False)
    image = host_image(world.guest)
    code = image.loop(world.prepare(), 100)
    (cycles,) = run_on_host([code], image.pages, percpu=image.percpu, samples=5)
    assert 10_000 < cycles.median < 10_000_000
