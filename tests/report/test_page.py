"""The HTML page: self-contained, its numbers those of the records."""

from __future__ import annotations

import re
from functools import cache
from html.parser import HTMLParser

from tramposim.report.page import html_page
from tramposim.spec import Arch, Kernel
from tramposim.study.overview import Section, overview
from tramposim.study.subject import cores_of, function_of


@cache
def _sections() -> tuple[Section, ...]:
    kernels = [Kernel(Arch.X86_64)]
    return overview(kernels, cores_of([Arch.X86_64]), function_of())


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
    page = html_page(_sections(), "a <title> & more")
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
    text = " ".join(_read(html_page(sections, "title")).texts)
    for row in sections[0].records.rows:
        assert f"{float(str(row['cycles_per_call'])):,.1f}" in text
        assert f"{int(float(str(row['instructions_per_call']))):,}" in text
    for section in sections:
        assert not section.command or section.command in text


def test_every_picture_says_what_it_shows() -> None:
    reader = _read(html_page(_sections(), "title"))
    pictures = [value for _, name, value in reader.attributes if name == "aria-label"]
    assert len(pictures) == 3
    for alt in pictures:
        assert re.search(r"\d", alt)


def test_the_same_records_give_the_same_bytes() -> None:
    assert html_page(_sections(), "t") == html_page(_sections(), "t")
