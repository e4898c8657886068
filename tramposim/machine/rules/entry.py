"""Rules about the beginning and end of compiled programs, read from their bytes.

Attaching to a program patches its first instructions, tail calls and dispatchers branch into
it: what they rely on must be there. Facts: emit_prologue (x86_64), build_prologue and
build_plt (arm64), checked against captured programs.
"""

from __future__ import annotations

from collections.abc import Iterator

from tramposim.machine.rules.compiled import CompiledProgram
from tramposim.machine.rules.rule import Rule, Violation
from tramposim.spec import Arch

__all__ = ["check_entries"]

_ENDBR = bytes.fromhex("f30f1efa")
_NOP5 = bytes.fromhex("0f1f440000")
_BTI = bytes.fromhex("df2403d5")
_MOV_X9_LR = (bytes.fromhex("e9031eaa"), bytes.fromhex("c9030091"))
_NOP = bytes.fromhex("1f2003d5")
_LONG_JUMP = bytes.fromhex("4a00005840011fd6")
_LONG_JUMP_SIZE = 8
"""Its target, 8 bytes, lies right behind the code."""


def check_entries(program: CompiledProgram) -> Iterator[Violation]:
    """Violations in every function of a program."""
    codes = dict(program.listing.chunks)
    for site, target in program.listing.inner_calls():
        if target not in program.addresses:
            yield Violation(
                Rule.CALL_ORDER, site, f"calls {target:#x}, where no function begins",
                program.listing.text(site),
            )  # fmt: skip
    for address in program.addresses:
        check = _x86_64 if program.arch is Arch.X86_64 else _arm64
        for rule, offset, detail in check(codes[address], address, program):
            at = address + offset
            yield Violation(rule, at, detail, program.listing.text(at))


def _x86_64(code: bytes, address: int, program: CompiledProgram) -> Iterator[tuple[Rule, int, str]]:
    offset = 0
    if program.landing_pads:
        if not code.startswith(_ENDBR):
            yield Rule.LANDING_PAD, 0, "is called indirectly and does not begin with endbr64"
        offset = len(_ENDBR)
        tail = program.target.tail_entry
        if code[tail : tail + len(_ENDBR)] != _ENDBR:
            yield Rule.LANDING_PAD, tail, "tail calls come here, where no endbr64 is"
    if code[offset : offset + len(_NOP5)] != _NOP5:
        yield Rule.PATCHABLE_NOP, offset, f"attaching patches this, which is not {_NOP5.hex()}"


def _arm64(code: bytes, address: int, program: CompiledProgram) -> Iterator[tuple[Rule, int, str]]:
    offset = 0
    if program.landing_pads:
        if not code.startswith(_BTI):
            yield Rule.LANDING_PAD, 0, "is called indirectly and does not begin with bti jc"
        offset = len(_BTI)
    if code[offset : offset + 4] not in _MOV_X9_LR:
        yield Rule.PATCHABLE_NOP, offset, "does not keep lr in x9, which trampolines need"
    if code[offset + 4 : offset + 8] != _NOP:
        yield Rule.PATCHABLE_NOP, offset + 4, f"attaching patches this, which is not {_NOP.hex()}"
    start = len(code) - _LONG_JUMP_SIZE
    jump = code[max(0, start) : start + len(_LONG_JUMP)]
    if jump != _LONG_JUMP or (address + start) % 8:
        yield (
            Rule.PATCHABLE_NOP, max(0, start),
            "does not end with the long jump that attaching uses (ldr x10, br x10 before an"
            " 8-byte aligned address)",
        )  # fmt: skip
