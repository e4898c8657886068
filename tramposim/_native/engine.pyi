"""One emulated CPU with its memory: owns a Unicorn engine."""

from collections.abc import Iterable
from typing import NamedTuple

from typing_extensions import Buffer

READ: int
WRITE: int
EXECUTE: int
REASONS: tuple[str, ...]
X86_REGISTERS: tuple[str, ...]
ARM64_REGISTERS: tuple[str, ...]

class Stop(NamedTuple):
    """Why a run ended. `reason` is one of `REASONS`; "end" means that it reached `until`.

    `pc` is where it stood, `address` and `size` the access that failed, `exception` the CPU's
    number of an exception, `detail` Unicorn's words, `branches` the last taken branches
    (from, to), oldest first.
    """

    reason: str
    pc: int
    address: int
    size: int
    exception: int
    detail: str
    executed: int
    branches: tuple[tuple[int, int], ...]

class Engine:
    """An x86_64 or arm64 CPU in kernel mode, without paging, and its memory."""

    arch: str
    register_ids: dict[str, int]
    clock: int
    last_pc: int
    mapped: int
    memory_limit: int

    def __init__(self, arch: str, *, trace_limit: int = ..., memory_limit: int = ...) -> None: ...
    def map(self, address: int, size: int, permissions: int = 7) -> None: ...
    def unmap(self, address: int) -> None: ...
    def regions(self) -> list[tuple[int, int]]: ...
    def read(self, address: int, size: int) -> bytes: ...
    def write(self, address: int, data: Buffer) -> None: ...
    def register(self, name: str) -> int: ...
    def set_register(self, name: str, value: int) -> None: ...
    def registers(self) -> dict[str, int]: ...
    def set_clock_rate(self, ticks: int, instructions: int) -> None: ...
    def watch(self, addresses: Iterable[int]) -> None: ...
    def set_doors(self, base: int, size: int) -> None: ...
    def run(
        self,
        begin: int,
        until: int,
        budget: int,
        *,
        trace: bool = False,
        timeout_us: int = 0,
        resume: bool = False,
        demand: bool = False,
    ) -> Stop: ...
    @property
    def demanded(self) -> list[int]: ...
    def take_trace(self) -> tuple[memoryview, memoryview]: ...
    def take_snapshots(self) -> memoryview: ...
