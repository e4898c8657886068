"""Where arguments are passed: the examples of the two calling conventions."""

import pytest

from tramposim.errors import InputError
from tramposim.kernel.prototype import model_prototype, place_arguments
from tramposim.spec import Arch, Value

INT, LONG, PAIR = Value(4, signed=True), Value(8), Value(16, struct=True)


def placed(arguments: tuple[Value, ...], arch: Arch) -> str:
    """r0 r1 ... for registers, s0 s1 ... for stack slots, in the order of the context."""
    return " ".join(
        f"r{slot.register}" if slot.register is not None else f"s{slot.stack}"
        for slot in place_arguments(arguments, arch).slots
    )


def test_registers_then_stack() -> None:
    assert placed((INT,) * 8, Arch.X86_64) == "r0 r1 r2 r3 r4 r5 s0 s1"
    assert placed((INT,) * 10, Arch.ARM64) == "r0 r1 r2 r3 r4 r5 r6 r7 s0 s1"


def test_a_struct_is_never_split_and_later_arguments_follow_their_convention() -> None:
    # One register is left: the pair goes to the stack. x86_64 gives the register to the next
    # argument; AAPCS64 gives no register to anything behind it.
    assert placed((LONG,) * 5 + (PAIR, LONG), Arch.X86_64) == "r0 r1 r2 r3 r4 s0 s1 r5"
    assert placed((LONG,) * 7 + (PAIR, LONG), Arch.ARM64) == "r0 r1 r2 r3 r4 r5 r6 s0 s1 s2"


def test_the_bytes_of_a_slot_that_belong_to_the_argument() -> None:
    slots = place_arguments((Value(12, struct=True), Value(1)), Arch.X86_64).slots
    assert [slot.used for slot in slots] == [8, 4, 1]


def test_function_model() -> None:
    prototype = model_prototype("f", 4, 2, [4, 16], [2, 1])
    assert prototype.returns == Value(4, signed=True)
    assert prototype.arguments == (Value(4, signed=True), PAIR)
    assert prototype.slots == 3
    assert model_prototype("f", 0, 0, [], []).returns is None


@pytest.mark.parametrize("sizes", [[0], [17], [4] * 13])
def test_models_that_no_kernel_traces(sizes: list[int]) -> None:
    with pytest.raises(InputError):
        model_prototype("f", 0, 0, sizes, [0] * len(sizes))
