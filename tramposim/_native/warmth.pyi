"""What calls find on one CPU: its state carried from call to call, costs by signature."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer

from tramposim._native.callpath import CallPath
from tramposim._native.corestate import CoreState
from tramposim._native.sharing import SharedWrites

class CallCosts:
    failure: Exception | None
    path: CallPath
    def __init__(
        self,
        path: CallPath,
        execute: Callable[[CoreState, int, int, bool], tuple[float, int]],
        moves: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
        contended: NDArray[np.int64],  # rows of (address, region, group)
        tolerance: float,
    ) -> None: ...
    @property
    def signatures(self) -> int: ...
    @property
    def error(self) -> float: ...

class Passing:
    rate: int
    def __init__(
        self,
        rate: int,
        footprint: int,
        shares: Sequence[int],
        branch_share: int,
        upper_btb: int,
        btb: int,
    ) -> None: ...

class CallsOf:
    costs: CallCosts
    state: CoreState
    executed: int
    mispredicts: float
    def __init__(
        self,
        costs: CallCosts,
        state: CoreState,
        passing: Passing,
        cpu: int,
        cpus: int,
        alone: bool,
        full: bool,
    ) -> None: ...
    @property
    def subcycles(self) -> int: ...
    @property
    def found(self) -> dict[tuple[int, int], int]: ...

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
