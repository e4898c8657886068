"""Prototypes of traced functions, and where each calling convention passes their values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from tramposim.errors import InputError
from tramposim.spec import Arch, Prototype, Value

__all__ = ["Passing", "Placement", "model_prototype", "parse_prototype", "place_arguments"]

_STRUCT_ARG = 1 << 0
_SIGNED_ARG = 1 << 1

ARGUMENT_REGISTERS = {Arch.X86_64: 6, Arch.ARM64: 8}

_BASE_TYPES = {
    "void": None,
    "char": Value(1, signed=True),
    "bool": Value(1),
    "_Bool": Value(1),
    "short": Value(2, signed=True),
    "int": Value(4, signed=True),
    "long": Value(8, signed=True),
    "float": None,
    "double": None,
    **{f"{p}u{bits}": Value(bits // 8) for bits in (8, 16, 32, 64) for p in ("", "__")},
    **{
        f"{p}s{bits}": Value(bits // 8, signed=True) for bits in (8, 16, 32, 64) for p in ("", "__")
    },
    **{f"int{bits}_t": Value(bits // 8, signed=True) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}_t": Value(bits // 8) for bits in (8, 16, 32, 64)},
    "size_t": Value(8),
    "ssize_t": Value(8, signed=True),
    "loff_t": Value(8, signed=True),
    "gfp_t": Value(4),
    "pid_t": Value(4, signed=True),
    "__be16": Value(2),
    "__be32": Value(4),
    "__int128": Value(16, signed=True),
}


@dataclass(frozen=True, slots=True)
class Passing:
    """How one 8-byte slot of the arguments arrives: in a register or on the stack (by index).

    `argument` is the argument's number, `used` how many of the slot's bytes belong to it.
    """

    argument: int
    used: int
    register: int | None = None
    stack: int | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """All argument slots in the order of the program's context."""

    slots: tuple[Passing, ...]

    @property
    def registers(self) -> int:
        """Argument registers used."""
        return sum(slot.register is not None for slot in self.slots)

    @property
    def stack(self) -> int:
        """8-byte stack slots used."""
        return sum(slot.stack is not None for slot in self.slots)


@lru_cache(maxsize=1024)
def place_arguments(arguments: tuple[Value, ...], arch: Arch) -> Placement:
    """Registers and stack slots of the arguments.

    A value of two slots is never split. Once one does not fit the remaining registers,
    arm64 passes all later ones on the stack (AAPCS64 6.8.2, rule C.11); x86_64 still gives
    registers to later ones that fit (System V ABI 3.2.3).
    """
    limit = ARGUMENT_REGISTERS[arch]
    slots: list[Passing] = []
    used = stacked = 0
    for index, value in enumerate(arguments):
        sizes = [8] * (value.slots - 1) + [(value.size - 1) % 8 + 1]
        if used + value.slots <= limit:
            slots += [Passing(index, size, register=used + i) for i, size in enumerate(sizes)]
            used += value.slots
        else:
            slots += [Passing(index, size, stack=stacked + i) for i, size in enumerate(sizes)]
            stacked += value.slots
            if arch is Arch.ARM64:
                used = limit
    return Placement(tuple(slots))


def model_prototype(
    name: str, ret_size: int, ret_flags: int, sizes: Sequence[int], flags: Sequence[int]
) -> Prototype:
    """Prototype of a struct btf_func_model; `sizes` and `flags` are those of its arguments.

    Raises `InputError` for more arguments, or larger ones, than a kernel traces.
    """
    if len(sizes) != len(flags):
        raise InputError(f"{name}: {len(sizes)} argument sizes but {len(flags)} flags")
    return Prototype(
        name,
        tuple(
            Value(size, signed=bool(flag & _SIGNED_ARG), struct=bool(flag & _STRUCT_ARG))
            for size, flag in zip(sizes, flags, strict=True)
        ),
        Value(ret_size, signed=bool(ret_flags & _SIGNED_ARG)) if ret_size else None,
    )


def parse_prototype(text: str) -> Prototype:
    """Prototype from C text such as `int f(int, void *, struct pair16)`.

    Pointers, integers and their kernel typedefs have their C sizes; `struct NAME<bytes>`
    (the name ends in its size, 1 to 16) is a struct passed by value. Raises `InputError`
    that names what is not understood.
    """
    where = f"prototype {text!r}"
    if len(text) > 4096:
        raise InputError("longer than 4096 characters", where[:80])
    match = re.fullmatch(r"\s*([\w\s*]*?[\s*])(\w+)\s*\(([^()]*)\)\s*;?\s*", text)
    if not match:
        raise InputError("write it as in C: int f(int, void *)", where)
    result, name, inside = match[1], match[2], match[3].strip()
    words = [] if inside in ("", "void") else inside.split(",")
    if inside.endswith("..."):
        raise InputError("variable arguments cannot be traced (EINVAL)", where)
    arguments = []
    for word in words:
        value = _parse_type(word, where, parameter=True)
        if value is None:
            raise InputError("an argument of type void", where)
        arguments.append(value)
    returns = _parse_type(result, where, parameter=False)
    if returns is not None and returns.struct:
        raise InputError("functions that return a struct cannot be traced (EINVAL)", where)
    return Prototype(name, tuple(arguments), returns)


def _parse_type(text: str, where: str, parameter: bool) -> Value | None:
    """Value of a declaration; None for void. A parameter may carry its name."""
    if "*" in text or (parameter and re.search(r"\[[0-9]*\]\s*$", text)):
        return Value(8)
    words = [
        word
        for word in text.split()
        if word not in ("const", "volatile", "static", "extern", "inline", "restrict", "register")
    ]
    if words and words[0] in ("struct", "union"):
        size = re.search(r"([0-9]+)$", words[1]) if len(words) in (2, 3) else None
        if size is None or not 1 <= int(size[1]) <= 16:
            raise InputError(
                f"{' '.join(words)!r}: end a struct's name with its size in bytes (1 to 16), "
                "as in struct pair16",
                where,
            )
        return Value(int(size[1]), struct=True)
    if words and words[0] == "enum":
        return Value(4)
    signed: bool | None = None
    base: list[str] = []
    while words:
        if words[0] in ("signed", "unsigned"):
            signed = words[0] == "signed"
        elif words[0] in ("long", "short", "int", "char") or (not base and words[0] in _BASE_TYPES):
            base.append(words[0])
        else:
            break
        words.pop(0)
    if (not base and signed is None) or len(words) > (1 if parameter else 0):
        raise InputError(f"{text.strip()!r} is not a known type", where)
    main = next((word for word in base if word != "int"), "int")
    if main in ("float", "double"):
        raise InputError(f"{main!r}: floating-point values cannot be traced", where)
    value = _BASE_TYPES[main]
    if value is None:
        return None
    return Value(value.size, signed=value.signed if signed is None else signed)
