"""Text against what objdump prints for the same bytes."""

import pytest

from tramposim.machine.disassembly import disassemble
from tramposim.spec import Arch


@pytest.mark.parametrize(
    ("arch", "code", "text"),
    [
        (Arch.X86_64, "554889e5c3", ["push rbp", "mov rbp, rsp", "ret"]),
        (Arch.X86_64, "e8fbffffff", ["call 0xffffffffc0000000"]),
        (Arch.X86_64, "9006", ["nop", ".byte 0x6"]),
        (Arch.ARM64, "fd7bbfa9c0035fd6", ["stp x29, x30, [sp, #-0x10]!", "ret"]),
        (Arch.ARM64, "00000000", ["udf #0"]),
        (Arch.ARM64, "ffffffff1f2003d5", [".inst 0xffffffff", "nop"]),
    ],
)
def test_every_byte_is_accounted_for(arch: Arch, code: str, text: list[str]) -> None:
    found = list(disassemble(arch, bytes.fromhex(code), 0xFFFFFFFFC0000000))
    assert [f"{insn.mnemonic} {insn.operands}".strip() for insn in found] == text
    assert b"".join(insn.code for insn in found).hex() == code
