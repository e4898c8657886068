"""The traced function: a patchable entry as the kernel's compiler makes it, and a body.

The kernel's own test functions (net/bpf/test_run.c) do what their names stand for there; any
other function returns the sum of its argument slots, so that every argument is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

from tramposim._native import arm64_asm, x86_64_asm
from tramposim._native.engine import EXECUTE, READ
from tramposim.bpf.memory import Memory
from tramposim.errors import InputError, UnsupportedError
from tramposim.kernel.prototype import Passing, place_arguments
from tramposim.machine.caller import X86_64_ARGUMENTS
from tramposim.machine.machine import Machine
from tramposim.machine.runtime import RETURN_THUNKS
from tramposim.spec import Arch, Entry, Kernel, Prototype, Returns, Value

__all__ = ["Target", "function_result", "patch_entry", "place_target", "return_code"]

_RAX, _RSP, _R10, _R11 = 0, 4, 10, 11
_SP = 31
_LITERAL = 8
_BEFORE = {Arch.X86_64: b"\x90" * 16, Arch.ARM64: bytes(_LITERAL)}
"""What lies before a function: call padding, or the literal that points to a struct ftrace_ops."""
_PATCHED = {Arch.X86_64: 5, Arch.ARM64: 4}
"""Bytes of the patched instruction of the entry."""


@dataclass(frozen=True, slots=True)
class Target:
    """A traced function: its address, the instruction that is patched, the code behind it."""

    address: int
    site: int
    body: int


@dataclass(frozen=True, slots=True)
class _Term:
    """A summand: slot `slot`, or `load` bytes at the address in it."""

    slot: int
    load: int = 0


@dataclass(frozen=True, slots=True)
class _Body:
    """Returns `constant` plus the terms; first adds 1 to the int at the address in a slot."""

    terms: tuple[_Term, ...]
    constant: int = 0
    increments: int | None = None


_KNOWN = MappingProxyType(
    {
        "bpf_fentry_test1": _Body((_Term(0),), constant=1),
        "bpf_fentry_test8": _Body((_Term(0, load=8),)),
        "bpf_fentry_test9": _Body((_Term(0, load=4),)),
        "bpf_modify_return_test": _Body((_Term(0), _Term(1, load=4)), increments=1),
        "bpf_modify_return_test2": _Body(
            (_Term(0), _Term(1, load=4), *(_Term(slot) for slot in range(2, 7))), increments=1
        ),
    }
)


def place_target(
    machine: Machine,
    prototype: Prototype,
    address: int | None = None,
    room: int | None = None,
    returns: int | None = None,
) -> Target:
    """Put the function into guest memory, not traced yet.

    It lies at `address` if that is given and its code fits in `room` bytes (None: any number;
    on arm64 the last ones of these belong to the literal before the next function), else in a
    free place. With `returns` it only returns that value.
    """
    body = _body(prototype) if returns is None else _Body((), returns)
    before = _BEFORE[machine.arch]
    if address is not None:
        code, site = _code(machine, prototype, body, address)
        after = _LITERAL if machine.arch is Arch.ARM64 else 0
        if room is not None and len(code) + after > room:
            address = None
    if address is None:
        address = machine.allocate(machine.addresses.driver, 1024, 64) + 64
        code, site = _code(machine, prototype, body, address)
    machine.place(address - len(before), before + code, READ | EXECUTE, prototype.name)
    machine.add_symbols({prototype.name: address})
    return Target(address, address + site, address + site + _PATCHED[machine.arch])


def function_result(prototype: Prototype, slots: Sequence[int], memory: Memory) -> int:
    """What the function's body computes for these slot values: the register that it returns in.

    `memory` is what pointers among them point to; a body that changes it does so here.
    """
    if prototype.returns is None:
        return 0
    body = _body(prototype)
    if body.increments is not None:
        at = slots[body.increments]
        memory.store(at, 4, memory.load(at, 4) + 1)
    total = body.constant
    for term in body.terms:
        value = _slot_values(prototype)[term.slot]
        number = slots[term.slot] & (1 << 8 * value.size) - 1
        if term.load:
            number = memory.load(slots[term.slot], term.load)
        elif value.signed and number >> 8 * value.size - 1:
            number -= 1 << 8 * value.size
        total += number
    return total & (1 << (64 if prototype.returns.size > 4 else 32)) - 1


def _code(machine: Machine, prototype: Prototype, body: _Body, address: int) -> tuple[bytes, int]:
    """The function's code at an address, and the offset of what is patched."""
    if machine.arch is Arch.X86_64:
        return _x86_64_code(machine, prototype, body, address)
    return _arm64_code(machine.kernel, prototype, body)


