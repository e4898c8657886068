"""The comparison as a readable answer: one table per architecture, then the break-even."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from tramposim.report.columns import SPREAD, Column, with_spread
from tramposim.report.titled import TitledTable, titled_markdown, titled_text
from tramposim.study.records import Records

__all__ = ["COLUMNS", "LEGEND", "break_even_sentences", "compare_markdown", "compare_text"]

COLUMNS = (
    Column("scenario", "scenario", text=True),
    Column("body", "body", text=True),
    Column("cycles_per_call", "cycles"),
    SPREAD,
    Column("cycles_over_untraced", "over"),
    Column("over_pair_ratio", "×pair", decimals=2),
    Column("cycles_per_call_cold", "cold", decimals=0),
    Column("over_pair_ratio_cold", "×cold", decimals=2),
    Column("instructions_per_call", "insns", decimals=0),
    Column("uops_per_call", "uops", decimals=0),
    Column("image_bytes", "img B"),
    Column("program_bytes", "prog B"),
    Column("programs", "progs"),
    Column("links", "links"),
    Column("slots", "slots"),
)

LEGEND = (
    "cycles: core cycles per call, the call itself included; ±: half the range that repeated "
    "measurements find (the front end has two states, or calls differ); over: cycles over the "
    "untraced call; ×pair: over, relative to fentry+fexit with the same kind of body; cold: "
    "cycles of a call whose lines of code and data are all in memory, ×cold: ×pair for it; insns, "
    "uops (unfused): executed per call; img B, prog B: bytes of machine code; progs: programs, "
    "and as many links unless shown; slots: of the trampoline's limit on programs (an fsession "
    "takes two)."
)


def compare_text(records: Records, output: str = "-") -> str:
    """Tables and break-even for a terminal, or as plain text for a file."""
    return titled_text(_tables(records), LEGEND, break_even_sentences(records), output)


def compare_markdown(records: Records) -> str:
    """The same as Markdown."""
    return titled_markdown(_tables(records), LEGEND, break_even_sentences(records))


def _tables(records: Records) -> Iterator[TitledTable]:
    def key(row: Mapping[str, object]) -> tuple[object, ...]:
        return row["arch"], row["core"], row["kernel"]

    function = records.meta["function"]
    for _, group in groupby(records.rows, key):
        rows = list(group)
        first = rows[0]
        shown = [with_spread(row) for row in rows if not _repeats_untraced(row)]
        yield TitledTable(
            f"{function} on {first['arch']}, kernel {first['kernel']}: "
            f"entry by {_entries(rows)}, {first['returns']} returns, {records.meta['state']}\n"
            f"core {first['core']} (model error: {first['core_error']})",
            _columns(shown),
            shown,
            section_of=_body_class,
        )


def _columns(rows: Sequence[Mapping[str, object]]) -> tuple[Column, ...]:
    """The columns without those of cold calls and of ranges if there are none, and without the
    links if they are as many as the programs."""
    linked = any(row.get("links") != row.get("programs") for row in rows)

    def is_shown(column: Column) -> bool:
        if column.field == "links":
            return linked
        optional = column is SPREAD or column.field.endswith("_cold")
        return not optional or any(column.field in row for row in rows)

    return tuple(column for column in COLUMNS if is_shown(column))


def _repeats_untraced(row: Mapping[str, object]) -> bool:
    """An untraced call has no body: its records for the bodies are the same, one is shown."""
    return row["scenario"] == "untraced" and row["body"] != "empty"


def _entries(rows: Sequence[Mapping[str, object]]) -> str:
    entries = dict.fromkeys(str(row["entry"]) for row in rows if row.get("entry"))
    return " or ".join(entries)


def _body_class(row: Mapping[str, object]) -> str:
    return str(row["body"]).split("-")[0]


def break_even_sentences(records: Records) -> list[str]:
    """What follows from the comparison, a sentence or two per architecture and core."""
    return [_break_even_sentence(found) for found in records.meta.get("break_even", ())]


def _break_even_sentence(found: Mapping[str, Any]) -> str:
    extra = found["cookie_extra_cycles"]
    start = f"Break-even on {found['arch']} ({found['core']}): "
    if abs(extra) < 0.05:
        start += (
            "without work in the programs, one fsession with a cookie costs what the pair costs, "
            "so it wins with any state to pass."
        )
    elif extra > 0:
        start += (
            f"without work in the programs, one fsession with a cookie costs {extra:.1f} cycles "
            f"per call more than the pair, so it wins as soon as passing state from entry to "
            f"exit costs the pair more than {extra:.1f} cycles."
        )
    else:
        start += (
            f"even without work in the programs, one fsession with a cookie costs "
            f"{-extra:.1f} cycles per call less than the pair, so it wins with any state to pass."
        )
    saved = found["saved_cycles"]
    verdict = (
        f"the cookie saves {saved:.1f} cycles per call ({100 * found['saved_share']:.0f} %)"
        if saved > 0
        else f"the cookie costs {-saved:.1f} cycles per call more"
    )
    return (
        f"{start} Passing a timestamp through a hash map the pair needs "
        f"{found['hash_cycles']:.1f} cycles per call, fsession+cookie needs "
        f"{found['cookie_cycles']:.1f}: {verdict}."
    )
