"""The emulated CPU: hand-assembled code whose effects the manuals define."""

import subprocess
import sys

import numpy as np
import pytest

from tramposim._native.engine import EXECUTE, READ, WRITE, Engine, Stop
from tramposim.errors import GuestFault, InputError, UnsupportedError
from tramposim.machine.trace import ACCESS, STORE

TEXT = {"x86_64": 0xFFFFFFFF9E000000, "arm64": 0xFFFF94A527000000}
DATA = {"x86_64": 0xFF5A382980000000, "arm64": 0xFFF0000003000000}
PC = {"x86_64": "rip", "arm64": "pc"}


def engine(arch: str, code: str, **registers: int) -> Engine:
    cpu = Engine(arch)
    cpu.map(TEXT[arch], 0x1000, READ | EXECUTE)
    cpu.map(DATA[arch], 0x4000, READ | WRITE)
    cpu.write(TEXT[arch], bytes.fromhex(code))
    for name, value in registers.items():
        cpu.set_register(name, value)
    return cpu


def run(cpu: Engine, code: str, budget: int = 1000, trace: bool = False) -> Stop:
    text = TEXT[cpu.arch]
    return cpu.run(text, text + len(bytes.fromhex(code)), budget, trace=trace)


def recorded(cpu: Engine) -> tuple[list[int], list[tuple[int, int, int, bool]]]:
    pcs, accesses = cpu.take_trace()
    rows = [
        (int(row["address"]), int(row["insn"]), int(row["size"]), bool(row["flags"] & STORE))
        for row in np.frombuffer(accesses, ACCESS)
    ]
    return [pc - TEXT[cpu.arch] for pc in np.frombuffer(pcs, np.uint64).tolist()], rows


def test_x86_64_records_instructions_and_accesses_at_kernel_addresses() -> None:
    # push rax; lock xadd [rsp-8],rbx; mov gs:[8],rax; pop rax; dec r15; jnz
    code = "50f0480fc15c24f86548890c25080000005849ffcf75e9"
    data = DATA["x86_64"]
    cpu = engine("x86_64", code, rsp=data + 0x2000, gs_base=data + 0x100, r15=2)
    stop = run(cpu, code, trace=True)
    assert (stop.reason, stop.executed) == ("end", 12)
    pcs, accesses = recorded(cpu)
    assert pcs == [0, 1, 8, 17, 18, 21] * 2
    once = [
        (data + 0x1FF8, 0, 8, True),
        (data + 0x1FF0, 1, 8, False),
        (data + 0x1FF0, 1, 8, True),
        (data + 0x108, 2, 8, True),
        (data + 0x1FF8, 3, 8, False),
    ]
    assert accesses == once + [(address, insn + 6, *rest) for address, insn, *rest in once]
    text = TEXT["x86_64"]
    assert stop.branches == ((text + 21, text),)


def test_arm64_reads_kernel_registers_and_its_own_clock() -> None:
    # mrs x0,tpidr_el1; mrs x1,sp_el0; mrs x2,cntvct_el0; mrs x3,currentel; ldaddal x4,x5,[x6]
    code = "80d038d5014138d542e03bd5434238d5c500e4f8"
    data = DATA["arm64"]
    cpu = engine("arm64", code, tpidr_el1=data, sp_el0=data + 8, x6=data + 16, x4=3)
    cpu.write(data + 16, (40).to_bytes(8, "little"))
    cpu.clock = 1000
    assert run(cpu, code, trace=True).reason == "end"
    assert [cpu.register(f"x{n}") for n in range(4)] == [data, data + 8, 1003, 1 << 2]
    assert cpu.register("x5") == 40
    assert cpu.read(data + 16, 8) == (43).to_bytes(8, "little")
    assert recorded(cpu)[1] == [(data + 16, 4, 8, False), (data + 16, 4, 8, True)]


def test_x86_64_clock_is_deterministic() -> None:
    cpu = engine("x86_64", "0f31")
    cpu.clock = 0x123456789
    run(cpu, "0f31")
    assert (cpu.register("rdx"), cpu.register("rax")) == (1, 0x2345678A)


def test_clock_rate_is_ticks_per_instructions() -> None:
    cpu = engine("x86_64", "90" * 40 + "0f31")
    cpu.clock = 100
    cpu.set_clock_rate(3, 10)
    for before in (0, 41):
        run(cpu, "90" * 40 + "0f31")
        assert cpu.register("rax") == 100 + (before + 41) * 3 // 10
    with pytest.raises(InputError, match="clock rate"):
        cpu.set_clock_rate(1, 0)


def test_memory_is_limited() -> None:
    cpu = Engine("arm64", memory_limit=0x3000)
    cpu.map(0x10000, 0x2000)
    with pytest.raises(InputError, match="may have 0x3000 bytes of memory, 0x2000 are mapped"):
        cpu.map(0x20000, 0x2000)
    cpu.unmap(0x10000)
    cpu.map(0x20000, 0x2000)


