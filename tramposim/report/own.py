"""The comparison of a user's programs: a table per function and architecture, then verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from tramposim.report.columns import SPREAD, Column, with_spread
from tramposim.report.pairs import is_session
from tramposim.report.titled import TitledTable, titled_markdown, titled_text
from tramposim.study.records import Records

__all__ = ["own_markdown", "own_text", "shortened", "stated_sentences"]

COLUMNS = (
    Column("role", "group", text=True),
    Column("scenario", "scenario", text=True),
    Column("body", "programs", text=True),
    Column("cycles_per_call", "cycles"),
    SPREAD,
    Column("cycles_over_untraced", "over"),
    Column("cycles_over_empty", "own"),
    Column("over_pair_ratio", "×pair", decimals=2),
    Column("cycles_per_call_cold", "cold", decimals=0),
    Column("over_pair_ratio_cold", "×cold", decimals=2),
    Column("instructions_per_call", "insns", decimals=0),
    Column("image_bytes", "img B"),
    Column("program_bytes", "prog B"),
    Column("links", "links"),
    Column("slots", "slots"),
    Column("uops_per_call", "uops", decimals=0),
)

LEGEND = (
    "group: each program alone; pair: the fentry and fexit programs together; all: the whole "
    "file. cycles: core cycles per call, the call itself included; ±: half the range that "
    "repeated measurements find (the front end has two states, or calls differ); over: cycles "
    "over the untraced call; own: cycles over the same programs doing nothing; ×pair: over, "
    "relative to the pair; cold: cycles of a call whose lines of code and data are all in memory, "
    "×cold: ×pair for it; insns, uops (unfused): executed per call; img B, prog B: bytes of "
    "machine code; slots: of the trampoline's limit on programs (an fsession takes two)."
)

_LONGEST_NAMES = 28
_LONGEST_SCENARIO = 20


def own_text(records: Records, output: str = "-") -> str:
    """Tables and verdicts for a terminal, or as plain text for a file."""
    return titled_text(_tables(records), LEGEND, _sentences(records), output)


def own_markdown(records: Records) -> str:
    """The same as Markdown."""
    return titled_markdown(_tables(records), LEGEND, _sentences(records))


def _groups(records: Records) -> Iterator[Sequence[Mapping[str, Any]]]:
    """The rows of one function on one kernel and core."""

    def key(row: Mapping[str, object]) -> tuple[object, ...]:
        return row["arch"], row["core"], row["kernel"], row["function"]

    for _, group in groupby(records.rows, key):
        yield list(group)


def _tables(records: Records) -> Iterator[TitledTable]:
    for rows in _groups(records):
        first = rows[0]
        entries = " or ".join(dict.fromkeys(row["entry"] for row in rows if row.get("entry")))
        shown = [shortened(with_spread(row)) for row in rows]
        yield TitledTable(
            f"{records.meta['source']}: {first['function']} on {first['arch']}, "
            f"kernel {first['kernel']}: entry by {entries}, {first['returns']} returns, "
            f"{records.meta['state']}\n"
            f"core {first['core']} (model error: {first['core_error']})",
            _columns(shown),
            shown,
        )


def _columns(rows: Sequence[Mapping[str, object]]) -> Sequence[Column]:
    """The columns of which there is something to show."""
    return [column for column in COLUMNS if any(row.get(column.field) is not None for row in rows)]


def shortened(row: Mapping[str, object]) -> Mapping[str, object]:
    """The row with what fits of its scenario and of the names of a user's programs."""
    return {**row, "scenario": _cut(row), "body": _names(row)} if "role" in row else row


def _cut(row: Mapping[str, object]) -> str:
    """The scenario; of many programs only the first ones fit."""
    word = str(row["scenario"])
    if len(word) <= _LONGEST_SCENARIO:
        return word
    return word[:_LONGEST_SCENARIO].rpartition("+")[0] + "+…"


def _names(row: Mapping[str, object]) -> str:
    """The names of the programs, the last ones counted where they do not fit."""
    names = str(row["body"]).split(" + ")
    if row["role"] == "all":
        return f"all {len(names)}"
    shown = len(names)
    while shown > 1 and len(_joined(names, shown)) > _LONGEST_NAMES:
        shown -= 1
    return _joined(names, shown)


def _joined(names: Sequence[str], shown: int) -> str:
    rest = f" + {len(names) - shown} more" if shown < len(names) else ""
    return " + ".join(names[:shown]) + rest


def _sentences(records: Records) -> Iterator[str]:
    for rows in _groups(records):
        pair = next((row for row in rows if row["role"] == "pair"), None)
        for row in rows:
            if pair is not None and is_session(row):
                yield _verdict(pair, row)
    yield from stated_sentences(records)


def stated_sentences(records: Records) -> Iterator[str]:
    """Which helpers were not executed, and what they were stated to cost."""
    stated = [str(row["stated_costs"]) for row in records.rows if row.get("stated_costs")]
    if stated:
        helpers = dict.fromkeys(_helper(cost) for costs in stated for cost in costs.split(", "))
        yield (
            f"Stated with --cost, not executed: {', '.join(helpers)} per call of the helper; the "
            "cycles of every row that calls it contain that."
        )


def _helper(cost: str) -> str:
    """`bpf_trace_printk at 800 cycles`, of a row's `2 bpf_trace_printk at 800 cycles`."""
    return cost.partition(" ")[2]


def _verdict(pair: Mapping[str, Any], session: Mapping[str, Any]) -> str:
    saved = pair["cycles_per_call"] - session["cycles_per_call"]
    what = (
        f"saves {saved:.1f} cycles per call ({100 * saved / pair['cycles_per_call']:.0f} %)"
        if saved >= 0
        else f"costs {-saved:.1f} cycles per call more "
        f"({-100 * saved / pair['cycles_per_call']:.0f} %)"
    )
    cold = ""
    if "cycles_per_call_cold" in pair and "cycles_per_call_cold" in session:
        calls = pair["cycles_per_call_cold"], session["cycles_per_call_cold"]
        cold = f" A cold call needs {calls[0]:,.0f} and {calls[1]:,.0f}."
    return (
        f"{session['function']} on {session['arch']} ({session['core']}): the pair "
        f"({pair['body']}) needs {pair['cycles_per_call']:.1f} cycles per call, the fsession "
        f"({session['body']}) {session['cycles_per_call']:.1f}: it {what}.{cold}"
    )
