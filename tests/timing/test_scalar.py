"""Instructions that are rare in trampolines: what they take on silicon, a timing on every core."""

from __future__ import annotations

import pytest

from tramposim.spec import Arch
from tramposim.timing import core_names, load_core
from tramposim.timing.decode import static_code
from tramposim.timing.throughput import throughput

ZEN5 = {
    "movbe r8-r15, [rdi]": (
        "4c0f38f0074c0f38f00f4c0f38f0174c0f38f01f4c0f38f0274c0f38f02f4c0f38f0374c0f38f03f",
        2.04,
    ),
    "movbe [rdi], ax": ("660f38f107", 0.5),
    "bextr rax, rax, rcx": ("c4e2f0f7c0", 1.0),
    "pdep rax, rax, rcx": ("c4e2fbf5c1", 2.98),
    "pext r8-r15, rax, rcx": (
        "c462faf5c1c462faf5c9c462faf5d1c462faf5d9c462faf5e1c462faf5e9c462faf5f1c462faf5f9",
        2.66,
    ),
    "blsr r8-r15, rax": (
        "c4e2b8f3c8c4e2b0f3c8c4e2a8f3c8c4e2a0f3c8c4e298f3c8c4e290f3c8c4e288f3c8c4e280f3c8",
        2.66,
    ),
    "adcx rax, rcx; adox rbx, rcx": ("66480f38f6c1f3480f38f6d9", 1.0),
    "crc32 rax, rcx": ("f2480f38f1c1", 3.01),
    "mulx rdx, rbx, rdx": ("c4e2e3f6d2", 3.99),
    "mov eax, ecx; mul rcx": ("89c848f7e1", 0.667),
    "mul cx": ("66f7e1", 2.98),
    "lahf; sahf": ("9f9e", 2.0),
    "xlatb": ("d7", 5.99),
    "lodsb": ("ac", 2.99),
    "scasq": ("48af", 2.99),
    "cmpsb": ("a6", 2.99),
    "stosq": ("48ab", 2.99),
    "movsq": ("48a5", 3.03),
    "pop [rdi]": ("8f07", 0.5),
    "cmpxchg16b [rdi]": ("480fc70f", 19.42),
    "lock cmpxchg16b [rdi]": ("f0480fc70f", 21.0),
    "lock adc [rdi], rbx": ("f048111f", 19.96),
    "pushfq": ("9c", 3.99),
    "add [rdi], bx": ("66011f", 1.0),
    "bts rax, rbx": ("480fabd8", 1.99),
    "bt [rdi], rbx": ("480fa31f", 2.99),
    "xchg rax, rbx": ("4893", 0.25),
    "mov eax, eax": ("89c0", 0.14),
    "rcl rbx, 1": ("48d1d3", 1.0),
    "rcl rbx, 3": ("48c1d303", 4.0),
    "tzcnt eax, ebx": ("f30fbcc3", 0.33),
    "popcnt ax, bx": ("66f30fb8c3", 1.0),
    "lea rax, [r13 + rcx]": ("498d440d00", 0.49),
    "add rsp, 72; pop rbx; pop r15": ("4883c4485b415f", 2.0),
    "push rbx; push rbx; add rsp, 16": ("53534883c410", 1.99),
    "mov rcx, rsp; pop rbx; push rbx": ("4889e15b53", 0.51),
    "rdtscp": ("0f01f9", 69.06),
}
"""Code and cycles on a Zen 5, by `tramposim native --hex`."""

EVERYWHERE = {
    Arch.X86_64: [code for code, _ in ZEN5.values()]
    + [
        "c4e2f0f5c0",  # bzhi
        "c4e2f8f3d8",  # blsi
        "c4e2f8f3d0",  # blsmsk
        "0f1807",  # prefetchnta
        "0f180f",  # prefetcht0
        "0f0d0f",  # prefetchw
        "66ab",  # stosw
        "f0181f",  # lock sbb
    ],
    Arch.ARM64: [
        "0050c11a",  # crc32cb
        "004cc19a",  # crc32x
        "804040d9",  # ldapur
        "804000d9",  # stlur
        "800080f9",  # prfm
    ],
}


@pytest.mark.parametrize("name", ZEN5)
def test_rare_instructions_take_what_they_take_on_a_zen_5(name: str) -> None:
    code, cycles = ZEN5[name]
    found = throughput(bytes.fromhex(code), load_core("zen5"), "cached").cycles
    assert found == pytest.approx(cycles, rel=0.05, abs=0.03)


@pytest.mark.parametrize("name", core_names())
def test_rare_instructions_have_a_timing_on_every_core(name: str) -> None:
    core = load_core(name)
    for code in map(bytes.fromhex, EVERYWHERE[core.arch]):
        assert static_code(core, [0], [code]).specs


def test_per_cpu_data_of_a_block_is_where_its_segment_base_says() -> None:
    # golden-cove-microkernels.csv, 'inc dword gs:[d32] chain'
    found = throughput(bytes.fromhex("65ff042540000000"), load_core("golden-cove")).cycles
    assert found == pytest.approx(1.0, rel=0.05)


def test_each_port_has_its_own_unit_that_is_not_pipelined() -> None:
    # stp x0, x1, [x4]: two store pipes, each of which takes two cycles
    assert throughput(bytes.fromhex("800400a9"), load_core("neoverse-n1")).cycles == 1.0
