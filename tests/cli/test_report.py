"""`tramposim report` from records, and its refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tramposim.cli import main


def test_records_become_a_page_and_files_of_other_tools(tmp_path: Path) -> None:
    base = tmp_path / "base.json"
    words = ["compare", "--arch", "x86_64", "--scenario", "fsession", "--format", "json"]
    assert main([*words, "-o", str(base)]) == 0
    for name in ("html", "pyperf", "gbench", "csv", "md"):
        target = tmp_path / f"report.{name}"
        assert main(["report", str(base), "--format", name, "-o", str(target)]) == 0
        assert "fsession" in target.read_text()
    assert json.loads((tmp_path / "report.pyperf").read_text())["version"] == "1.0"


@pytest.mark.parametrize("content", ["", "{}", '{"schema": "other/1", "meta": {}, "rows": []}'])
def test_a_file_that_is_no_record_is_refused(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.json").write_text(content)
    assert main(["report", str(tmp_path / "x.json")]) == 2
    assert "x.json" in capsys.readouterr().err
