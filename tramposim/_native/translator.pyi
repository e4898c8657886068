from collections.abc import Callable, Hashable, Sequence
from typing import Any

from tramposim._native.asmplan import Isa

KEY_OFFSET: int
KEY_IMM: int
KEY_FIRST: int
KEY_LAST: int
KEY_SHAPE: int
TWO_RECORDS: int

class Translated:
    code: bytes
    ends: list[int]
    passes: int

class Translator:
    def __init__(
        self,
        isa: Isa,
        rule: Callable[
            [int, int, int, int | None, int | None, bool, Any], Sequence[tuple[Any, ...]]
        ],
        keys: bytes,
        stride: int,
        names: tuple[str, ...],
    ) -> None: ...
    def translate(
        self,
        code: bytes,
        base: int,
        prologue: tuple[tuple[Any, ...], ...],
        epilogue: tuple[tuple[Any, ...], ...],
        params: Sequence[int | None],
        shape: Hashable = None,
    ) -> Translated: ...
