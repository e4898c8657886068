"""Fixtures shared by all tests."""

from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

from tramposim.errors import HostBusy

# a loaded machine is slow now and then: no property is about time; examples are the same
# in every run
settings.register_profile("tramposim", deadline=None, derandomize=True)
settings.load_profile("tramposim")

_SHARED = Path(__file__).parent.parent / ".." / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The reference data beside the project's root; tests that need it skip without it."""
    if not (_SHARED / "golden").is_dir():
        pytest.skip("reference data is not there: ../shared/golden")
    return _SHARED


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Generator[None, object, object]:
    """A test that measures on this machine's CPU skips if other work keeps it busy."""
    try:
        return (yield)
    except HostBusy as busy:
        pytest.skip(str(busy))
