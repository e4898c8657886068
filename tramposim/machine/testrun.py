"""How BPF_PROG_TEST_RUN calls the kernel's test functions (net/bpf/test_run.c)."""

from __future__ import annotations

from types import MappingProxyType

from tramposim.errors import UnsupportedError
from tramposim.machine.traced import Cell
from tramposim.spec import Prototype

__all__ = ["TEST_RUN_ARGUMENTS", "test_run_arguments"]

TEST_RUN_ARGUMENTS: MappingProxyType[str, tuple[int | Cell, ...]] = MappingProxyType(
    {
        "bpf_fentry_test1": (1,),
        "bpf_fentry_test2": (2, 3),
        "bpf_fentry_test3": (4, 5, 6),
        "bpf_fentry_test4": (7, 8, 9, 10),
        "bpf_fentry_test5": (11, 12, 13, 14, 15),
        "bpf_fentry_test6": (16, 17, 18, 19, 20, 21),
        "bpf_fentry_test7": (0,),
        "bpf_fentry_test8": (Cell(8),),
        "bpf_fentry_test9": (Cell(4),),
        "bpf_fentry_test10": (0,),
        "bpf_modify_return_test": (1, Cell(4, 2)),
        "bpf_modify_return_test2": (1, Cell(4, 2), 3, 4, 5, 6, 7),
    }
)
"""Slot values by function; a `Cell` is a local variable whose address is passed."""


def test_run_arguments(prototype: Prototype) -> tuple[int | Cell, ...]:
    """What a test run passes to the function; `UnsupportedError` if it calls no such function."""
    try:
        return TEST_RUN_ARGUMENTS[prototype.name]
    except KeyError:
        raise UnsupportedError(
            f"BPF_PROG_TEST_RUN does not call {prototype.name!r}; it calls "
            + ", ".join(TEST_RUN_ARGUMENTS)
        ) from None
