"""The host CPU as an engine: code built for the machine executed natively, in a child process.

Every sample is bracketed by a dependent chain of additions, which scales ticks of the time
stamp counter to core cycles, and by a run of nops, which is slow when something else uses the
core; samples beside a slow one are dropped, judged by the fastest that this process has seen.
Method: the measurements that the core models are judged by were taken in the same way.
"""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from time import monotonic, sleep

import msgspec

from tramposim._native import arm64_asm, x86_64_asm
from tramposim._native.engine import EXECUTE, READ, WRITE
from tramposim.errors import GuestFault, HostBusy, UnsupportedError
from tramposim.machine.addresses import PAGE
from tramposim.machine.hostchild import Job, Samples
from tramposim.machine.hoststub import SAVE_AREA, build_stub, jump_to
from tramposim.spec import Arch

__all__ = ["Cycles", "HostCode", "host_arch", "run_on_host"]

_STUBS = 0x3F000000
"""Where stubs lie: in branch reach of `addresses.user_map`'s code, below it."""

_CHAIN, _CHAIN_LOOPS = 64, 500
_PROBE_NOPS, _PROBE_LOOPS = 120, 400
"""Long enough for time stamp counters that advance in steps of ten nanoseconds (AMD's)."""

_SLOW_PROBE = 1.1
"""A probe that takes this many times the fastest one's cycles shows a busy core."""

_MOST = 20
"""How many samples are taken at most for one that is wanted."""

_PATIENCE, _PAUSE = 20.0, 0.25
"""Seconds before a machine is called busy, and between the processes that are tried until then."""

_STARTS = 4
"""Processes that are tried for one whose memory is free where the code lies: that of an
interpreter which is linked to a fixed address has its heap anywhere in the lowest GiB."""

_TIMEOUT = 120.0
_GENERAL_PROTECTION = (11, 128)
"""Signal and code of what the CPU refuses without naming an address (SIGSEGV, SI_KERNEL)."""

_SIGNALS = {
    4: "undefined instruction",
    5: "breakpoint",
    7: "bus error",
    8: "division fault",
    11: "access to memory that is not there",
}


@dataclass(frozen=True, slots=True)
class HostCode:
    """Code to time: enter at `begin` with `registers`; at `end` control must come back.

    It is entered `rounds` times, its registers filled anew; the cycles are those of all rounds.
    """

    begin: int
    end: int
    registers: Mapping[str, int]
    rounds: int = 1


@dataclass(frozen=True, slots=True)
class Cycles:
    """Core cycles of one run of the code: median and spread of the samples that were kept.

    `low` and `high` are the 5th and 95th percentile; `counted` tells whether cycles were
    counted by perf events or scaled from the time stamp counter.
    """

    median: float
    low: float
    high: float
    kept: int
    samples: int
    counted: bool


