"""Selftest lines against what LLVM prints for the same bytes."""

import re
import shutil
import subprocess

import pytest

from tramposim.kernel.declaration import parse_prototype
from tramposim.kernel.image import Image
from tramposim.report.jited import jited_text
from tramposim.spec import Arch, Kernel
from tramposim.study.image import scenario_image
from tramposim.study.scenario import parse_scenario

PROTOTYPE = "int f(int, void *, long, long, long, long, long, char, int)"
SCENARIOS = ("fentry", "fsession+cookie+fmod_ret+fexit+ip", "fexit*2+sleepable")


def built(arch: Arch, scenario: str) -> Image:
    return scenario_image(Kernel(arch), parse_prototype(PROTOTYPE), parse_scenario(scenario))


def llvm_lines(arch: Arch, code: bytes) -> list[str]:
    triple = {Arch.X86_64: "x86_64", Arch.ARM64: "aarch64"}[arch]
    out = subprocess.run(
        ["llvm-mc", "--disassemble", f"--triple={triple}", "--print-imm-hex"],
        input=" ".join(f"{byte:#x}" for byte in code),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    lines = (re.sub(r"\s*(//|#) (imm )?=.*", "", line).strip() for line in out.splitlines())
    return [line for line in lines if line and not line.startswith(".")]


@pytest.mark.skipif(shutil.which("llvm-mc") is None, reason="llvm-mc is not installed")
@pytest.mark.parametrize("arch", list(Arch))
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_lines_match_llvm(arch: Arch, scenario: str) -> None:
    image = built(arch, scenario)
    lines = jited_text(image).splitlines()
    printed = llvm_lines(arch, image.code)
    if printed[-1] == "int3":
        printed.pop()
    assert len(lines) == len(printed)
    for line, expected in zip(lines, printed, strict=True):
        text = re.fullmatch(r'__jited\("(?:L[0-9]+:)?\t(.*)"\)', line)
        assert text, line
        pattern = re.escape(text[1]).replace(re.escape("{{.*}}"), ".*")
        pattern = re.sub(r"\bL[0-9]+$", "#?-?0x[0-9a-f]+", pattern)
        assert re.fullmatch(pattern, expected), (line, expected)


@pytest.mark.parametrize("arch", list(Arch))
def test_lines_do_not_depend_on_addresses(arch: Arch) -> None:
    image = built(arch, "fsession+cookie")
    text = jited_text(image)
    assert not re.search(r"ffff8|ffffffff8|0x777|callq\t0x|bl\t#", text)
    assert "$-0x7ffffffffffff" in text or "-0x8000000000000000" in text
    assert re.search(r'__jited\("L0:\t', text)
