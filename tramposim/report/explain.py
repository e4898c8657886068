"""Where the cycles go, as tables: one scenario part by part, or two side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from tramposim.report.columns import Column
from tramposim.report.difference import differences
from tramposim.report.explained import (
    GROUP_HEADINGS,
    LEGEND_OF_GROUPS,
    Row,
    groups_of,
    instruction_of,
    name_of,
    number,
    of_kind,
)
from tramposim.report.export import markdown_table
from tramposim.report.stretches import stretches
from tramposim.report.table import TextTable, render
from tramposim.study.explain import group_field
from tramposim.study.records import Records

__all__ = ["explain_markdown", "explain_text"]

_PART_COLUMNS = (
    Column("place", "part", text=True),
    Column("cycles_per_call", "cycles"),
    Column("percent", "%"),
    Column("instructions_per_call", "insns"),
    Column("uops_per_call", "uops"),
    Column("code_lines", "code lines"),
    Column("data_lines", "data lines"),
    Column("image_bytes", "image B"),
    Column("program", "program", text=True),
)
_LINK_COLUMNS = (
    Column("cycles_per_call", "cycles"),
    Column("part", "part", text=True),
    Column("why", "waits for", text=True),
    Column("where", "by", text=True),
)
_STRETCH_COLUMNS = (*_LINK_COLUMNS[:-1], Column("where", "in", text=True))
_MISS_COLUMNS = (
    Column("miss", "what", text=True),
    Column("found", "found in", text=True),
    Column("wait_cycles", "waited", decimals=0),
    Column("cycles_per_call", "on path", decimals=0),
    Column("line", "line, or first use of it", text=True),
    Column("part", "part", text=True),
    Column("address", "address", text=True),
)
_EVENT_COLUMNS = (
    Column("events_per_call", "per call"),
    Column("event", "event", text=True),
    Column("second", "by", text=True),
    Column("first", "after", text=True),
)
_LEGEND = (
    "cycles: of the critical path, the chain of events that decides how long a call takes, in the "
    "part's instructions and those that it calls; code lines, data lines: 64-byte lines that the "
    "part is the first of the call to touch; uops: unfused; image B: the part's bytes in the "
    "image."
)
_RANGE_LEGEND = (
    "The range: what repeated measurements find; the front end has two states (or calls differ), "
    "the cycles are their mean."
)
_MISS_LEGEND = (
    "waited: cycles beyond a hit (they overlap); on path: those that the critical path waited."
)
_COSTLY = ("return mispredict", "indirect mispredict", "conditional mispredict", "store blocked")
_SHOWN_EVENTS = 12
_EVENT_LENGTH = 20
"""Characters of an instruction of an event: two of them share a line."""

Block = TextTable | str


def explain_text(records: Records, output: str = "-", links: bool = False) -> str:
    """Every explained scenario; two on the same core also side by side.

    `links` shows every link of the critical path, not its stretches.
    """
    return render(*_blocks(records, links), output=output)


def explain_markdown(records: Records, links: bool = False) -> str:
    """The same as Markdown."""
    blocks = []
    for block in _blocks(records, links):
        if isinstance(block, str):
            blocks.append(block + "\n")
        else:
            title = block.title.replace("\n", ", ")
            blocks.append(f"### {title}\n\n{markdown_table(block.columns, block.rows)}")
    return "\n".join(block for block in blocks if block.strip())


def _blocks(records: Records, links: bool) -> Iterator[Block]:
    groups: list[list[Row]] = [list(rows) for _, rows in groupby(records.rows, _key)]
    for rows in groups:
        yield TextTable(_PART_COLUMNS, _part_rows(rows), _title(rows), strong=_is_part)
        yield _bottlenecks(rows)
        yield _path(rows, links)
        yield from _events(rows)
        yield from _misses(rows)
        yield ""
    for first, second in _pairs(groups):
        yield from differences(first, second)
        yield ""
    legends = [_LEGEND, LEGEND_OF_GROUPS]
    if any("cycles_low" in row for row in records.rows):
        legends.append(_RANGE_LEGEND)
    if any(row["what"] == "miss" for row in records.rows):
        legends.append(_MISS_LEGEND)
    yield " ".join(legends)


def _key(row: Row) -> tuple[object, ...]:
    return row["arch"], row["core"], row["function"], row["scenario"], row["body"]


def _pairs(groups: Sequence[list[Row]]) -> list[tuple[list[Row], list[Row]]]:
    """Each two explained scenarios that share architecture and core."""
    found = []
    for _, same in groupby(groups, lambda rows: (rows[0]["arch"], rows[0]["core"])):
        alike = list(same)
        if len(alike) == 2:
            found.append((alike[0], alike[1]))
    return found


def _is_part(row: Row) -> bool:
    return row["what"] == "part"


def _title(rows: Sequence[Row]) -> str:
    call = rows[0]
    spread = ""
    if "cycles_low" in call:
        spread = f" ({number(call, 'cycles_low'):.1f} to {number(call, 'cycles_high'):.1f})"
    return (
        f"{name_of(rows)}: {call['function']} on {call['arch']}, kernel {call['kernel']}, "
        f"{call['returns']} returns: {number(call, 'cycles_per_call'):.1f} cycles per call"
        f"{spread}, {call['state']}\n"
        f"core {call['core']} (model error: {call['core_error']})"
    )


def _part_rows(rows: Sequence[Row]) -> list[Row]:
    return [
        {
            **row,
            "place": row["part"] if _is_part(row) else f"  {row['part_function']}",
            "percent": 100 * number(row, "cycles_share"),
            "program": row.get("program") if _is_part(row) else None,
        }
        for row in rows
        if row["what"] in ("part", "function")
    ]


def _bottlenecks(rows: Sequence[Row]) -> TextTable:
    """Parts against the groups of reasons: where the path spends its cycles, and on what."""
    groups = groups_of(rows)
    columns = (
        Column("part", "part", text=True),
        Column("cycles_per_call", "cycles"),
        *(Column(group_field(group), GROUP_HEADINGS[group]) for group in groups),
    )
    parts = [row for row in of_kind(rows, "part") if number(row, "cycles_per_call") >= 0.05]
    shares = of_kind(rows, "share")
    sums = [_sum("whole call", shares, "cycles_per_call")]
    if any("cycles_faster" in row for row in shares):
        sums.append(_sum("  front end's faster state", shares, "cycles_faster"))
        sums.append(_sum("  its slower state", shares, "cycles_slower"))
    total = number(sums[0], "cycles_per_call") or 1.0
    share: dict[str, object] = {
        name: 100 * number(sums[0], name) / total for name in sums[0] if name != "part"
    }
    names = {str(row["part"]) for row in sums} | {"%"}
    return TextTable(
        columns,
        [*parts, *sums, share | {"part": "%"}],
        f"Bottlenecks: {_reasons(rows)}",
        section_of=lambda row: row["part"] in names,
        strong=lambda row: row["part"] == "whole call",
    )


def _sum(name: str, shares: Sequence[Row], field: str) -> Row:
    """A row of sums by group."""
    total: dict[str, object] = {"part": name}
    total["cycles_per_call"] = sum(number(row, field) for row in shares)
    for row in shares:
        group = group_field(str(row["group"]))
        total[group] = number(total, group) + number(row, field)
    return total


def _reasons(rows: Sequence[Row]) -> str:
    """`serialising 86.0 (serialisation 86.0), ...`: the groups in order of their cycles."""
    groups: dict[str, list[Row]] = {}
    for row in of_kind(rows, "share"):
        groups.setdefault(str(row["group"]), []).append(row)
    sums = {name: sum(number(row, "cycles_per_call") for row in rs) for name, rs in groups.items()}
    texts = []
    for name in sorted(groups, key=lambda name: -sums[name]):
        reasons = ", ".join(
            f"{row['reason']} {number(row, 'cycles_per_call'):.1f}"
            for row in groups[name]
            if number(row, "cycles_per_call") >= 0.05
        )
        alone = len(groups[name]) == 1 and groups[name][0]["reason"] == name
        texts.append(f"{name} {sums[name]:.1f}" + ("" if alone or not reasons else f" ({reasons})"))
    return "; ".join(texts)


def _path(rows: Sequence[Row], links: bool) -> TextTable:
    """The critical path in the order of the call: every link, or its stretches."""
    found = of_kind(rows, "link")
    if links:
        table = [{**link, "why": _why(link), "where": instruction_of(link)} for link in found]
        return TextTable(_LINK_COLUMNS, table, f"Critical path: {len(found)} links")
    joined: list[Row] = [
        {"cycles_per_call": one.cycles, "part": one.part, "why": one.reasons, "where": one.where}
        for one in stretches(found)
    ]
    title = f"Critical path: {len(found)} links, joined to {len(joined)} stretches (--path: all)"
    return TextTable(_STRETCH_COLUMNS, joined, title)


def _why(link: Row) -> str:
    if "address" not in link:
        return str(link["reason"])
    return f"{link['reason']} from {link['found']}".replace("from under way", "under way")


def _events(rows: Sequence[Row]) -> Iterator[Block]:
    """What befell pairs of instructions: the costly ones one by one, the others as counts."""
    events = of_kind(rows, "event")
    costly = [row for row in events if row["event"] in _COSTLY]
    if costly:
        table = [
            {**row, "second": _paired(row, "second"), "first": _paired(row, "first")}
            for row in costly[:_SHOWN_EVENTS]
        ]
        left = len(costly) - len(table)
        more = f" (of {len(costly)}; --format json has all)" if left else ""
        yield TextTable(_EVENT_COLUMNS, table, f"Mispredictions and blocked loads{more}")
    counts = []
    for kind in ("store forwarded", "store renamed"):
        loads = sum(number(row, "events_per_call") for row in events if row["event"] == kind)
        if loads:
            counts.append(f"{kind}: {loads:.1f} loads per call")
    if counts:
        yield "; ".join(counts)


def _paired(row: Row, side: str) -> str:
    """An instruction of an event, with its place."""
    text, _, place = str(row[side]).rpartition(" (")
    return (
        instruction_of({"first": text, "place": place.rstrip(")")}, _EVENT_LENGTH)
        if text
        else str(row[side])
    )


def _misses(rows: Sequence[Row]) -> Iterator[Block]:
    """Every line, page and branch that was waited for, in order."""
    misses = of_kind(rows, "miss")
    if misses:
        yield TextTable(_MISS_COLUMNS, misses, f"Waited for: {_counts(misses)}")


def _counts(misses: Sequence[Row]) -> str:
    """Misses per call by kind and place."""
    sums: dict[str, float] = {}
    for row in misses:
        if row["found"] != "under way":
            name = f"{row['miss']}s from {row['found']}"
            sums[name] = sums.get(name, 0.0) + number(row, "misses_per_call")
    return ", ".join(f"{count:.4g} {name}" for name, count in sums.items()) + " per call"
