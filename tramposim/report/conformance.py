"""Results of conformance tests, as text or JSON."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tramposim.bpf.conformance import ConformanceTest
from tramposim.study.conformance import ConformanceResult

__all__ = ["conformance_json", "conformance_text"]


def conformance_text(test: ConformanceTest, results: Sequence[ConformanceResult]) -> str:
    """A line per engine: r0, or why there is none, and whether that is what the test wants."""
    wanted = f"error {test.error!r}" if test.result is None else f"r0 = {test.result:#x}"
    return "".join(f"{_line(result, wanted)}\n" for result in results)


def _line(result: ConformanceResult, wanted: str) -> str:
    got = result.error if result.value is None else f"r0 = {result.value:#x}"
    return f"{result.engine:<8}{got}: {'passed' if result.passed else f'FAILED, {wanted} expected'}"


def conformance_json(test: ConformanceTest, results: Sequence[ConformanceResult]) -> str:
    """The same as a JSON object."""
    content = {
        "schema": "tramposim.conformance/1",
        "expected": {"value": test.result, "error": test.error},
        "rows": [msgspec.to_builtins(result) for result in results],
    }
    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode() + "\n"
