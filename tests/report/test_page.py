"""The HTML page: self-contained, its numbers those of the records."""

from __future__ import annotations

import re
import shlex
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tramposim.cli import main
from tramposim.report.page import html_page
from tramposim.spec import Arch
from tramposim.study.kernels import kernel_of
from tramposim.study.overview import Section, overview
from tramposim.study.records import decode_records
from tramposim.study.subject import cores_of, function_of


@cache
def _sections() -> tuple[Section, ...]:
    kernels = [kernel_of(Arch.X86_64, "7.2")]
    with pytest.MonkeyPatch.context() as patch:
        # calls of thousands of functions take long to simulate
        patch.setattr("tramposim.study.overview.FUNCTION_COUNTS", (1, 10))
        return overview(kernels, cores_of([Arch.X86_64]), function_of(), jobs=1)


@cache
def _page() -> str:
    return html_page(_sections(), "a <title> & more")


class _Reader(HTMLParser):
    """Collects attributes and text, and checks that elements nest."""

    VOID = frozenset(["meta", "br", "path", "use", "line", "rect"])

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def _read(page: str) -> _Reader:
    reader = _Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


def test_the_page_needs_nothing_from_anywhere() -> None:
    page = _page()
    reader = _read(page)
    assert "a &lt;title&gt; &amp; more" in page
    ids = [value for _, name, value in reader.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    for tag, name, value in reader.attributes:
        if name in ("href", "xlink:href", "src"):
            assert value.startswith("#"), (tag, value)
            assert value[1:] in ids
        for target in re.findall(r"url\((.*?)\)", value):
            assert target.strip("\"'").startswith("#")
    assert "<script" not in page
    assert "@import" not in page


def test_its_numbers_are_the_records() -> None:
    sections = _sections()
    text = " ".join(_read(_page()).texts)
    for row in sections[0].records.rows:
        assert f"{float(str(row['cycles_per_call'])):,.1f}" in text
        assert f"{int(float(str(row['instructions_per_call']))):,}" in text
    traced = [
        row
        for section in sections
        for row in section.records.rows
        if "cycles_over_untraced" in row and row["scenario"] != "untraced"
    ]
    assert {row["core"] for row in traced} >= {"golden-cove", "zen4"}
    for row in traced:
        assert f"{float(str(row['cycles_over_untraced'])):,.1f}" in text


def test_the_page_says_how_it_was_made() -> None:
    sections = _sections()
    page = html_page(sections, "title", {"tramposim": "0.1.0", "unicorn": "2"})
    text = " ".join(_read(page).texts)
    assert "tramposim 0.1.0, unicorn 2. These versions print the same numbers by:" in text
    for section in sections:
        assert section.commands
        assert all(command in text for command in section.commands)


def test_its_command_lines_print_the_same_numbers(tmp_path: Path) -> None:
    for section in _sections():
        command, *_ = section.commands
        if command.split()[1] not in ("compare", "sweep"):
            continue
        output = tmp_path / "records.json"
        assert main([*shlex.split(command)[1:], "--format", "json", "-o", str(output)]) == 0
        assert decode_records(output.read_bytes(), "").rows == section.records.rows


def test_the_answer_comes_first() -> None:
    page = _page()
    (pair,) = (
        row
        for row in _sections()[0].records.rows
        if (row["scenario"], row["body"]) == ("fentry+fexit", "empty")
    )
    answer = page[page.index('<div class="answer">') : page.index("<h2>")]
    assert f"program add <b>{pair['cycles_over_untraced']:.1f}</b>" in answer
    assert "saves <b>" in answer


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["bench", "trig-fentry", "--format", "json"], "benchmark"),
        (["load", "bench", "--arch", "x86_64", "--scenario", "fsession", "--format", "json"],
         "calls_per_s"),
        (["compare", "--scenario", "fsession", "--state", "cold", "--format", "json"], "cold"),
    ],
)  # fmt: skip
def test_any_record_has_a_page(words: list[str], says: str, tmp_path: Path) -> None:
    source = tmp_path / "records.json"
    assert main([*words, "-o", str(source)]) == 0
    assert main(["report", str(source), "-o", str(tmp_path / "page.html")]) == 0
    text = " ".join(_read((tmp_path / "page.html").read_text()).texts)
    assert says in text.replace(" ", "_")
    assert "records.json: tramposim" in text
    assert main(["report", str(source), "--format", "md", "-o", str(tmp_path / "page.md")]) == 0
    assert "| " in (tmp_path / "page.md").read_text()


def test_every_picture_says_what_it_shows() -> None:
    reader = _read(_page())
    pictures = [value for _, name, value in reader.attributes if name == "aria-label"]
    # comparison, parts, cores, two of the rate, programs, functions, accuracy
    assert len(pictures) == 8
    for alt in pictures:
        assert re.search(r"\d", alt)


def test_the_same_records_give_the_same_bytes() -> None:
    assert html_page(_sections(), "a <title> & more") == _page()
