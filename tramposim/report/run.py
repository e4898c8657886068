"""What executed programs returned, printed and left in their maps, as text or JSON."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from tramposim.study.run import RunResult

__all__ = ["run_json", "run_text"]

MAX_ELEMENTS = 64
"""Elements shown of each map."""


def _word(value: int) -> str:
    return str(value) if value < 1 << 31 else f"{value:#x}"


def run_text(result: RunResult) -> str:
    """A line per execution, per printed line and per map element that is not zero."""
    width = max((len(run.name) for run in result.runs), default=0)
    lines = [f"{run.name:<{width}}  {run.when:<8}  r0 = {_word(run.value)}" for run in result.runs]
    lines += [f"output: {line}" for line in result.output]
    for name, elements in result.maps:
        lines.append(f"map {name}: {len(elements)} elements that are not zero")
        for key, value in elements[:MAX_ELEMENTS]:
            lines.append(f"  {int.from_bytes(key, 'little'):#x}: {' '.join(_words(value))}")
        if len(elements) > MAX_ELEMENTS:
            lines.append(f"  ... and {len(elements) - MAX_ELEMENTS} more")
    return "\n".join(lines) + "\n"


def _words(value: bytes) -> Iterator[str]:
    """The 8-byte words that are not zero, with their index if there are several."""
    words = [int.from_bytes(value[at : at + 8], "little") for at in range(0, len(value), 8)]
    for index, word in enumerate(words):
        if word:
            yield f"[{index}]={_word(word)}" if len(words) > 1 else _word(word)


def run_json(result: RunResult) -> str:
    """The same as one JSON object; keys and values of maps as hex."""
    content = {
        "schema": "tramposim.run/1",
        "runs": [{"name": r.name, "when": r.when, "r0": r.value} for r in result.runs],
        "output": list(result.output),
        "maps": {
            name: {key.hex(): value.hex() for key, value in elements}
            for name, elements in result.maps
        },
    }
    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode() + "\n"
