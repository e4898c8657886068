"""The package's own names: documented, importable, and cheap to import."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

import tramposim

PROJECT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", tramposim.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(tramposim, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="frob"):
        tramposim.frob  # noqa: B018


def test_the_import_alone_loads_nothing_heavy() -> None:
    code = (
        "import sys, tramposim;"
        "sys.exit(len({'numpy', 'unicorn', 'capstone', 'tramposim.spec'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_examples_of_the_documentation_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    failed, run = doctest.testfile(str(PROJECT / "docs" / "api.md"), module_relative=False)
    assert run > 10
    assert failed == 0
