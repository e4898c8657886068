"""The records of a whole report: the comparison, its parts, and how it scales."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tramposim import __version__
from tramposim.errors import AttachError
from tramposim.kernel.declaration import declare
from tramposim.spec import Kernel, Prototype
from tramposim.study.compare import compare
from tramposim.study.explain import explain, explain_records
from tramposim.study.measure import measure
from tramposim.study.records import Records, Value
from tramposim.study.scenario import UNTRACED, parse_scenario
from tramposim.study.subject import Subject
from tramposim.timing import Core, core_names, load_core

__all__ = ["Section", "accuracy_records", "overview", "scaling"]

PROGRAM_COUNTS = (1, 2, 4, 8, 16)
"""How many programs (or pairs of them) the scaling attaches to one function."""

EXPLAINED = (
    ("fentry+fexit", "empty"),
    ("fsession", "empty"),
    ("fsession+cookie", "empty"),
    ("fentry+fexit", "latency-hash"),
    ("fsession+cookie", "latency-cookie"),
)

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Section:
    """Records and the command line that prints them (empty if no single one does)."""

    records: Records
    command: str


def overview(
    kernels: Sequence[Kernel],
    cores: Mapping[str, Core],
    prototype: Prototype,
    progress: Progress = lambda text: None,
) -> tuple[Section, ...]:
    """Everything that the report shows of one traced function on these kernels."""
    options = _options(kernels, cores, prototype)
    comparison = compare(kernels, cores, prototype, progress=progress)
    explained = []
    for kernel in kernels:
        for words, body in EXPLAINED:
            progress(f"{kernel.arch} {words} {body}, part by part")
            subject = Subject(kernel, prototype, parse_scenario(words), body)
            explained.append(explain(subject, cores[kernel.arch]))
    shown = " ".join(
        f"{words}:{body}" if body != "empty" else words for words, body in EXPLAINED[:2]
    )
    return (
        Section(comparison, f"tramposim compare{options}"),
        Section(explain_records(explained), f"tramposim explain {shown}{options}"),
        Section(scaling(kernels, cores, prototype, progress), ""),
        Section(accuracy_records(), "tramposim cores"),
    )


def _options(kernels: Sequence[Kernel], cores: Mapping[str, Core], prototype: Prototype) -> str:
    words = [f"--arch {kernel.arch}" for kernel in kernels]
    words += [f"--kernel {kernels[0].version}"]
    words += [f"--core {cores[kernel.arch].name}" for kernel in kernels]
    returns = {kernel.returns.value for kernel in kernels} - {"plain"}
    words += [f"--returns {kind}" for kind in sorted(returns)]
    return " " + " ".join([*words, f"--proto '{declare(prototype)}'"])


def scaling(
    kernels: Sequence[Kernel],
    cores: Mapping[str, Core],
    prototype: Prototype,
    progress: Progress = lambda text: None,
) -> Records:
    """Cycles of one call with N pairs or N sessions attached, as far as the kernel lets one."""
    rows: list[Mapping[str, Value]] = []
    for kernel in kernels:
        core = cores[kernel.arch]
        base = measure(Subject(kernel, prototype, parse_scenario(UNTRACED)), core)
        for count in PROGRAM_COUNTS:
            for kind, words in (
                ("pairs", f"fentry*{count}+fexit*{count}"),
                ("sessions", f"fsession*{count}"),
                ("sessions with cookie", f"fsession*{count}+cookie"),
            ):
                progress(f"{kernel.arch} {words}")
                try:
                    found = measure(Subject(kernel, prototype, parse_scenario(words)), core)
                except AttachError:
                    continue
                row = dict(found.record(base))
                rows.append({"kind": kind, "count": count, **row})
    return Records(
        meta={
            "command": "scaling",
            "version": __version__,
            "function": prototype.name,
            "basis": "core cycles per call of the core model, everything hot, empty programs",
        },
        rows=tuple(rows),
    )


def accuracy_records() -> Records:
    """How far every shipped core model was from hardware, as its file says."""
    rows: list[Mapping[str, Value]] = []
    for name in core_names():
        core = load_core(name)
        if not core.accuracy:
            rows.append({"core": name, "arch": core.arch.value, "data": "uncalibrated"})
        for what, entry in core.accuracy.items():
            rows.append(
                {
                    "core": name,
                    "arch": core.arch.value,
                    "what": what,
                    "data": entry.data,
                    "mean_error_percent": entry.mean_percent,
                    "rows": entry.rows,
                }
            )
    return Records(
        meta={
            "command": "cores",
            "version": __version__,
            "basis": "mean of the absolute errors against measured hardware",
        },
        rows=tuple(rows),
    )
