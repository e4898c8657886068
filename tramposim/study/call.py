"""A call of a traced function, or of a program that traces nothing: what goes in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tramposim.errors import InputError
from tramposim.machine.testrun import TEST_FUNCTIONS
from tramposim.machine.traced import Cell, default_arguments
from tramposim.spec import Prototype

__all__ = ["Argument", "FunctionCall", "function_call", "pointed_memory"]

Argument = int | Cell
"""The value of an argument slot, or memory whose address is passed."""

POINTED_BYTES = 4096
"""Memory behind a pointer that is passed when no argument is given: zeros."""


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A traced function with the values of its argument slots.

    `returns` is the register that it returns in (64 bits); None: what the kernel's test
    function of that name computes.
    """

    prototype: Prototype
    arguments: tuple[Argument, ...]
    returns: int | None

    def result(self, register: int) -> int:
        """What a caller gets of the register that the function returned in."""
        returned = self.prototype.returns
        return register & (1 << 8 * min(returned.size, 8)) - 1 if returned else 0


def function_call(
    prototype: Prototype, arguments: Sequence[Argument] = (), returns: int | None = None
) -> FunctionCall:
    """A call with the given slot values and result, each of the size that the prototype says.

    Without arguments: what the kernel's test run passes to a function that it calls, else a
    page of zeros for what may be a pointer and the slot's number, from 1, for what is none.
    Without a result: what such a test function computes, else 0. Raises `InputError` for
    values that do not fit.
    """
    known, defaults = TEST_FUNCTIONS.get(prototype.name, (None, ()))
    is_known = known == prototype
    if not arguments:
        arguments = defaults if is_known else _with_pages(default_arguments(prototype))
    if len(arguments) != prototype.slots:
        raise InputError(
            f"{len(arguments)} argument values for the {prototype.slots} slots of {prototype.name}"
        )
    sizes = [
        min(8, argument.size - 8 * piece)
        for argument in prototype.arguments
        for piece in range(argument.slots)
    ]
    slots = tuple(
        _fitting(value, size, f"argument {number}")
        for number, (value, size) in enumerate(zip(arguments, sizes, strict=True), 1)
    )
    if returns is not None:
        if prototype.returns is None:
            raise InputError(f"{prototype.name} returns nothing", "--ret")
        size = min(prototype.returns.size, 8)
        wide = _fitting(returns, size, f"the result of {prototype.name}")
        assert isinstance(wide, int)
        returns = wide
    elif not is_known:
        returns = 0
    return FunctionCall(prototype, slots, returns)


def pointed_memory(content: bytes) -> Cell:
    """An argument that points to memory that begins with `content`; zeros follow."""
    return Cell(max(POINTED_BYTES, len(content)), data=content)


def _with_pages(arguments: Sequence[Argument]) -> tuple[Argument, ...]:
    return tuple(
        Cell(POINTED_BYTES) if isinstance(argument, Cell) else argument for argument in arguments
    )


def _fitting(value: Argument, size: int, what: str) -> Argument:
    """The value as a register holds it: without sign, upper bits zero as compilers leave them."""
    if isinstance(value, Cell):
        if size != 8:
            raise InputError(f"{what} has {size} bytes, which no address fits in")
        return value
    if not -(1 << 8 * size - 1) <= value < 1 << 8 * size:
        raise InputError(f"{what} is {value:#x}, which does not fit in {size} bytes")
    return value & (1 << 8 * size) - 1
