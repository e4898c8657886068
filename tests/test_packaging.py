"""What the distributions must contain is listed by hand; these tests keep the lists whole."""

import tomllib
from pathlib import Path

PROJECT = Path(__file__).parent.parent
SETUPTOOLS = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["setuptools"]


def test_every_package_is_listed() -> None:
    found = {
        ".".join(path.parent.relative_to(PROJECT).parts)
        for path in (PROJECT / "tramposim").rglob("__init__.py")
    }
    assert set(SETUPTOOLS["packages"]) == found


def test_every_data_file_is_covered_by_a_pattern() -> None:
    covered = set()
    for package, patterns in SETUPTOOLS["package-data"].items():
        folder = PROJECT / package.replace(".", "/")
        covered |= {path for pattern in patterns for path in folder.glob(pattern)}
    ignored = {".py", ".pxd", ".so", ".pyc"}
    data = {
        path
        for path in (PROJECT / "tramposim").rglob("*")
        if path.is_file() and path.suffix not in ignored
    }
    assert data - covered == set()


def test_every_native_module_has_a_stub() -> None:
    sources = {path.stem for path in (PROJECT / "_native").glob("*.pyx")}
    stubs = {path.stem for path in (PROJECT / "tramposim" / "_native").glob("*.pyi")}
    assert sources == stubs


def test_every_workload_is_installed() -> None:
    (patterns,) = SETUPTOOLS["data-files"].values()
    installed = {path for pattern in patterns for path in PROJECT.glob(pattern)}
    assert installed >= set((PROJECT / "workloads").glob("*.toml"))
