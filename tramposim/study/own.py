"""Users' own programs, compared: what a file's programs cost, alone and together.

The programs define the scenarios. For each traced function: the function untraced; every
program alone; all its fentry and fexit programs together, which is what one fsession
replaces; and the whole file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from tramposim import __version__
from tramposim.bpf.interpreter import BUDGET
from tramposim.errors import GuestFault, InputError
from tramposim.spec import Kernel, ProgKind, Program
from tramposim.study.bodies import programs_of
from tramposim.study.call import FunctionCall
from tramposim.study.compare import state_meta
from tramposim.study.costs import NO_COSTS
from tramposim.study.engines import Task, Traced
from tramposim.study.interpreted import interpret
from tramposim.study.measure import ExecutedCalls, Measurement, execute_programs, measure
from tramposim.study.precheck import check_programs
from tramposim.study.records import Records, Value
from tramposim.study.scenario import UNTRACED, Scenario, Term
from tramposim.study.subject import Subject
from tramposim.timing import Core

__all__ = [
    "Group",
    "OwnPrograms",
    "chosen_groups",
    "compare_programs",
    "execute_group",
    "groups_of",
]

_PAIR = (ProgKind.FENTRY, ProgKind.FEXIT)
UNTRACED_BODY = "-"


@dataclass(frozen=True, slots=True)
class Group:
    """Programs that are attached together, in this order; none is the untraced function.

    `role` is what they are: `untraced`, `alone`, `pair` (everything at entry and at exit that
    one fsession could replace), `all`, or `named` by the user.
    """

    programs: tuple[Program, ...]
    role: str

    @property
    def body(self) -> str:
        """The programs' names."""
        return " + ".join(program.name for program in self.programs) or UNTRACED_BODY

    @property
    def scenario(self) -> Scenario:
        """What a trampoline makes of them: kinds in attach order, equal neighbours counted."""
        terms = [_term(program) for program in self.programs]
        return Scenario(
            tuple(
                Term(term.kind, sum(1 for _ in same), term.cookie, term.ip, term.sleepable)
                for term, same in groupby(terms)
            )
        )


@dataclass(frozen=True, slots=True)
class OwnPrograms:
    """Programs of a file that trace one function, and the groups of them that are attached.

    `source` is what they come from, `costs` are stated cycles of helpers.
    """

    source: str
    traced: Traced
    groups: tuple[Group, ...]
    costs: Mapping[str, float] = field(default_factory=dict)

    @property
    def scenarios(self) -> tuple[tuple[str, str], ...]:
        """(scenario, body) of each group."""
        return tuple((group.scenario.word, group.body) for group in self.groups)


def _term(program: Program) -> Term:
    cookie = any(name == "bpf_session_cookie" for _, name in program.kfuncs)
    return Term(program.kind, 1, cookie, False, program.sleepable)


def groups_of(programs: Sequence[Program]) -> tuple[Group, ...]:
    """What is measured of a file's programs that trace one function; each group once."""
    groups = [Group((), UNTRACED), *(Group((program,), "alone") for program in programs)]
    around = tuple(program for program in programs if program.kind in _PAIR)
    if {program.kind for program in around} == set(_PAIR):
        groups.append(Group(around, "pair"))
    if tuple(programs) not in {group.programs for group in groups}:
        groups.append(Group(tuple(programs), "all"))
    return tuple(groups)


def compare_programs(
    kernels: Iterable[Kernel],
    cores: Mapping[str, Core],
    traced: Iterable[Traced],
    source: str,
    costs: Mapping[str, float] = NO_COSTS,
    progress: Callable[[str], None] = lambda text: None,
    state: str | None = None,
) -> Records:
    """Measure the programs of each traced function on each kernel.

    `cores` maps an architecture's name to its core; `source` is what the programs come from;
    `costs` as for `execute_programs`, `state` as for `compare`. Raises `AttachError` where a
    kernel would refuse, `UnsupportedError` for what cannot be executed, and what the machine
    raises.
    """
    traced = tuple(traced)
    rows: list[Mapping[str, Value]] = []
    for kernel in kernels:
        core = cores[kernel.arch]
        for one in traced:
            function = one.function
            measured = []
            for group in groups_of(one.programs):
                progress(f"{kernel.arch} {function.prototype.name} {group.body}")
                executed = execute_group(kernel, one, group, costs, state)
                measured.append((group, executed.timed(core)))
            rows += _rows(measured, core, function)
    return Records(
        meta={
            "command": "compare",
            "version": __version__,
            "source": source,
            "function": ", ".join(one.name for one in traced),
            **state_meta(state),
        },
        rows=tuple(rows),
    )


def execute_group(
    kernel: Kernel,
    traced: Traced,
    group: Group,
    costs: Mapping[str, float] = NO_COSTS,
    state: str | None = None,
) -> ExecutedCalls:
    """Calls of the traced function with a group attached; raises what `compare_programs` raises.

    `state` is that of the subject; None: hot, and the cost of a cold call beside.
    """
    function = traced.function
    check_programs(kernel, traced.programs, function.prototype)
    subject = Subject(
        kernel,
        function.prototype,
        group.scenario,
        group.body,
        state=state or "hot",
        cold=state is None,
    )
    try:
        return execute_programs(subject, group.programs, function, costs)
    except GuestFault:
        # If a program is at fault, the interpreter knows its instruction and line.
        interpret(Task((Traced(function, group.programs),), (), b"", 1, BUDGET))
        raise


def chosen_groups(
    programs: Sequence[Program], names: Sequence[str] = (), where: str = ""
) -> tuple[Group, ...]:
    """The groups that `names` ask for (`entry+exit`: attached together).

    `untraced` asks for none of them. Without names: the pair and the fsession if the programs are
    these, else all together. Raises `InputError` for the name of no program.
    """
    if not names:
        sessions = [program for program in programs if program.kind is ProgKind.FSESSION]
        pair = next((group for group in groups_of(programs) if group.role == "pair"), None)
        if pair and len(sessions) == 1 and len(pair.programs) + 1 == len(programs):
            return pair, Group((sessions[0],), "alone")
        return (Group(tuple(programs), "all"),)
    known = {program.name: program for program in programs}

    def named(text: str) -> Iterator[Program]:
        for name in text.split("+"):
            if name not in known:
                raise InputError(
                    f"no program is called {name}; there are {', '.join(known)}", where
                )
            yield known[name]

    return tuple(
        Group((), UNTRACED) if text == UNTRACED else Group(tuple(named(text)), "named")
        for text in names
    )


def _rows(
    measured: Sequence[tuple[Group, Measurement]], core: Core, function: FunctionCall
) -> Iterator[Mapping[str, Value]]:
    untraced = measured[0][1]
    pair = next((found for group, found in measured if group.role == "pair"), None)
    for group, found in measured:
        row = {
            "function": function.prototype.name,
            "role": group.role,
            **found.record(untraced, pair),
        }
        empty = _empty(found.subject, core, function)
        if empty is not None:
            row["cycles_over_empty"] = round(found.cycles_per_call - empty, 2)
        yield row


def _empty(subject: Subject, core: Core, function: FunctionCall) -> float | None:
    """Cycles per call with programs of the same kinds that do nothing; None if there are none."""
    if not subject.scenario.terms:
        return None
    try:
        programs_of(subject.scenario, "empty")
    except InputError:
        return None
    empty = replace(subject, body="empty", cold=False)
    return measure(empty, core, function).cycles_per_call