def patch_entry(machine: Machine, target: Target, entry: Entry, image: int, ops: int = 0) -> None:
    """Make the function's entry reach the image (ftrace: through `ops`, a struct ftrace_ops).

    Raises `InputError` for an entry that the architecture does not have.
    """
    if machine.arch is Arch.X86_64 and entry in (Entry.CALL, Entry.JMP):
        code = x86_64_asm.ISA.encode_one(entry.value, image, address=target.site)
    elif machine.arch is Arch.ARM64 and entry is Entry.BL:
        code = arm64_asm.ISA.encode_one("bl", image, address=target.site)
    elif machine.arch is Arch.ARM64 and entry is Entry.FTRACE:
        caller = machine.symbols.get("ftrace_caller")
        if caller is None or not ops:
            raise InputError("entry through ftrace needs ftrace_caller and a struct ftrace_ops")
        code = arm64_asm.ISA.encode_one("bl", caller, address=target.site)
        machine.write_int(target.address - _LITERAL, ops)
    else:
        raise InputError(f"{machine.arch} functions are not entered by {entry}")
    machine.write(target.site, code)


def _body(prototype: Prototype) -> _Body:
    body = _KNOWN.get(prototype.name)
    if body is None:
        body = _Body(tuple(_Term(slot) for slot in range(prototype.slots)))
    needed = 1 + max((term.slot for term in body.terms), default=-1)
    if needed > prototype.slots:
        raise InputError(f"{prototype.name} takes {needed} argument slots, not {prototype.slots}")
    return body


def _slot_values(prototype: Prototype) -> list[Value]:
    """For every slot the value that it is (part of), structs as whole 8-byte pieces."""
    values: list[Value] = []
    for argument in prototype.arguments:
        whole = argument.slots == 1 and not argument.struct
        values += [argument if whole else Value(8)] * argument.slots
    return values


def _x86_64_code(
    machine: Machine, prototype: Prototype, body: _Body, address: int
) -> tuple[bytes, int]:
    encode = x86_64_asm.ISA.encode_one
    kernel = machine.kernel
    code = encode("endbr64") if kernel.ibt else b""
    site = len(code)
    code += encode("nop", 5)
    if prototype.returns is not None:
        code += _x86_64_body(prototype, body)
    return code + return_code(machine, address + len(code)) + encode("int3") * 4, site


def return_code(machine: Machine, address: int) -> bytes:
    """The instruction that returns from a function of the kernel, at an address."""
    kernel = machine.kernel
    if kernel.arch is Arch.ARM64:
        return arm64_asm.ISA.encode_one("ret", 30)
    encode = x86_64_asm.ISA.encode_one
    # ITS leaves a return alone where it lies in the second half of a 64-byte line.
    if kernel.returns is Returns.PLAIN or (kernel.returns is Returns.ITS and address & 0x20):
        return encode("ret")
    thunk = RETURN_THUNKS[kernel.returns]
    if thunk not in machine.symbols:
        raise UnsupportedError(f"returns through {thunk}, which the guest runtime lacks")
    return encode("jmp", machine.symbols[thunk], address=address)


