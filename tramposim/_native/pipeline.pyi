from typing import Any

import numpy as np
from numpy.typing import NDArray

from tramposim._native.corestate import CoreState

EVENTS: tuple[str, ...]
CAUSES: tuple[str, ...]

class Pipeline:
    def __init__(
        self,
        params: dict[str, Any],
        insns: NDArray[np.void],
        uops: NDArray[np.void],
        cached: bool = ...,
        state: CoreState | None = ...,
        one_page: bool = ...,
    ) -> None: ...
    state: CoreState | None
    def lock(self, locked: bool) -> None: ...
    def simulate_memory(self, on: bool) -> None: ...
    def drain(self) -> int: ...
    @property
    def cycle(self) -> int: ...
    def events(self) -> list[int]: ...
    def stalls(self) -> list[int]: ...
    def waits(self) -> list[int]: ...
    def shares(self) -> list[int]: ...
    def clear(self) -> None: ...
    def run(
        self,
        order: NDArray[np.int32],
        accesses: NDArray[np.void],
        marks: NDArray[np.int64],
        cycles: NDArray[np.int64],
        stages: NDArray[np.void] | None = ...,
        uop_stages: NDArray[np.void] | None = ...,
    ) -> None: ...
