"""A log of what CPUs do: requests, other tasks, ticks, interrupts, switches."""

from enum import IntEnum

class What(IntEnum):
    REQUEST = 0
    COMPETING = 1
    TICK = 2
    INTERRUPT = 3
    SWITCH = 4

class EventLog:
    room: int
    full: bool
    def __init__(self, room: int) -> None: ...
    def __len__(self) -> int: ...
    def take(self) -> list[tuple[int, int, int, int, int, int, int, int, int]]: ...
