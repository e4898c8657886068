"""The kernel's function models, and where each calling convention passes the values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from tramposim.errors import InputError
from tramposim.spec import Arch, Prototype, Value

__all__ = ["Passing", "Placement", "model_prototype", "place_arguments"]

_STRUCT_ARG = 1 << 0
_SIGNED_ARG = 1 << 1

ARGUMENT_REGISTERS = {Arch.X86_64: 6, Arch.ARM64: 8}


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
