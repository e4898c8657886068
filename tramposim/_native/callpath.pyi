"""What one call touches, looked up in and passed through a CPU's caches without timing it."""

import numpy as np
from numpy.typing import NDArray

from tramposim._native.corestate import CoreState

PLACE_KINDS: tuple[str, ...]
SEEN_NAMES: tuple[str, ...]

class CallPath:
    regions: int
    def __init__(
        self,
        kinds: NDArray[np.uint8],
        addresses: NDArray[np.uint64],
        pages: NDArray[np.int32],
        regions: NDArray[np.uint8],
        again: NDArray[np.uint8],
    ) -> None: ...
    def __len__(self) -> int: ...
    def safe(self, state: CoreState) -> tuple[int, int, int, int]: ...
    def seen(self, state: CoreState, offsets: NDArray[np.int64]) -> list[int]: ...
    def pass_through(self, state: CoreState, offsets: NDArray[np.int64]) -> None: ...
