"""One self-contained HTML page from records: the answer first, then what it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from tramposim.report.compare import break_even_sentences
from tramposim.report.html import document, note, paragraphs
from tramposim.report.kinds import kind_of
from tramposim.report.sections import Row, by_machine, number, section_of
from tramposim.study.overview import Section
from tramposim.study.records import Records

__all__ = ["html_page"]


def html_page(
    sections: Sequence[Section], title: str, versions: Mapping[str, str] | None = None
) -> str:
    """The page: the answer, a section for each of `sections`, and how they were made.

    `versions` are of what measured them, if that was done now.
    """
    body = [f"<h1>{escape(title)}</h1>"]
    for section in sections:
        if kind_of(section.records) == "compare":
            body += _answer(section.records)
    for place, section in enumerate(sections):
        body += section_of(section.records, f"s{place}")
    return document(title, [*body, *_origin(sections, versions)])


def _answer(records: Records) -> list[str]:
    """The question's answer in a sentence per architecture, with its numbers."""
    break_even = {found["core"]: found for found in records.meta.get("break_even", ())}
    texts = []
    for heading, rows in by_machine(records):
        by_key = {(row["scenario"], row["body"]): row for row in rows}
        pair, session = by_key.get(("fentry+fexit", "empty")), by_key.get(("fsession", "empty"))
        if pair is None or session is None:
            continue
        texts.append(_sentence(heading, pair, session, break_even.get(rows[0]["core"])))
        texts.append(note(f"Error of this core model: {rows[0]['core_error']}."))
    sentences = paragraphs(break_even_sentences(records))
    return ['<div class="answer">', *texts, "</div>", sentences] if texts else [sentences]


def _sentence(heading: str, pair: Row, session: Row, break_even: Mapping[str, float] | None) -> str:
    two, one = (number(row, "cycles_over_untraced") for row in (pair, session))
    text = (
        f"On {escape(heading)} one fsession program adds <b>{one:.1f} cycles</b> to a hot call "
        f"where an fentry and an fexit program add <b>{two:.1f}</b> ({one / two:.2f} times as much)"
    )
    if break_even is not None:
        saved, share = break_even["saved_cycles"], 100 * break_even["saved_share"]
        verb = "saves" if saved > 0 else "costs"
        text += (
            f"; keeping a timestamp in its cookie instead of a hash map {verb} "
            f"<b>{abs(saved):.1f} cycles</b> per call ({abs(share):.0f} %)"
        )
    return f"<p>{text}.</p>"


def _origin(sections: Sequence[Section], versions: Mapping[str, str] | None) -> list[str]:
    parts = ["<h2>How this was made</h2>"]
    commands = [command for section in sections for command in section.commands]
    if versions is not None and commands:
        made = ", ".join(f"{name} {version}" for name, version in versions.items())
        parts.append(f"<p>{escape(made)}. These versions print the same numbers by:</p>")
        parts.append(f"<pre>{escape(chr(10).join(commands))}</pre>")
    parts.append(
        paragraphs(
            f"{section.source}: tramposim {section.records.meta.get('version', '(no version)')}, "
            f"{section.records.meta.get('command', 'no command')}. "
            f"{section.records.meta.get('basis', '')}"
            for section in sections
            if section.source
        )
    )
    return [
        *parts,
        note(
            "Machine code is what the kernels' JITs emit; cycles are a core model's. Hot: caches, "
            "TLBs and predictors as after calls back to back."
        ),
    ]
