"""Rows of an explanation, and the words that its tables share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tramposim.study.explain import STATED

__all__ = [
    "GROUP_HEADINGS",
    "LEGEND_OF_GROUPS",
    "Row",
    "groups_of",
    "instruction_of",
    "name_of",
    "number",
    "of_kind",
    "short_place",
]

_LONGEST = 36
"""Characters of an instruction's text that tables show."""

Row = Mapping[str, object]

GROUP_HEADINGS = {
    "front end": "front end",
    "misprediction": "mispred",
    "cold misses": "misses",
    "ports": "ports",
    "latency chain": "latency",
    "forwarding": "forward",
    "serialising": "serial",
    "widths and buffers": "buffers",
    STATED: "stated",
}
"""Headings of the groups of reasons, in the order of their columns."""

LEGEND_OF_GROUPS = (
    "What the path waits for: front end: delivery of uops, taken branches, prediction that is "
    "behind; mispred: redirects after mispredictions; misses: of caches, TLBs and branch targets; "
    "ports; latency: of executing chains, and of loads that hit; forward: from stores to loads; "
    "serial: fences and locked operations; buffers: widths of rename, retirement and the stores' "
    "way to the cache, full queues."
)


def number(row: Row, field: str) -> float:
    """A field as a number, 0 if the row lacks it."""
    return float(str(row.get(field, 0)))


def short_place(row: Row) -> str:
    """Function and offset; the trampoline image, whose name is the traced function's, is short."""
    name, plus, offset = str(row["place"]).partition("+")
    return ("image" if name.startswith("bpf_trampoline_") else name) + plus + offset


def instruction_of(row: Row, most: int = _LONGEST) -> str:
    """The instruction of a link, cut to `most` characters, with its place."""
    text = str(row["first"]).removesuffix(f"({row['place']})").rstrip()
    if len(text) > most:
        text = text[: most - 1] + "…"
    return f"{text} ({short_place(row)})".removesuffix(" ()")


def of_kind(rows: Sequence[Row], what: str) -> list[Row]:
    """The rows of one kind (`what`)."""
    return [row for row in rows if row["what"] == what]


def groups_of(rows: Sequence[Row]) -> list[str]:
    """Groups that take at least 0.05 cycles, in the order of `GROUP_HEADINGS`."""
    sums: dict[str, float] = {}
    for row in of_kind(rows, "share"):
        group = str(row["group"])
        sums[group] = sums.get(group, 0.0) + number(row, "cycles_per_call")
    return [group for group in GROUP_HEADINGS if sums.get(group, 0.0) >= 0.05]


def name_of(rows: Sequence[Row]) -> str:
    """Scenario and body."""
    call = rows[0]
    return f"{call['scenario']}" + (f" ({call['body']})" if call["body"] != "empty" else "")
