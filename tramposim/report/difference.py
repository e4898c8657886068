"""Two explained scenarios side by side: the difference by part, by reason, line by line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tramposim.report.columns import Column
from tramposim.report.explained import (
    GROUP_HEADINGS,
    Row,
    name_of,
    number,
    of_kind,
)
from tramposim.report.table import TextTable
from tramposim.study.explain import group_field

__all__ = ["differences"]

_SHOWN_LINES = 24
_LEAST = 0.05


def differences(first: Sequence[Row], second: Sequence[Row]) -> Iterator[TextTable | str]:
    """Parts of both scenarios by name, with what their difference waits for; of cold calls
    also the lines, pages and branches; and the difference in words."""
    rows = _by_part(first, second)
    groups = [
        group
        for group in GROUP_HEADINGS
        if any(abs(number(row, group_field(group))) >= _LEAST for row in rows)
    ]
    columns = (
        Column("part", "part", text=True),
        Column("first", "first"),
        Column("second", "second"),
        Column("difference", "diff"),
        *(Column(group_field(group), GROUP_HEADINGS[group]) for group in groups),
        Column("insns", "insns"),
        Column("lines", "lines"),
    )
    yield TextTable(
        columns,
        rows,
        f"Side by side: first {name_of(first)}, second {name_of(second)}; then second less "
        "first: cycles by what the path waits for, instructions, code and data lines",
        section_of=lambda row: row["part"] == "whole call",
        strong=lambda row: row["part"] == "whole call",
    )
    if of_kind(first, "miss") or of_kind(second, "miss"):
        yield from _line_by_line(first, second)
    yield _in_words(first, second, rows, groups)


def _by_part(first: Sequence[Row], second: Sequence[Row]) -> list[Row]:
    sides = [{str(row["part"]): row for row in of_kind(rows, "part")} for rows in (first, second)]
    fields = [group_field(group) for group in GROUP_HEADINGS]
    rows: list[dict[str, object]] = []
    for name in _merged(list(sides[0]), list(sides[1])):
        one, two = (side.get(name, {}) for side in sides)
        cycles = [number(side, "cycles_per_call") for side in (one, two)]
        row: dict[str, object] = {"part": name, "difference": cycles[1] - cycles[0]}
        if one:
            row["first"] = cycles[0]
        if two:
            row["second"] = cycles[1]
        for field in fields:
            difference = number(two, field) - number(one, field)
            if abs(difference) >= _LEAST:
                row[field] = difference
        row["insns"] = round(
            number(two, "instructions_per_call") - number(one, "instructions_per_call")
        )
        row["lines"] = round(
            sum(number(two, f) - number(one, f) for f in ("code_lines", "data_lines"))
        )
        rows.append(row)
    total: dict[str, object] = {"part": "whole call"}
    for field in ("first", "second", "difference", *fields):
        total[field] = sum(number(row, field) for row in rows)
    for field in ("insns", "lines"):
        total[field] = sum(int(str(row[field])) for row in rows)
    return [*rows, total]


def _merged(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """Both orders in one: what only the second has comes before what follows it there."""
    found = list(first)
    for index, name in enumerate(second):
        if name not in found:
            following = next((other for other in second[index + 1 :] if other in found), None)
            found.insert(found.index(following) if following else len(found), name)
    return found


def _line_by_line(first: Sequence[Row], second: Sequence[Row]) -> Iterator[TextTable | str]:
    """Cycles of the path that waited for each line, page and branch, and all the others."""
    sides = [_lines(rows) for rows in (first, second)]
    keys = dict.fromkeys([*sides[0], *sides[1]])
    rows: list[dict[str, object]] = []
    for key in keys:
        one, two = (side.get(key) for side in sides)
        cycles = [number(row or {}, "cycles_per_call") for row in (one, two)]
        row: dict[str, object] = {"difference": cycles[1] - cycles[0]}
        row |= {"what": key[0], "line": key[1], "part": (two or one or {}).get("part")}
        if one is not None:
            row["first"] = cycles[0]
        if two is not None:
            row["second"] = cycles[1]
        rows.append(row)
    rows.sort(key=lambda row: -abs(number(row, "difference")))
    shown = [row for row in rows if abs(number(row, "difference")) >= 0.5][:_SHOWN_LINES]
    rest = [row for row in rows if row not in shown]
    table: list[Row] = [*shown]
    if any(number(row, "first") or number(row, "second") for row in rest):
        table.append(_sum(f"{len(rest)} others", rest))
    misses = _sum("all lines, pages and branches", rows)
    totals = [number(rows[0], "cycles_per_call") for rows in (first, second)]
    other: dict[str, object] = {"what": "what is no miss"}
    for name, total in zip(("first", "second"), totals, strict=True):
        other[name] = total - number(misses, name)
    other["difference"] = number(other, "second") - number(other, "first")
    whole = {"what": "whole call", "first": totals[0], "second": totals[1]}
    table += [misses, other, whole | {"difference": totals[1] - totals[0]}]
    columns = (
        Column("what", "what", text=True),
        Column("line", "of", text=True),
        Column("first", "first"),
        Column("second", "second"),
        Column("difference", "difference"),
        Column("part", "part", text=True),
    )
    yield TextTable(
        columns,
        table,
        "Line by line: cycles that the path waited for them",
        section_of=lambda row: row["what"] in (misses["what"], "what is no miss", "whole call"),
        strong=lambda row: row["what"] == "whole call",
    )
    yield _touched(first, second, sides)


def _lines(rows: Sequence[Row]) -> dict[tuple[str, str], Row]:
    """Misses by what and where; several of one instruction are numbered."""
    found: dict[tuple[str, str], Row] = {}
    for row in of_kind(rows, "miss"):
        count, key = 1, (str(row["miss"]), str(row["line"]))
        while key in found:
            count += 1
            key = (str(row["miss"]), f"{row['line']}, {count}")
        found[key] = row
    return found


def _sum(what: str, rows: Sequence[Row]) -> dict[str, object]:
    total: dict[str, object] = {"what": what}
    for field in ("first", "second", "difference"):
        total[field] = sum(number(row, field) for row in rows)
    return total


def _touched(
    first: Sequence[Row], second: Sequence[Row], sides: Sequence[Mapping[tuple[str, str], Row]]
) -> str:
    """Which misses only one of them has."""
    texts = []
    for mine, other, rows in ((0, 1, first), (1, 0, second)):
        alone = [key for key in sides[mine] if key not in sides[other]]
        kinds: dict[str, int] = {}
        for kind, _ in alone:
            kinds[kind] = kinds.get(kind, 0) + 1
        hidden = sum(1 for key in alone if not number(sides[mine][key], "cycles_per_call"))
        counted = ", ".join(f"{n} {kind}{'s' if n > 1 else ''}" for kind, n in kinds.items())
        texts.append(
            f"Only {name_of(rows)} waits for {counted or 'nothing'}"
            + (f" ({hidden} of them hidden behind other waits)" if hidden else "")
        )
    return ". ".join(texts) + "."


def _in_words(
    first: Sequence[Row], second: Sequence[Row], rows: Sequence[Row], groups: Sequence[str]
) -> str:
    total = number(rows[-1], "difference")
    parts = {str(row["part"]): number(row, "difference") for row in rows[:-1]}
    causes = {group: number(rows[-1], group_field(group)) for group in groups}
    more = "more" if total >= 0 else "less"
    text = f"{name_of(second)} costs {abs(total):.1f} cycles per call {more} than {name_of(first)}"
    for heading, values in (("most of it in", parts), ("by cause", causes)):
        largest = sorted(values, key=lambda name: -abs(values[name]))[:3]
        named = [f"{name} {values[name]:+.1f}" for name in largest if abs(values[name]) >= _LEAST]
        if named:
            text += f"; {heading}: {', '.join(named)}"
    return text + "."
