"""Hooks that record an execution into native buffers (used from Cython by the engine)."""

class NativeArray:
    """A block of native memory, readable through the buffer protocol."""

    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