@pytest.mark.parametrize(
    ("arch", "code", "registers", "reason", "offset"),
    [
        ("x86_64", "488b00", {"rax": 0xFF31000000001000}, "unmapped-read", 0),
        ("x86_64", "488900", {"rax": 0xFF31000000001000}, "unmapped-write", 0),
        ("x86_64", "488900", {"rax": TEXT["x86_64"]}, "protected-write", 0),
        ("x86_64", "90ffe0", {"rax": 0xFFFFFFFF12340000}, "unmapped-fetch", None),
        ("x86_64", "90ffe0", {"rax": DATA["x86_64"]}, "protected-fetch", None),
        ("x86_64", "900f0b", {}, "undefined-instruction", 1),
        ("x86_64", "90ebfe", {}, "budget", 1),
        ("x86_64", "90cc", {}, "exception", 2),
        ("arm64", "010040f9", {"x0": 0x100}, "unmapped-read", 0),
        ("arm64", "010000f9", {"x0": TEXT["arm64"]}, "protected-write", 0),
        ("arm64", "00001fd6", {"x0": 0x40}, "unmapped-fetch", None),
        ("arm64", "1f2003d500000000", {}, "undefined-instruction", 4),
        ("arm64", "1f2003d500000014", {}, "budget", 4),
        ("arm64", "1f2003d5200020d4", {}, "exception", 4),
    ],
)
def test_every_way_to_go_wrong_is_named(
    arch: str, code: str, registers: dict[str, int], reason: str, offset: int | None
) -> None:
    stop = run(engine(arch, code + "90" * 64, **registers), code + "90" * 64)
    assert stop.reason == reason
    target = registers.get("rax", registers.get("x0", 0))
    assert stop.pc == (target if offset is None else TEXT[arch] + offset)
    if "protected" in reason or "unmapped" in reason:
        assert stop.address == target


@pytest.mark.parametrize(("code", "name"), [("f30fc7f8", "rax"), ("f3410fc7f9", "r9")])
def test_the_only_cpu_is_number_zero(code: str, name: str) -> None:
    cpu = engine("x86_64", code + "90", **{name: 7})
    stop = run(cpu, code + "90")
    assert (stop.reason, stop.executed, cpu.register(name)) == ("end", 2, 0)


def test_budget_is_exact() -> None:
    cpu = engine("x86_64", "ffc0ebfc")
    assert run(cpu, "ffc0ebfc", budget=1001).executed == 1001
    assert cpu.register("rax") == 501


def test_trace_limit_stops_the_run() -> None:
    cpu = Engine("x86_64", trace_limit=1 << 15)
    cpu.map(TEXT["x86_64"], 0x1000)
    cpu.write(TEXT["x86_64"], bytes.fromhex("ebfe"))
    stop = cpu.run(TEXT["x86_64"], 0, 1 << 20, trace=True)
    assert stop.reason == "trace-full"
    assert len(recorded(cpu)[0]) == 1 << 15


def test_watched_addresses_snapshot_registers() -> None:
    code = "ffc0ffc0"
    cpu = engine("x86_64", code, rax=7)
    cpu.watch([TEXT["x86_64"] + 2])
    run(cpu, code)
    rows = np.frombuffer(cpu.take_snapshots(), np.uint64).reshape(-1, 2 + len(cpu.register_ids))
    assert rows[:, :3].tolist() == [[1, TEXT["x86_64"] + 2, 8]]


def test_code_written_later_is_executed() -> None:
    cpu = engine("x86_64", "ffc0")
    run(cpu, "ffc0")
    cpu.write(TEXT["x86_64"], bytes.fromhex("ffc8"))
    run(cpu, "ffc8")
    assert cpu.register("rax") == 0


def test_regions_that_would_share_low_bits_are_refused() -> None:
    cpu = Engine("x86_64")
    cpu.map(0xFF31000000000000, 0x2000)
    with pytest.raises(InputError, match="overlaps the region of 0x2000 bytes"):
        cpu.map(0xFF21000000001000, 0x1000)
    with pytest.raises(InputError, match="whole pages"):
        cpu.map(0xFF31000000004000, 0x800)
    cpu.unmap(0xFF31000000000000)
    cpu.map(0xFF21000000001000, 0x1000)
    assert cpu.regions() == [(0xFF21000000001000, 0x1000)]


def test_bad_requests_are_named() -> None:
    with pytest.raises(UnsupportedError, match="riscv"):
        Engine("riscv")
    cpu = Engine("arm64")
    with pytest.raises(InputError, match="no register rax"):
        cpu.register("rax")
    with pytest.raises(GuestFault, match="reading 8 bytes at 0x1000: not mapped"):
        cpu.read(0x1000, 8)
    with pytest.raises(GuestFault, match="writing 2 bytes at 0x1000: not mapped"):
        cpu.write(0x1000, b"ab")


FAKE_LIBRARY = """
import ctypes, sys, types
number = ctypes.POINTER(ctypes.c_uint)

@ctypes.CFUNCTYPE(ctypes.c_uint, number, number)
def old(major, minor):
    major[0], minor[0] = 1, 9
    return 0

module = types.ModuleType("unicorn.unicorn_py3.unicorn")
module.uclib = types.SimpleNamespace(uc_version=old)
sys.modules["unicorn.unicorn_py3.unicorn"] = {module}
from tramposim._native import unicorn_api
from tramposim.errors import UnsupportedError
try:
    unicorn_api.version()
except UnsupportedError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("module", "message"),
    [("None", "cannot be loaded"), ("module", "Unicorn 1.9 is loaded; 2.1 or a later 2.x")],
)
def test_a_library_that_cannot_be_used_is_named(module: str, message: str) -> None:
    script = FAKE_LIBRARY.replace("{module}", module)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert message in done.stdout, done.stderr
    assert "install" in done.stdout
