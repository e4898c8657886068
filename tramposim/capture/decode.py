"""What an image's machine code says: its extent, struct bpf_tramp_image, programs, flags."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tramposim.errors import InputError
from tramposim.kernel.nodes import TrampFlag
from tramposim.spec import Arch

__all__ = ["DecodedImage", "DecodedNode", "decode_image"]

_MASK = (1 << 64) - 1
_RDI, _RAX = "rdi", "rax"


@dataclass(slots=True)
class DecodedNode:
    """A program call: struct bpf_prog, entry point (0: not seen), BPF cookie, and whether it
    comes before the original call."""

    p: int
    cookie: int
    bpf_func: int = 0
    before_original: bool = True


@dataclass(slots=True)
class DecodedImage:
    """`length` bytes of code; `calls` are all call targets in order, `im` 0 if it names none."""

    length: int = 0
    im: int = 0
    nodes: list[DecodedNode] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    calls_original: bool = False
    skips_frame: bool = False

    @property
    def flags(self) -> TrampFlag:
        """The flags that the code shows (not IP_ARG, TAIL_CALL_CTX, RET_FENTRY_RET)."""
        flags = TrampFlag.CALL_ORIG if self.calls_original else TrampFlag.RESTORE_REGS
        return flags | TrampFlag.SKIP_FRAME if self.skips_frame else flags


def decode_image(
    arch: Arch,
    code: bytes,
    address: int,
    function: range,
    name_of: Callable[[int], str],
) -> DecodedImage:
    """Decode the image at `address`; `code` are its bytes and perhaps what follows.

    `function` is where the traced function may be entered, `name_of` names what is called.
    Raises `InputError` if the code is not that of an image.
    """
    walker = _Walker(function, name_of)
    if arch is Arch.X86_64:
        _walk_x86_64(walker, code, address)
    else:
        _walk_arm64(walker, code, address)
    image = walker.image
    if not image.length or not image.nodes:
        raise InputError(f"the code at {address:#x} is not that of a trampoline image")
    return image


class _Walker:
    """Collects what calls mean; `argument` is the first argument's value, if it is known."""

    def __init__(self, function: range, name_of: Callable[[int], str]) -> None:
        self.image = DecodedImage()
        self._function = function
        self._name_of = name_of
        self._expects_body = False

    def call(self, target: int, argument: int | None, stored: int | None) -> None:
        """A call of `target`; `stored` is the value last stored to the stack for run_ctx."""
        image = self.image
        image.calls.append(target)
        name = self._name_of(target)
        if name.startswith("__bpf_prog_enter"):
            if argument is None:
                raise InputError(f"the program of a call of {name} is not a constant")
            image.nodes.append(DecodedNode(argument, stored or 0, 0, not image.calls_original))
            self._expects_body = True
        elif name == "__bpf_tramp_enter":
            image.im = argument or 0
        elif target in self._function:
            image.calls_original = True
        elif self._expects_body and not name.startswith("__bpf_"):
            image.nodes[-1].bpf_func = target
            self._expects_body = False


def _walk_x86_64(walker: _Walker, code: bytes, address: int) -> None:
    import capstone
    from capstone import x86

    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)  # type: ignore[no-untyped-call]
    decoder.detail = True
    values: dict[str, int] = {}
    stored: int | None = None
    end = address + len(code)
    previous = b""
    for insn in decoder.disasm(code, address):  # type: ignore[no-untyped-call]
        operands = insn.operands
        after = insn.address + insn.size - address
        if insn.id in (x86.X86_INS_RET, x86.X86_INS_JMP):
            target = operands[0].imm & _MASK if operands else None
            if target is None or not address <= target < end:
                trap = target is None and code[after : after + 1] == b"\xcc"
                walker.image.length = after + trap
                walker.image.skips_frame = previous == b"\x48\x83\xc4\x08"
                return
        elif insn.id == x86.X86_INS_CALL and operands[0].type == x86.X86_OP_IMM:
            walker.call(operands[0].imm & _MASK, values.get(_RDI), stored)
        elif insn.id in (x86.X86_INS_MOV, x86.X86_INS_MOVABS):
            into, what = operands
            if into.type == x86.X86_OP_REG:
                register = _wide(insn.reg_name(into.reg))
                if what.type == x86.X86_OP_IMM:
                    short = insn.reg_name(into.reg).startswith("e")
                    values[register] = what.imm & (0xFFFFFFFF if short else _MASK)
                else:
                    values.pop(register, None)
            elif what.type == x86.X86_OP_REG and _wide(insn.reg_name(what.reg)) == _RDI:
                stored = values.get(_RDI)
        elif insn.id == x86.X86_INS_XOR and operands[0].type == x86.X86_OP_REG:
            values[_wide(insn.reg_name(operands[0].reg))] = 0
        elif insn.id == x86.X86_INS_LEA:
            values.pop(_wide(insn.reg_name(operands[0].reg)), None)
        previous = bytes(insn.bytes)


def _wide(register: str) -> str:
    return "r" + register[1:] if register.startswith("e") else register


def _walk_arm64(walker: _Walker, code: bytes, address: int) -> None:
    values: dict[int, int] = {}
    stored: int | None = None
    returns_here = False
    for at in range(0, len(code) - 3, 4):
        word = int.from_bytes(code[at : at + 4], "little")
        register = word & 31
        if word & 0x1F800000 == 0x12800000:
            values[register] = _moved(word, values.get(register, 0))
        elif word & 0xFFE0FFE0 == 0xAA0003E0 or word & 0xFFFFFC00 == 0x91000000:
            source = word >> 16 & 31 if word >> 24 == 0xAA else word >> 5 & 31
            _copy(values, register, source)
        elif word & 0xFFC003E0 == 0xF90003E0:
            stored = 0 if register == 31 else values.get(register)
        elif word >> 26 == 0x25:
            offset = (word & 0x3FFFFFF) - (1 << 26 if word & 0x2000000 else 0)
            walker.call(address + at + 4 * offset & _MASK, values.get(0), stored)
        elif word & 0xFFFFFC1F == 0xD63F0000:
            walker.call(values.get(word >> 5 & 31, 0), values.get(0), stored)
        elif word & 0xFFFFFC1F == 0xD65F0000:
            if not returns_here:
                walker.image.length = at + 4
                walker.image.skips_frame = word >> 5 & 31 == 9
                return
            # Into the traced function, by the address that its patched entry left.
            walker.image.calls_original = True
        # adr x30, #8: the next return is the call of the original function.
        returns_here = word == 0x1000005E
        if word & 0xFFC00000 == 0x91000000 and word >> 5 & 31 == 31:
            values.pop(register, None)


def _copy(values: Mapping[int, int] | dict[int, int], into: int, source: int) -> None:
    assert isinstance(values, dict)
    if source in values:
        values[into] = values[source]
    else:
        values.pop(into, None)


def _moved(word: int, before: int) -> int:
    """The register after movn, movz or movk."""
    shift, imm = (word >> 21 & 3) * 16, word >> 5 & 0xFFFF
    kind = word >> 29 & 3
    mask = _MASK if word >> 31 else (1 << 32) - 1
    if kind == 3:
        return (before & ~(0xFFFF << shift) | imm << shift) & mask
    return (imm << shift if kind == 2 else ~(imm << shift)) & mask
