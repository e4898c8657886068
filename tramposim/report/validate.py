"""What validation found, as text lines or as one JSON document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from tramposim.machine.rules.rule import Violation
from tramposim.study.validate import Validated

__all__ = ["summary_line", "validated_json", "validated_text"]

_SHOWN_BRANCHES = 8


def validated_text(result: Validated) -> str:
    """`ID: SUBJECT: ok`, or a line per violation, with what helps to look into it."""
    head = f"{result.id}: {result.subject}"
    if result.unsupported:
        return f"{head}: not checked: {result.unsupported}\n"
    if result.passed:
        return f"{head}: ok ({_effort(result)})\n"
    return "".join(f"{line}\n" for line in _lines(head, result))


def _effort(result: Validated) -> str:
    what = "ways" if result.kind == "image" else "runs"
    text = f"{result.ways} {what}"
    if result.inconclusive:
        text += f", {result.inconclusive} of them inconclusive"
    return text


def _lines(head: str, result: Validated) -> Iterator[str]:
    for violation in result.violations:
        yield f"{head}: {violation.rule}: {violation.detail}"
        yield f"    at {violation.address:#x}: {violation.instruction or '(no instruction)'}"
        if violation.path:
            yield f"    on the way: {violation.path}"
        if violation.branches:
            shown = violation.branches[-_SHOWN_BRANCHES:]
            arrows = ", ".join(f"{source:#x} -> {to:#x}" for source, to in shown)
            yield f"    last branches: {arrows}"
    if result.counterexample:
        yield f"    smallest input: {result.counterexample}"


def summary_line(results: Sequence[Validated]) -> str:
    """`N passed, N failed`, and how many could not be checked, if any."""
    passed = sum(result.passed for result in results)
    skipped = sum(bool(result.unsupported) for result in results)
    tail = f" ({skipped} not checked)" if skipped else ""
    return f"{passed} passed, {len(results) - passed - skipped} failed{tail}\n"


def validated_json(results: Sequence[Validated]) -> str:
    """`tramposim.validate/1`: a row per image and program."""
    content = {
        "schema": "tramposim.validate/1",
        "passed": sum(result.passed for result in results),
        "failed": sum(bool(result.violations) for result in results),
        "unsupported": sum(bool(result.unsupported) for result in results),
        "rows": [_row(result) for result in results],
    }
    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode() + "\n"


def _row(result: Validated) -> dict[str, object]:
    return {
        "where": result.where,
        "id": result.id,
        "kind": result.kind,
        "subject": result.subject,
        "arch": result.arch,
        "passed": result.passed,
        "ways": result.ways,
        "inconclusive": result.inconclusive,
        "violations": [_violation(violation) for violation in result.violations],
        "counterexample": result.counterexample,
        "notes": list(result.notes),
        "unsupported": result.unsupported,
    }


def _violation(violation: Violation) -> dict[str, object]:
    return {
        "rule": violation.rule.value,
        "address": violation.address,
        "instruction": violation.instruction,
        "detail": violation.detail,
        "path": violation.path,
        "branches": [list(branch) for branch in violation.branches],
    }
