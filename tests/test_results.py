"""The committed results and the README's outputs are what the code prints now."""

import importlib.util
from pathlib import Path

import pytest

import tramposim
from tramposim.spec import Arch
from tramposim.timing import core_names, load_core

PROJECT = Path(__file__).parent.parent

_spec = importlib.util.spec_from_file_location("regenerate", PROJECT / "results/regenerate.py")
assert _spec is not None
assert _spec.loader is not None
regenerate = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(regenerate)

WORKLOADS = [
    name
    for name in regenerate.RESULTS
    if name.startswith("workload-") and name not in regenerate.QUICK
]
"""Tables of workloads on every core, which take minutes: each is made for two cores."""

CORES = {arch: [name for name in core_names() if load_core(name).arch is arch] for arch in Arch}
"""By architecture; the tables take turns, so that every core is in some of them."""


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in regenerate.QUICK else pytest.mark.slow)
        for name in regenerate.RESULTS
        if name not in WORKLOADS
    ],
)
def test_committed_results_are_reproduced_to_the_byte(name: str) -> None:
    committed = (PROJECT / "results" / name).read_text()
    assert regenerate.printed(regenerate.RESULTS[name]) == committed


@pytest.mark.slow
@pytest.mark.parametrize(("number", "name"), list(enumerate(WORKLOADS)))
def test_rows_of_a_workload_are_reproduced_to_the_byte(number: int, name: str) -> None:
    cores = [names[number % len(names)] for names in CORES.values()]
    words = " ".join(f"--core {core}" for core in cores)
    text = regenerate.printed(f"{regenerate.RESULTS[name]} {words}")
    rows = [line for line in text.splitlines() if any(f"| {core} |" in line for core in cores)]
    assert len(rows) >= len(cores)
    committed = (PROJECT / "results" / name).read_text().splitlines()
    assert [row for row in rows if row not in committed] == []


@pytest.mark.parametrize("name", regenerate.PAGES)
def test_outputs_that_pages_show_are_real(name: str) -> None:
    page = (PROJECT / name).read_text()
    assert regenerate.OUTPUT.search(page)
    assert regenerate.with_outputs(page) == page


def test_the_reference_is_what_the_docstrings_say() -> None:
    page = (PROJECT / "docs" / "reference.md").read_text()
    assert page == regenerate.reference_page()
    for name in tramposim.__all__:
        assert name[0] == "_" or f"### `{name}`" in page


def test_the_folder_lists_its_files() -> None:
    files = {path.name for path in (PROJECT / "results").iterdir() if path.is_file()}
    assert files == {
        *regenerate.RESULTS,
        "README.md",
        "apireference.py",
        "regenerate.py",
    }
    assert (PROJECT / "results" / "README.md").read_text() == regenerate.folder_readme()


@pytest.mark.slow
def test_the_page_on_accuracy_is_what_the_command_prints(shared: Path) -> None:
    assert (PROJECT / "docs" / "accuracy.md").read_text() == regenerate.accuracy_page()


@pytest.mark.slow
def test_the_guest_runtime_takes_what_the_page_on_the_machine_says(shared: Path) -> None:
    page = (PROJECT / "docs" / "machine.md").read_text()
    assert regenerate.RUNTIME.search(page)
    assert regenerate.with_runtime(page) == page


def test_the_page_on_accuracy_names_every_core() -> None:
    page = (PROJECT / "docs" / "accuracy.md").read_text()
    assert [name for name in core_names() if f"| {name} |" not in page] == []
