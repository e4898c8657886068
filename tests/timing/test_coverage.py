"""Every instruction of the captured kernels' images, programs and functions has a timing.

What has none is refused by name: traps, and on arm64 the memory-copy extension's instructions
and words of data that happen to decode.
"""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import capstone
import pytest

from tramposim.errors import UnsupportedError
from tramposim.spec import Arch
from tramposim.timing import core_names, load_core
from tramposim.timing.decode import static_code

REFUSED = {
    Arch.X86_64: {"int3", "ud2"},
    Arch.ARM64: {"brk", "udf"}
    | {f"{what}{step}" for what in ("cpy", "set") for step in "pme"}
    | {"cmphs", "cpyfpwt", "cpyfmwt", "cpyfewt"},
}
"""Mnemonics that may be refused."""

FILES = {
    Arch.X86_64: ("x86_64-7.2.13-default", "x86_64-7.2.13-its", "x86_64-7.2.13-srso"),
    Arch.ARM64: ("arm64-7.2.13-max", "arm64-7.2.13-a72"),
}


def _codes(golden: Path, stem: str) -> set[bytes]:
    codes = set()
    for file in sorted(golden.glob(f"{stem}-*.jsonl.xz")):
        with lzma.open(file, "rt") as stream:
            for record in map(json.loads, stream):
                codes |= {bytes.fromhex(record[key]) for key in ("bytes", "img") if key in record}
                codes |= {
                    bytes.fromhex(p["jited"]) for p in record.get("progs") or () if "jited" in p
                }
    return codes


def _instructions(arch: Arch, codes: set[bytes]) -> dict[bytes, str]:
    if arch is Arch.X86_64:
        engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    else:
        engine = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
    found: dict[bytes, str] = {}
    for code in codes:
        for address, size, mnemonic, _operands in engine.disasm_lite(code, 0):
            found.setdefault(code[address : address + size], mnemonic)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("arch", list(Arch))
def test_every_captured_instruction_has_a_timing_or_is_known_to_have_none(
    shared: Path, arch: Arch
) -> None:
    codes = set().union(*(_codes(shared / "golden", stem) for stem in FILES[arch]))
    instructions = _instructions(arch, codes)
    assert len(instructions) > 500
    refused: dict[str, set[str]] = {}
    for name in core_names():
        core = load_core(name)
        if core.arch is not arch:
            continue
        for code, mnemonic in instructions.items():
            try:
                static_code(core, [0], [code])
            except UnsupportedError as error:
                refused.setdefault(mnemonic, set()).add(str(error))
    assert set(refused) <= REFUSED[arch], refused
    for mnemonic, errors in refused.items():
        assert all(mnemonic in error for error in errors)
