"""What calls find on one CPU: its state carried from call to call, costs by signature."""

from collections.abc import Sequence

from tramposim._native.callcosts import CallCosts
from tramposim._native.corestate import CoreState

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
