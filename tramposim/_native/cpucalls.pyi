"""The calls that arrivals on one CPU make: which functions, how deep, after how much background."""

from typing_extensions import Buffer

from tramposim._native.sharing import SharedWrites
from tramposim._native.warmth import CallsOf, Passing

class CpuCalls:
    shared: SharedWrites
    traced: CallsOf
    untraced: CallsOf
    def __init__(
        self,
        traced: CallsOf,
        untraced: CallsOf,
        passing: Passing,
        chances: Buffer,
        aliases: Buffer,
        scatter: int,
        depth: int,
        seed: int,
        stream: int,
        fanout: int = ...,
        recursion: float = ...,
        log: int = ...,
    ) -> None: ...
    def call(self, start: int) -> int: ...
    @property
    def made(self) -> int: ...
    @property
    def costs(self) -> list[int]: ...
