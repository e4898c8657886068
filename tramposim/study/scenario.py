"""Scenario words: what is attached to the traced function, written as users say it.

Grammar: terms joined by `+`. A term is an attach kind (`fentry`, `fexit`, `fmod_ret`,
`fsession`), optionally `*N` for N programs. A modifier (`cookie`, `ip`, `sleepable`) is
written like a term and applies to the term before it: `fsession+cookie` is one fsession
whose program calls bpf_session_cookie; `fsession*2+cookie+fentry` are two of those and an
fentry. `untraced` alone is the function with nothing attached. Terms are attached from left
to right; the kernel runs the last attached first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tramposim.errors import InputError
from tramposim.spec import ProgKind

__all__ = ["KINDS", "UNTRACED", "Scenario", "Term", "parse_scenario"]

UNTRACED = "untraced"

KINDS = {
    kind.value: kind
    for kind in (ProgKind.FENTRY, ProgKind.FEXIT, ProgKind.FMOD_RET, ProgKind.FSESSION)
}
MODIFIERS = ("cookie", "ip", "sleepable")

_MOST_PROGRAMS = 4096
"""Far above any kernel's limit, so that E2BIG is the attach rules' answer; bounds the work."""


@dataclass(frozen=True, slots=True)
class Term:
    """`count` programs of one kind; flags say what each program uses."""

    kind: ProgKind
    count: int = 1
    cookie: bool = False
    ip: bool = False
    sleepable: bool = False

    @property
    def word(self) -> str:
        """The term as it is written."""
        text = self.kind.value + (f"*{self.count}" if self.count > 1 else "")
        return "+".join([text, *(name for name in MODIFIERS if getattr(self, name))])


@dataclass(frozen=True, slots=True)
class Scenario:
    """Terms in the order in which they are attached; none means untraced."""

    terms: tuple[Term, ...] = ()

    @property
    def word(self) -> str:
        """The scenario as it is written, in its canonical spelling."""
        return "+".join(term.word for term in self.terms) or UNTRACED

    @property
    def pairing(self) -> tuple[str, int] | None:
        """What it attaches and how often, if that is N pairs (`fentry+fexit`), or N sessions
        (`fsession`, `fsession+cookie`), which are set against N pairs; None for others."""
        kinds = [term.kind for term in self.terms]
        if kinds == [ProgKind.FENTRY, ProgKind.FEXIT]:
            entry, leave = self.terms
            return ("fentry+fexit", entry.count) if entry.count == leave.count else None
        if kinds == [ProgKind.FSESSION]:
            return "fsession+cookie" if self.terms[0].cookie else "fsession", self.terms[0].count
        return None


def _with_modifier(term: Term, name: str) -> Term:
    return Term(
        term.kind,
        term.count,
        *(getattr(term, modifier) or modifier == name for modifier in MODIFIERS),
    )


def parse_scenario(text: str) -> Scenario:
    """Scenario from its words; raises `InputError` that names the word and the remedy."""
    where = f"scenario {text!r}"
    if text.strip() == UNTRACED:
        return Scenario()
    terms: list[Term] = []
    for word in text.split("+"):
        match = re.fullmatch(r"\s*([A-Za-z_]+)\s*(?:\*\s*([0-9]{1,6}))?\s*", word)
        name = match[1] if match else ""
        if match and name in KINDS:
            count = int(match[2] or 1)
            if not 1 <= count <= _MOST_PROGRAMS:
                raise InputError(f"{word.strip()!r}: 1 to {_MOST_PROGRAMS} programs", where)
            terms.append(Term(KINDS[name], count))
        elif match and name in MODIFIERS and not match[2]:
            if not terms:
                raise InputError(f"{name!r} must follow the program that uses it", where)
            if name == "cookie" and terms[-1].kind is not ProgKind.FSESSION:
                raise InputError(
                    f"'cookie' must follow 'fsession', not {terms[-1].kind.value!r}: "
                    "the verifier allows bpf_session_cookie in fsession programs only",
                    where,
                )
            if getattr(terms[-1], name):
                raise InputError(f"{name!r} is given twice for {terms[-1].word!r}", where)
            terms[-1] = _with_modifier(terms[-1], name)
        else:
            known = ", ".join([UNTRACED, *KINDS, *MODIFIERS])
            raise InputError(f"unknown word {word.strip()!r}; known are {known}", where)
    return Scenario(tuple(terms))
