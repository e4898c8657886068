"""Where the cycles go, as tables: one scenario part by part, or two side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from tramposim.report.columns import Column
from tramposim.report.table import TextTable, render
from tramposim.study.records import Records

__all__ = ["explain_text"]

Row = Mapping[str, object]

_COLUMNS = (
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
_MISS_COLUMNS = (
    Column("miss", "what", text=True),
    Column("found", "found in", text=True),
    Column("address", "address", text=True),
    Column("wait_cycles", "waited", decimals=0),
    Column("part", "part", text=True),
    Column("place", "by", text=True),
)
_LEGEND = (
    "cycles: of the critical path in the part's instructions, those that it calls included; "
    "code lines, data lines: 64-byte lines that the part is the first of the call to touch; "
    "uops: unfused; image B: the part's bytes in the image; waited: cycles beyond a hit (they "
    "overlap)."
)
_COSTLY = ("return mispredict", "indirect mispredict", "conditional mispredict", "store blocked")
_SHOWN_EVENTS = 16


def explain_text(records: Records, output: str = "-") -> str:
    """Every explained scenario; two on the same core also side by side."""
    groups: list[list[Row]] = [
        list(rows)
        for _, rows in groupby(
            records.rows, lambda row: (row["arch"], row["core"], row["scenario"], row["body"])
        )
    ]
    parts: list[object] = []
    for rows in groups:
        parts += [TextTable(_COLUMNS, _table_rows(rows), _title(rows), strong=_is_part)]
        parts += _events(rows)
        parts += _misses(rows)
        parts.append("")
    for first, second in _pairs(groups):
        parts += [_comparison(first, second), _difference(first, second), ""]
    return render(*parts, _LEGEND, output=output)  # type: ignore[arg-type]


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


def _name(row: Row) -> str:
    return f"{row['scenario']}" + (f" ({row['body']})" if row["body"] != "empty" else "")


def _title(rows: Sequence[Row]) -> str:
    call = rows[0]
    cycles = float(str(call["cycles_per_call"]))
    return (
        f"{_name(call)} on {call['arch']}, kernel {call['kernel']}, {call['returns']} returns: "
        f"{cycles:.1f} cycles per call, {call['state']}\n"
        f"core {call['core']} (model error: {call['core_error']})"
    )


def _table_rows(rows: Sequence[Row]) -> list[Row]:
    return [
        {
            **row,
            "place": row["part"] if row["what"] == "part" else f"  {row['function']}",
            "percent": 100 * float(str(row["cycles_share"])),
            "program": row.get("program") if row["what"] == "part" else None,
        }
        for row in rows
        if row["what"] in ("part", "function")
    ]


def _events(rows: Sequence[Row]) -> list[str]:
    """Sentences: costly pairs one by one, the others as counts."""
    events = [row for row in rows if row["what"] == "event"]
    costly = [row for row in events if row["event"] in _COSTLY]
    lines = []
    for row in costly[:_SHOWN_EVENTS]:
        first, second = row["first"], row["second"]
        count = f"{float(str(row['events_per_call'])):g} per call"
        if row["event"] == "return mispredict":
            lines.append(f"return mispredict, {count}: {second}; on the return stack: {first}")
        elif row["event"] == "store blocked":
            lines.append(f"store blocks load, {count}: {first} -> {second}")
        else:
            lines.append(f"{row['event']}, {count}: {second}")
    if len(costly) > _SHOWN_EVENTS:
        lines.append(f"... and {len(costly) - _SHOWN_EVENTS} more such pairs (--format json)")
    for kind in ("store forwarded", "store renamed"):
        loads = sum(float(str(row["events_per_call"])) for row in events if row["event"] == kind)
        if loads:
            lines.append(f"{kind}: {loads:.1f} loads per call")
    return lines


def _misses(rows: Sequence[Row]) -> list[TextTable]:
    """Every line, page and branch that was waited for, in order."""
    misses = [row for row in rows if row["what"] == "miss"]
    if not misses:
        return []
    return [TextTable(_MISS_COLUMNS, misses, f"Waited for: {_counts(misses)}")]


def _counts(misses: Sequence[Row]) -> str:
    """Misses per call by kind and place."""
    sums: dict[str, float] = {}
    for row in misses:
        name = f"{row['miss']}s from {row['found']}"
        sums[name] = sums.get(name, 0.0) + float(str(row["misses_per_call"]))
    return ", ".join(f"{count:.4g} {name}" for name, count in sums.items()) + " per call"


def _comparison(first: Sequence[Row], second: Sequence[Row]) -> TextTable:
    """Parts of both scenarios by name, with the difference."""
    columns = (
        Column("part", "part", text=True),
        Column("first", _name(first[0])),
        Column("second", _name(second[0])),
        Column("difference", "difference"),
        Column("insns", "insns"),
        Column("lines", "code+data lines"),
    )
    return TextTable(
        columns,
        _differences(first, second),
        "Side by side: cycles per call by part; insns, lines: second less first",
    )


def _differences(first: Sequence[Row], second: Sequence[Row]) -> list[Row]:
    sides = [{str(row["part"]): row for row in rows if row["what"] == "part"} for rows in
             (first, second)]  # fmt: skip
    rows: list[Row] = []
    names = list(dict.fromkeys([*sides[1], *sides[0]]))
    order = {name: index for index, name in enumerate(sides[0])}
    names.sort(key=lambda name: order.get(name, list(sides[1]).index(name)
                                          if name in sides[1] else 0))  # fmt: skip

    def value(side: Mapping[str, Row], name: str, field: str) -> float:
        return float(str(side[name][field])) if name in side else 0.0

    for name in names:
        one, two = (value(side, name, "cycles_per_call") for side in sides)
        row: dict[str, object] = {"part": name, "difference": two - one}
        if name in sides[0]:
            row["first"] = one
        if name in sides[1]:
            row["second"] = two
        row["insns"] = round(
            value(sides[1], name, "instructions_per_call")
            - value(sides[0], name, "instructions_per_call")
        )
        row["lines"] = round(
            sum(value(sides[1], name, f) - value(sides[0], name, f)
                for f in ("code_lines", "data_lines"))
        )  # fmt: skip
        rows.append(row)
    total: dict[str, object] = {"part": "whole call"}
    for key in ("first", "second", "difference"):
        total[key] = sum(float(str(row.get(key, 0))) for row in rows)
    for key in ("insns", "lines"):
        total[key] = sum(int(str(row[key])) for row in rows)
    return [*rows, total]


def _difference(first: Sequence[Row], second: Sequence[Row]) -> str:
    rows = _differences(first, second)
    total = float(str(rows[-1]["difference"]))
    largest = sorted(rows[:-1], key=lambda row: -abs(float(str(row["difference"]))))[:3]
    named = ", ".join(
        f"{row['part']} {float(str(row['difference'])):+.1f}"
        for row in largest
        if abs(float(str(row["difference"]))) >= 0.05
    )
    return f"{_name(second[0])} costs {total:+.1f} cycles per call against {_name(first[0])}" + (
        f", most of it in: {named}." if named else "."
    )
