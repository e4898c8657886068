"""What executed programs returned, printed and left in their maps, as text or JSON."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from tramposim.report.parts import part_text
from tramposim.spec import Map, MapFlag, MapType, Value
from tramposim.study.engines import EngineRun, MapContents, ProgramRun, Returned
from tramposim.study.run import INTERPRETER, RunResult

__all__ = ["run_json", "run_text"]

MAX_ELEMENTS = 64
"""Elements shown of each map."""

MAX_LINES = 200
"""Printed lines shown."""

_RECORDS = (MapType.RINGBUF, MapType.PERF_EVENT_ARRAY)
_ARRAYS = (MapType.ARRAY, MapType.PERCPU_ARRAY)


def _word(value: int) -> str:
    return str(value) if value < 1 << 31 else f"{value:#x}"


def run_text(result: RunResult) -> str:
    """The call, a line per execution of the last call, what was printed, and the maps.

    All of that of the first engine; then whether the others did the same.
    """
    shown = result.engines[0]
    lines = list(_rounds(shown))
    if shown.output:
        lines.append("trace output:")
        lines += [f"  bpf_trace_printk: {line}" for line in shown.output[:MAX_LINES]]
        if len(shown.output) > MAX_LINES:
            lines.append(f"  ... and {len(shown.output) - MAX_LINES:,} more lines")
    for contents in shown.maps:
        if not contents.map.flags & MapFlag.RDONLY_PROG:
            lines += _map(contents)
    lines += [f"note: {note}" for note in result.notes]
    lines += _verdict(result)
    return "\n".join(lines) + "\n"


def _rounds(run: EngineRun) -> Iterator[str]:
    """The last round: programs that ran alone, then every call with what ran around it."""
    last = max([*(one.call for one in run.runs), *(one.call for one in run.returned)], default=1)
    if last > 1:
        yield f"call {last:,}, the last one:"
    runs = [one for one in run.runs if one.call == last]
    width = max((len(one.name) for one in runs), default=0)
    yield from (_run(one, width) for one in runs if one.when == "run")
    for call in run.returned:
        if call.call != last:
            continue
        yield _call(call)
        names = {program.name for program in call.traced.programs}
        around = (one for one in runs if one.when != "run" and one.name in names)
        yield from (f"  {_run(one, width)}" for one in around)


def _run(one: ProgramRun, width: int) -> str:
    return f"{one.name:<{width}}  {one.when:<8}  r0 = {_word(one.value)}"


def _call(call: Returned) -> str:
    """`f(1, 0xffff888104003440) returned -2`."""
    prototype = call.traced.function.prototype
    values = [argument for argument in prototype.arguments for _ in range(argument.slots)]
    arguments = ", ".join(_typed(*pair) for pair in zip(values, call.slots, strict=True))
    returned = prototype.returns
    result = f" {_typed(returned, call.value)}" if returned else ""
    return f"{prototype.name}({arguments}) returned{result}"


def _typed(value: Value, number: int) -> str:
    """A slot's number: what may be a pointer, or a piece of a struct, in hex."""
    if (value.size == 8 and not value.signed) or value.struct:
        return hex(number)
    signed = value.signed and number >> 8 * value.size - 1
    return str(number - (1 << 8 * value.size) if signed else number)


def _map(contents: MapContents) -> Iterator[str]:
    kind = contents.map.type
    if contents.map.flags & MapFlag.MMAPABLE and contents.map.value_parts:
        yield from _variables(contents)
        return
    if kind in _ARRAYS:
        shown = {key: value for key, value in contents.elements.items() if any(value)}
        count = f"{len(shown)} of {len(contents.elements)} elements are not zero"
    else:
        shown = dict(sorted(contents.elements.items()))
        records = kind in _RECORDS
        limit = "" if records else f" of {contents.map.max_entries:,}"
        count = f"{len(shown)}{limit} {'records' if records else 'entries'}"
    yield f"map {contents.name} ({kind}): {count}"
    for key, value in list(shown.items())[:MAX_ELEMENTS]:
        yield f"  {_key(contents.map, key)}: {_value(contents.map, value)}"
    if len(shown) > MAX_ELEMENTS:
        yield f"  ... and {len(shown) - MAX_ELEMENTS:,} more"


def _variables(contents: MapContents) -> Iterator[str]:
    """Global variables that are not zero."""
    (value,) = contents.elements.values()
    yield f"global variables {contents.name}:"
    for part in contents.map.value_parts:
        if any(value[part.offset : part.offset + part.size * part.count]):
            yield f"  {part_text(part, value)}"


def _key(declared: Map, key: bytes) -> str:
    if declared.key_parts:
        return " ".join(part_text(part, key) for part in declared.key_parts)
    return f"{int.from_bytes(key, 'little'):#x}" if len(key) <= 8 else key.hex()


def _value(declared: Map, value: bytes) -> str:
    if declared.value_parts:
        return " ".join(part_text(part, value) for part in declared.value_parts)
    return " ".join(_words(value)) or "0"


def _words(value: bytes) -> Iterator[str]:
    """The 8-byte words that are not zero, with their index if there are several."""
    words = [int.from_bytes(value[at : at + 8], "little") for at in range(0, len(value), 8)]
    for index, word in enumerate(words):
        if word:
            yield f"[{index}]={_word(word)}" if len(words) > 1 else _word(word)


def _verdict(result: RunResult) -> Iterator[str]:
    names = [_engine(run) for run in result.engines]
    if INTERPRETER not in {run.engine for run in result.engines} or len(names) < 2:
        return
    if not result.differences:
        yield f"{', '.join(names[:-1])} and {names[-1]} agree"
    for difference in result.differences:
        yield f"DIFFERENCE {difference}"


def _engine(run: EngineRun) -> str:
    return "interpreter" if run.engine == INTERPRETER else run.engine


def run_json(result: RunResult) -> str:
    """Everything, of every engine, as one JSON object; keys and values of maps as hex."""
    first, *others = (_record(run) for run in result.engines)
    content = {
        "schema": "tramposim.run/1",
        **first,
        "others": others,
        "differences": list(result.differences),
        "notes": list(result.notes),
    }
    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode() + "\n"


def _record(run: EngineRun) -> dict[str, object]:
    return {
        "engine": run.engine,
        "returned": [
            {"call": call.call, "function": call.traced.name, "value": call.value}
            for call in run.returned
        ],
        "runs": [{"call": r.call, "name": r.name, "when": r.when, "r0": r.value} for r in run.runs],
        "output": list(run.output),
        "maps": {
            contents.name: {
                key.hex(): value.hex()
                for key, value in contents.elements.items()
                if any(value) or contents.map.type not in _ARRAYS
            }
            for contents in run.maps
        },
    }
