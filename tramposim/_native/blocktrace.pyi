"""Executes a code block again and again, from the same start, and records its accesses."""

from typing_extensions import Buffer

class BlockTracer:
    """One emulated CPU for blocks of `arch` ("x86_64" or "arm64") at address `base`."""

    def __init__(self, arch: str, base: int, fill: int) -> None: ...
    def trace(self, code: Buffer, rounds: int, budget: int, loop: bool) -> bytes: ...