class _Fastest:
    """Core cycles of the fastest probe that two children agree on: the core was idle beside it."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    @property
    def cycles(self) -> float:
        seen = sorted(self.seen)
        agreed = (a for a, b in pairwise(seen) if b <= a * _SLOW_PROBE)
        return next(agreed, seen[-1] if seen else inf)


_fastest = _Fastest()


def host_arch() -> Arch:
    """Architecture of this machine; `UnsupportedError` if it is neither of the two."""
    names = {"x86_64": Arch.X86_64, "AMD64": Arch.X86_64, "aarch64": Arch.ARM64}
    found = names.get(platform.machine())
    if found is None or sys.platform != "linux":
        raise UnsupportedError(
            f"this machine is {sys.platform} on {platform.machine()}; native execution needs"
            " Linux on x86_64 or aarch64"
        )
    return found


def run_on_host(
    codes: Sequence[HostCode],
    pages: Iterable[tuple[int, int, bytes]],
    *,
    percpu: int = 0,
    provided: int = 0,
    fill: int = 0,
    samples: int = 100,
) -> list[Cycles]:
    """Time each code on this CPU, whose architecture they are for.

    `pages` is all memory that they need: (address, permissions, whole pages of bytes);
    up to `provided` more pages appear when they are touched, all the same one, refilled with
    the 8 bytes of `fill` before every sample.
    Raises `HostBusy` if something else uses the CPU all the time, `UnsupportedError` if the
    system forbids it, `GuestFault` if the code faults.
    """
    arch = host_arch()
    memory = {address: (permissions, bytearray(data)) for address, permissions, data in pages}
    stubs = bytearray()
    save = _STUBS - PAGE

    def add(begin: int, registers: Mapping[str, int], rounds: int = 1) -> tuple[int, int]:
        """A stub; its address and where its code must jump in the end."""
        stubs.extend(bytes(-len(stubs) % 64))
        stub = build_stub(arch, _STUBS + len(stubs), save, begin, registers, rounds)
        stubs.extend(stub.code)
        return stub.address, stub.leave

    timed = []
    for code in codes:
        entry, leave = add(code.begin, code.registers, code.rounds)
        _write(memory, code.end, jump_to(arch, code.end, leave))
        timed.append(entry)
    controls = [_add_control(arch, stubs, add, *body) for body in _controls(arch)]
    stubs.extend(bytes(-len(stubs) % PAGE))
    job = Job(
        pages=[
            *(
                (address, permissions, bytes(data))
                for address, (permissions, data) in memory.items()
            ),
            (save, READ | WRITE, bytes(-(-SAVE_AREA // PAGE) * PAGE)),
            (_STUBS, READ | EXECUTE, bytes(stubs)),
        ],
        provided=provided,
        fill=fill,
        percpu=percpu,
        timed=timed,
        probe=controls[0],
        chain=controls[1],
        chain_cycles=_CHAIN * _CHAIN_LOOPS,
        samples=samples,
        most=samples * _MOST,
        slow=_SLOW_PROBE,
        idle=_fastest.cycles,
    )
    started = monotonic()
    while True:
        measured = _run_child(job)
        _fastest.seen.append(min(min(each) for each in measured.probes))
        limit = _fastest.cycles * _SLOW_PROBE
        if all(min(each) <= limit for each in measured.probes):
            return [
                _summary(cycles, probes, limit, measured.counted)
                for cycles, probes in zip(measured.cycles, measured.probes, strict=True)
            ]
        if monotonic() - started > _PATIENCE:
            raise HostBusy("this CPU was never idle long enough to measure on it; try again")
        sleep(_PAUSE)


def _write(memory: dict[int, tuple[int, bytearray]], address: int, data: bytes) -> None:
    for start, (_, content) in memory.items():
        if start <= address and address + len(data) <= start + len(content):
            content[address - start : address - start + len(data)] = data
            return
    raise GuestFault(f"code ends at {address:#x}, which is not in its memory")


def _controls(arch: Arch) -> list[tuple[bytes, int]]:
    """Loop bodies and counts of the probe (nops) and of the chain (dependent additions)."""
    if arch is Arch.X86_64:
        nop, add = x86_64_asm.ISA.encode_one("nop", 1), x86_64_asm.ISA.encode_one("add", 0, 1)
    else:
        nop, add = b"\x1f\x20\x03\xd5", b"\x00\x00\x01\x8b"
    return [(nop * _PROBE_NOPS, _PROBE_LOOPS), (add * _CHAIN, _CHAIN_LOOPS)]


def _add_control(arch: Arch, stubs: bytearray, add: object, body: bytes, loops: int) -> int:
    """A stub that runs `body` `loops` times; its address."""
    assert callable(add)
    stubs.extend(bytes(-len(stubs) % 64))
    begin = _STUBS + len(stubs)
    if arch is Arch.X86_64:
        encode = x86_64_asm.ISA.encode_one
        loop = body + b"\x49\xff\xcf"
        loop += encode("jcc", 5, begin, address=begin + len(loop))
        counter = "r15"
    else:
        encode = arm64_asm.ISA.encode_one
        loop = body + encode("subsi", 28, 28, 1)
        loop += encode("bcond", 1, begin, address=begin + len(loop))
        counter = "x28"
    room = len(jump_to(arch, begin, begin))
    stubs.extend(loop + bytes(room))
    address, leave = add(begin, {counter: loops})
    at = begin + len(loop)
    stubs[at - _STUBS : at - _STUBS + room] = jump_to(arch, at, leave)
    return int(address)


def _run_child(job: Job) -> Samples:
    child = [sys.executable, "-m", "tramposim.machine.hostchild"]
    message = msgspec.msgpack.encode(job)
    for _ in range(_STARTS):
        try:
            done = subprocess.run(
                child, input=message, capture_output=True, timeout=_TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired:
            raise GuestFault(
                f"native code did not come back within {_TIMEOUT:.0f} s (an endless loop?)"
            ) from None
        if done.returncode == 0:
            return msgspec.msgpack.decode(done.stdout, type=Samples)
        text = done.stderr.decode(errors="replace").strip()
        last = text.splitlines()[-1] if text else f"status {done.returncode}"
        words = last.split()
        if words[:1] == ["fault"] and len(words) == 5:
            raise GuestFault(_fault(int(words[1]), int(words[2]), int(words[3], 16), words[4]))
    raise UnsupportedError(f"this system does not run code natively: {last}")


def _fault(signal: int, code: int, pc: int, address: str) -> str:
    if (signal, code) == _GENERAL_PROTECTION:
        what = "privileged instruction, or an address that no memory can have"
    else:
        what = _SIGNALS.get(signal, f"signal {signal}")
        what += f" (at 0x{address})" if signal in (7, 11) else ""
    return f"native code at {pc:#x}: {what}"


def _summary(
    cycles: Sequence[float], probes: Sequence[float], limit: float, counted: bool
) -> Cycles:
    kept = sorted(c for c, probe in zip(cycles, probes, strict=True) if probe <= limit)
    at = (len(kept) - 1) / 20
    return Cycles(
        median=statistics.median(kept),
        low=kept[round(at)],
        high=kept[round(19 * at)],
        kept=len(kept),
        samples=len(cycles),
        counted=counted,
    )
