"""What calls find on one CPU: how far the background has displaced what they use."""

from collections.abc import Callable, Sequence

from typing_extensions import Buffer

from tramposim._native.sharing import SharedWrites

class CallCosts:
    cells: int
    own_lines: int
    alone: bool
    groups: int
    failure: Exception | None
    def __init__(
        self,
        limits: Sequence[Buffer],
        fill: Callable[[int], tuple[int, int]],
        own_lines: int,
        alone: bool,
        groups: int = 1,
    ) -> None: ...
    def levels_of(self, cell: int) -> tuple[int, ...]: ...

class CpuCalls:
    shared: SharedWrites
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
        fanout: int = 1,
        recursion: float = 0.0,
    ) -> None: ...
    def call(self, start: int) -> int: ...
    @property
    def made(self) -> int: ...
    @property
    def used(self) -> tuple[dict[int, int], dict[int, int]]: ...
