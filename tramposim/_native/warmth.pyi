"""What calls find on one CPU: how far the background has displaced what they use."""

from collections.abc import Callable

from typing_extensions import Buffer

class CallCosts:
    levels: int
    cells: int
    own_lines: int
    alone: bool
    missing: int
    walking: int
    failure: Exception | None
    def __init__(
        self,
        limits: Buffer,
        fill: Callable[[int], int],
        own_lines: int,
        alone: bool,
        missing: int,
        walking: int,
    ) -> None: ...

class CpuCalls:
    others: float
    stolen: int
    def __init__(
        self,
        traced: CallCosts,
        untraced: CallCosts,
        lines_per_subcycle: int,
        footprint: int,
        chances: Buffer,
        aliases: Buffer,
        depth: int,
        seed: int,
        stream: int,
    ) -> None: ...
    def call(self, start: int) -> int: ...
    @property
    def made(self) -> int: ...
    @property
    def used(self) -> tuple[dict[int, int], dict[int, int]]: ...
