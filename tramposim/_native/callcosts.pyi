"""Costs of calls by what they find: executed often enough, remembered by signature."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tramposim._native.callpath import CallPath
from tramposim._native.corestate import CoreState

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