def _x86_64_body(prototype: Prototype, body: _Body) -> bytes:
    encode = x86_64_asm.ISA.encode_one
    assert prototype.returns is not None
    wide = prototype.returns.size > 4
    add, move = ("add", "mov") if wide else ("add32", "mov32")
    places = place_arguments(prototype.arguments, Arch.X86_64).slots
    values = _slot_values(prototype)

    def operand(term: _Term) -> tuple[bytes, int]:
        """Code that makes a term available, and the register that then holds it."""
        place, value = places[term.slot], values[term.slot]
        if place.register is not None:
            code, number = b"", X86_64_ARGUMENTS[place.register]
        else:
            code, number = encode("load64", _R10, _RSP, 8 + _stack_offset(place)), _R10
        if term.load:
            name = "load64" if term.load == 8 else "load32"
            return code + encode(name, _R10, number, 0), _R10
        if value.size < 4:
            name = f"movsx{8 * value.size}" if value.signed else f"movzx{8 * value.size}"
            return code + encode(name, _R10, number), _R10
        if value.size == 4 and wide and value.signed:
            return code + encode("movsx32", _R10, number), _R10
        return code, number

    code = b""
    if body.increments is not None:
        prepare, pointer = operand(_Term(body.increments))
        code += prepare + encode("load32", _R11, pointer, 0)
        code += encode("addi32", _R11, 1) + encode("store32", pointer, 0, _R11)
    if not body.terms:
        narrow = 0 <= body.constant < 1 << 32
        return code + encode("mov32_imm32" if narrow else "movabs", _RAX, body.constant)
    for number, term in enumerate(body.terms):
        prepare, register = operand(term)
        code += prepare
        if number == 0 and body.constant:
            code += encode("lea" if wide else "lea32", _RAX, register, body.constant)
        else:
            code += encode(move if number == 0 else add, _RAX, register)
    return code


def _arm64_code(kernel: Kernel, prototype: Prototype, body: _Body) -> tuple[bytes, int]:
    encode = arm64_asm.ISA.encode_one
    code = encode("bti_c") if kernel.bti else b""
    code += encode("mov", 9, 30)
    site = len(code)
    code += encode("nop")
    if prototype.returns is not None:
        code += _arm64_body(prototype, body)
    return code + encode("ret", 30), site


def _arm64_body(prototype: Prototype, body: _Body) -> bytes:
    encode = arm64_asm.ISA.encode_one
    assert prototype.returns is not None
    wide = prototype.returns.size > 4
    suffix = "" if wide else "32"
    places = place_arguments(prototype.arguments, Arch.ARM64).slots
    values = _slot_values(prototype)

    def operand(term: _Term) -> tuple[bytes, int]:
        """Code that makes a term available, and the register that then holds it."""
        place, value = places[term.slot], values[term.slot]
        if place.register is not None:
            code, number = b"", place.register
        else:
            code, number = encode("ldr", 9, _SP, _stack_offset(place)), 9
        if term.load:
            return code + encode("ldr" if term.load == 8 else "ldr32", 9, number, 0), 9
        if value.size < 4 or (value.size == 4 and wide and value.signed):
            name = ("sbfm" if value.signed else "ubfm") + suffix
            return code + encode(name, 9, number, 0, 8 * value.size - 1), 9
        return code, number

    code = b""
    if body.increments is not None:
        prepare, pointer = operand(_Term(body.increments))
        code += prepare + encode("ldr32", 10, pointer, 0)
        code += encode("addi32", 10, 10, 1) + encode("str32", 10, pointer, 0)
    if not body.terms:
        return code + encode("movi" + suffix, 0, body.constant)
    for number, term in enumerate(body.terms):
        prepare, register = operand(term)
        code += prepare
        if number:
            code += encode("add" + suffix, 0, 0, register)
        elif body.constant:
            code += encode("addi" + suffix, 0, register, body.constant)
        elif register:
            code += encode("mov" + suffix, 0, register)
    return code


def _stack_offset(place: Passing) -> int:
    assert place.stack is not None
    return 8 * place.stack
