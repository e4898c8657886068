"""Each rule of images is broken by one instruction, and told by its name.

Golden images are the truth; the changes are instructions encoded by hand.
"""

from pathlib import Path

import pytest

from tramposim.capture.records import Capture, CaseRecord
from tramposim.capture.trampolines import case_context
from tramposim.machine.rules.check import ImageReport, check_image
from tramposim.machine.rules.probe import Probe
from tramposim.machine.rules.rule import MEANINGS, Rule
from tramposim.spec import Arch
from tramposim.study.validate import ImageSubject, image_subject


def image(shared: Path, arch: str, case_id: str) -> ImageSubject:
    path = shared / "golden" / f"smoke-{arch}.jsonl.xz"
    capture = Capture(path)
    context = case_context(path, capture.boot)
    for where, record in capture:
        if isinstance(record, CaseRecord) and record.id == case_id:
            return image_subject(record, context, where)
    raise AssertionError(case_id)


def changed(subject: ImageSubject, old: str, new: str, number: int = 0) -> ImageReport:
    """The report on the image with the `number`-th occurrence of `old` replaced."""
    code, before, after = subject.code, bytes.fromhex(old), bytes.fromhex(new)
    at = -1
    for _ in range(number + 1):
        at = code.index(before, at + 1)
    code = code[:at] + after + code[at + len(before) :]
    return check_image(Probe(subject.request.kernel.arch), subject.request, code, subject.skips)


FSESSION = "n1.bpf_fentry_test1.fsc"
X86_64 = [
    # leave; ret -> nop; ret
    ("c9c3", "90c3", 0, {Rule.RETURN_ADDRESS, Rule.STACK_BALANCE}),
    # mov [rbp - 8], rax behind the original call -> nops
    ("488945f8", "90909090", 1, {Rule.RETURN_SLOT, Rule.RETURN_VALUE}),
    # mov [rbp - 0x10], rdi (argument 0) -> nops
    ("48897df0", "90909090", 0, {Rule.CONTEXT, Rule.ARGUMENTS}),
    # mov eax, 0x201 -> 0x301: another cookie index
    ("b801020000", "b801030000", 0, {Rule.SESSION_COOKIE}),
    # the nop that detaching patches
    ("0f1f440000", "9090909090", 0, {Rule.PATCHABLE_NOP}),
    # mov rbx, rax (start time) -> mov rcx, rax
    ("4889c3", "4889c1", 0, {Rule.ENTER_EXIT}),
    # push rbp; mov rbp, rsp -> push rbp; mov rbp, rsi
    ("554889e5", "554889f5", 0, {Rule.MEMORY}),
    # sub rsp, 0x38 -> 0x18: the frame does not hold what is stored in it
    ("4883ec38", "4883ec18", 0, {Rule.RED_ZONE}),
]


@pytest.mark.parametrize(("old", "new", "number", "rules"), X86_64)
def test_x86_64(shared: Path, old: str, new: str, number: int, rules: set[Rule]) -> None:
    report = changed(image(shared, "x86_64", FSESSION), old, new, number)
    assert rules <= {violation.rule for violation in report.violations}
    assert all(violation.instruction for violation in report.violations)


ARM64 = [
    # mov x20, x0 (start time) -> mov x21, x0
    ("f40300aa", "f50300aa", 0, {Rule.ENTER_EXIT, Rule.CALLEE_SAVED}),
    # mov sp, x29 of the epilogue -> nop
    ("bf030091", "1f2003d5", 0, {Rule.RETURN_ADDRESS}),
    # ret x9 -> ret x30 with another x30: mov x30, x9 -> mov x30, x19
    ("fe0309aa", "fe0313aa", 0, {Rule.RETURN_ADDRESS}),
    # the nop that detaching patches -> mov x10, x10
    ("1f2003d5", "ea030aaa", 0, {Rule.PATCHABLE_NOP}),
    # stp x29, x30, [sp, #-16]! -> stp x29, x30, [sp, #-8]!
    ("fd7bbfa9", "fdfbbfa9", 0, {Rule.STACK_ALIGNMENT}),
]


@pytest.mark.parametrize(("old", "new", "number", "rules"), ARM64)
def test_arm64(shared: Path, old: str, new: str, number: int, rules: set[Rule]) -> None:
    report = changed(image(shared, "arm64", FSESSION), old, new, number)
    assert rules <= {violation.rule for violation in report.violations}


def test_every_branch_goes_both_ways(shared: Path) -> None:
    for arch in Arch:
        subject = image(shared, arch, "mix.bpf_fentry_test1.fe+fsc")
        report = check_image(Probe(arch), subject.request, subject.code, subject.skips)
        assert report.violations == ()
        assert report.one_sided == ()
        # all bodies, other values of start times, none, every second one, and each patched out
        assert report.paths >= 8


def test_the_return_stack_is_told(shared: Path) -> None:
    """arm64 skips the frame of the traced function: returns do not match calls."""
    subject = image(shared, "arm64", FSESSION)
    report = check_image(Probe(Arch.ARM64), subject.request, subject.code)
    assert len(report.return_stack) == 2
    subject = image(shared, "x86_64", FSESSION)
    report = check_image(Probe(Arch.X86_64), subject.request, subject.code)
    assert report.return_stack == ()


def test_every_rule_has_a_meaning() -> None:
    assert set(MEANINGS) == set(Rule)
