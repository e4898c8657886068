"""The BPF programs that comparisons run: one source per scenario and body.

`SCENARIO.BODY.bpf` holds the programs that the scenario attaches, in attach order, in the
syntax of `tramposim.bpf.asm`.
"""

from __future__ import annotations

from importlib import resources

from tramposim.bpf.asm import assemble
from tramposim.errors import InputError
from tramposim.spec import Program

__all__ = ["available", "load"]


def available() -> tuple[tuple[str, str], ...]:
    """The (scenario, body) pairs that have programs, sorted."""
    names = (entry.name for entry in resources.files(__name__).iterdir())
    pairs = (name.removesuffix(".bpf").split(".") for name in names if name.endswith(".bpf"))
    return tuple(sorted((scenario, body) for scenario, body in pairs))


def load(scenario: str, body: str) -> tuple[Program, ...]:
    """The programs of a scenario with a body, in attach order.

    Raises `InputError` if there are none for this pair.
    """
    if (scenario, body) not in available():
        raise InputError(f"no programs for scenario {scenario!r} with body {body!r}")
    file = f"{scenario}.{body}.bpf"
    return assemble((resources.files(__name__) / file).read_text(), file)
