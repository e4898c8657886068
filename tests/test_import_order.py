"""Data flows one way: a package imports only from packages above it in the design's list."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "tramposim"
ORDER = (
    "bpf", "kernel", "jit", "capture", "machine", "timing", "schedule", "study", "report", "cli",
)  # fmt: skip
ANYWHERE = {"errors", "units", "spec", "_native"}


def imported_packages(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the full name"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("tramposim.")}


@pytest.mark.parametrize("package", ORDER)
def test_package_imports_only_from_above(package: str) -> None:
    allowed = {*ORDER[: ORDER.index(package) + 1], *ANYWHERE}
    if package in ("study", "report", "cli"):
        allowed.add("__version__")
    for path in sorted((PACKAGE / package).rglob("*.py")):
        assert imported_packages(path) <= allowed, path


def test_every_package_has_a_place_in_the_order() -> None:
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages == {*ORDER, "_native"}


def test_shared_values_import_no_package() -> None:
    for name in ("errors", "units", "spec"):
        assert imported_packages(PACKAGE / f"{name}.py") <= ANYWHERE
