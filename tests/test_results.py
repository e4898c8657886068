"""The committed results are what the code prints now (a part of them is made again)."""

from pathlib import Path

import pytest

from tramposim.cli import main

RESULTS = Path(__file__).parent.parent / "results"


@pytest.mark.parametrize("name", ["compare.json", "compare.md"])
def test_committed_results_are_reproduced_to_the_byte(name: str, tmp_path: Path) -> None:
    output = tmp_path / name
    assert main(["compare", "--format", output.suffix[1:], "-o", str(output)]) == 0
    assert output.read_bytes() == (RESULTS / name).read_bytes()
