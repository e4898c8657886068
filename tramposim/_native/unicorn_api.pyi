"""Unicorn's C interface as a table of function pointers (used from Cython)."""

def version() -> tuple[int, int]:
    """Version of the loaded library (major, minor); `UnsupportedError` if it cannot be used."""
