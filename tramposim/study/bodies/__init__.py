"""The BPF programs that scenarios are measured with.

`WORDS.BODY.bpf` holds programs in attach order, in the syntax of `tramposim.bpf.asm`. WORDS
is a term of a scenario without its count (`fsession+cookie`), or a whole scenario where its
programs only make sense together (`fentry+fexit` with `latency-hash`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib import resources

from tramposim.bpf.asm import assemble
from tramposim.errors import InputError
from tramposim.spec import Program
from tramposim.study.scenario import Scenario

__all__ = ["BODIES", "programs_of"]

BODIES = {
    "empty": "does nothing (fsession+cookie: asks for its cookie)",
    "count": "adds 1 to this CPU's slot of a per-CPU array",
    "carry": "carries the first argument from entry to exit in the session cookie",
    "latency-hash": "latency histogram; start time in a hash map keyed by pid_tgid",
    "latency-stack": "latency histogram; start times of 64 depths in a hash map keyed by pid_tgid "
    "and the function's address, so that recursion works",
    "latency-cookie": "latency histogram; start time in the session cookie",
}
"""What the programs do, by the name that records and options use."""


def programs_of(scenario: Scenario, body: str) -> tuple[Program, ...]:
    """The scenario's programs with this body, in attach order, each a program of its own.

    Raises `InputError` for an unknown body, or one that these programs cannot have.
    """
    if body not in BODIES:
        raise InputError(f"unknown body {body!r}; known are {', '.join(BODIES)}")
    together = _source(scenario.word, body)
    if together is not None:
        return together
    return tuple(_programs_of_terms(scenario, body))


def _programs_of_terms(scenario: Scenario, body: str) -> Iterator[Program]:
    for number, term in enumerate(scenario.terms):
        word = replace(term, count=1, sleepable=False).word
        programs = _source(word, body)
        if programs is None:
            raise InputError(f"scenario {scenario.word!r}: {word} has no body {body!r}")
        for copy in range(term.count):
            for program in programs:
                name = f"{program.name}_{number}_{copy}"
                yield replace(program, name=name, sleepable=term.sleepable)


def _source(word: str, body: str) -> tuple[Program, ...] | None:
    file = resources.files(__name__) / f"{word}.{body}.bpf"
    return assemble(file.read_text(), file.name) if file.is_file() else None
