from pathlib import Path

import pytest

from tramposim.errors import InputError
from tramposim.report.output import write_result


def test_a_file_appears_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    target.write_text("old")
    write_result("new\n", str(target))
    assert target.read_text() == "new\n"
    assert list(tmp_path.iterdir()) == [target]


def test_standard_output_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    write_result("text\n")
    assert capsys.readouterr().out == "text\n"


@pytest.mark.parametrize("name", ["missing/out.json", ""])
def test_an_impossible_place_is_one_clear_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot write"):
        write_result("text", str(tmp_path / name))
    assert list(tmp_path.iterdir()) == []
