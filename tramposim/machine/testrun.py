"""How BPF_PROG_TEST_RUN calls the kernel's test functions (net/bpf/test_run.c)."""

from __future__ import annotations

from types import MappingProxyType

from tramposim.errors import UnsupportedError
from tramposim.kernel.declaration import parse_prototype
from tramposim.machine.traced import Cell
from tramposim.spec import Prototype

__all__ = ["TEST_FUNCTIONS", "arguments_of_test_run"]

TEST_FUNCTIONS: MappingProxyType[str, tuple[Prototype, tuple[int | Cell, ...]]] = MappingProxyType(
    {
        prototype.name: (prototype, arguments)
        for prototype, arguments in (
            (parse_prototype(text), arguments)
            for text, arguments in (
                ("int bpf_fentry_test1(int a)", (1,)),
                ("int bpf_fentry_test2(int a, u64 b)", (2, 3)),
                ("int bpf_fentry_test3(char a, int b, u64 c)", (4, 5, 6)),
                ("int bpf_fentry_test4(void *a, char b, int c, u64 d)", (7, 8, 9, 10)),
                (
                    "int bpf_fentry_test5(u64 a, void *b, short c, int d, u64 e)",
                    (11, 12, 13, 14, 15),
                ),
                (
                    "int bpf_fentry_test6(u64 a, void *b, short c, int d, void *e, u64 f)",
                    (16, 17, 18, 19, 20, 21),
                ),
                ("int bpf_fentry_test7(struct bpf_fentry_test_t *arg)", (0,)),
                ("int bpf_fentry_test8(struct bpf_fentry_test_t *arg)", (Cell(8),)),
                ("u32 bpf_fentry_test9(u32 *a)", (Cell(4),)),
                ("int bpf_fentry_test10(const void *a)", (0,)),
                ("int bpf_modify_return_test(int a, int *b)", (1, Cell(4, 2))),
                (
                    "int bpf_modify_return_test2(int a, int *b, short c, int d, void *e, char f,"
                    " int g)",
                    (1, Cell(4, 2), 3, 4, 5, 6, 7),
                ),
            )
        )
    }
)
"""The functions and the slot values that they are called with, in the order of the calls; a
`Cell` is a local variable whose address is passed."""


def arguments_of_test_run(prototype: Prototype) -> tuple[int | Cell, ...]:
    """What a test run passes to the function; `UnsupportedError` if it calls no such function."""
    if prototype.name not in TEST_FUNCTIONS:
        raise UnsupportedError(
            f"BPF_PROG_TEST_RUN does not call {prototype.name!r}; it calls "
            + ", ".join(TEST_FUNCTIONS)
        )
    return TEST_FUNCTIONS[prototype.name][1]
