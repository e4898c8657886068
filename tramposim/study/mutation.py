"""Mutation test of the rules: which wrong machine code they catch.

`python -m tramposim.study.mutation CAPTURE... [--per-code N] [--every N]` changes single
instructions of captured images and programs, leaves out those changes that provably mean
nothing (see `tramposim.study.equivalence`), and counts what the rules catch.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from tramposim.capture.programs import CapturedProgram, program_context, programs_of, read_program
from tramposim.capture.records import Capture, CaseRecord
from tramposim.capture.trampolines import case_context
from tramposim.errors import TramposimError
from tramposim.machine.rules.check import check_image
from tramposim.machine.rules.compiled import CompiledProgram
from tramposim.machine.rules.differential import RUNS, check_program
from tramposim.machine.rules.listing import Listing
from tramposim.machine.rules.probe import Probe
from tramposim.machine.rules.subject import compiled_program
from tramposim.spec import Arch
from tramposim.study.codeflow import CodeFlow
from tramposim.study.equivalence import reason_of
from tramposim.study.mutants import Mutant, mutants_of
from tramposim.study.validate import ImageSubject, chunks_of, image_subject

__all__ = ["Outcome", "image_outcomes", "main", "outcomes_of", "program_outcomes"]

IMAGE, PROGRAM = "image", "program"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one mutant: `equivalent` (why), or the rule that caught it, or neither."""

    arch: str
    what: str
    kind: str
    id: str
    address: int
    before: str
    after: str
    equivalent: str = ""
    rule: str = ""

    @property
    def survived(self) -> bool:
        """Whether a mutant that may matter was not caught."""
        return not self.equivalent and not self.rule


def image_outcomes(
    probe: Probe, subject: ImageSubject, rng: random.Random, limit: int, id: str
) -> Iterator[Outcome]:
    """Outcomes of up to `limit` mutants of an image."""
    request, code = subject.request, subject.code
    arch = request.kernel.arch
    flow = CodeFlow(arch, code, request.image)
    for mutant in _sample(mutants_of(arch, code, request.image, rng, flow.decoded), rng, limit):
        reason = reason_of(flow, mutant)
        rule = ""
        if not reason:
            report = check_image(probe, request, mutant.apply(code), subject.skips, stop_early=True)
            rule = report.violations[0].rule.value if report.violations else ""
        yield _outcome(arch, IMAGE, mutant, request.image, id, reason, rule)


def program_outcomes(
    probe: Probe, program: CompiledProgram, rng: random.Random, limit: int, id: str, runs: int
) -> Iterator[Outcome]:
    """Outcomes of up to `limit` mutants of a compiled program, over all of its functions."""
    arch = program.arch
    codes = dict(program.listing.chunks)
    flows = {
        address: CodeFlow(arch, code, address, passes_arguments=False, alone=len(codes) == 1)
        for address, code in codes.items()
    }
    mutants = [
        (address, mutant)
        for address, code in codes.items()
        for mutant in mutants_of(arch, code, address, rng, flows[address].decoded)
    ]
    for address, mutant in _sample(mutants, rng, limit):
        reason = reason_of(flows[address], mutant)
        rule = ""
        if not reason:
            changed = {**codes, address: mutant.apply(codes[address])}
            listing = Listing(arch, *((at, changed[at]) for at in program.addresses))
            report = check_program(
                probe, replace(program, listing=listing), runs=runs, minimise=False
            )
            rule = report.violations[0].rule.value if report.violations else ""
        yield _outcome(arch, PROGRAM, mutant, address, id, reason, rule)


_Item = TypeVar("_Item")


def _sample(mutants: Iterable[_Item], rng: random.Random, limit: int) -> list[_Item]:
    found = list(mutants)
    return found if len(found) <= limit else rng.sample(found, limit)


def _outcome(
    arch: Arch, what: str, mutant: Mutant, base: int, id: str, reason: str, rule: str
) -> Outcome:
    address = base + mutant.offset
    before, after = (
        "; ".join(
            f"{one.mnemonic} {one.operands}".strip()
            for one in Listing(arch, (address, code)).instructions
        )
        for code in (mutant.old, mutant.new)
    )
    return Outcome(arch.value, what, mutant.kind, id, address, before, after, reason, rule)


def outcomes_of(
    path: Path, per_code: int, every: int = 1, seed: int = 0, runs: int = RUNS
) -> Iterator[Outcome]:
    """Mutants of every `every`-th image and program of a capture, `per_code` of each."""
    capture = Capture(path)
    cases, programs = case_context(path, capture.boot), program_context(path, capture.boot)
    probe = Probe(cases.kernel.arch, seed)
    number = 0
    for where, record in capture:
        name = str(getattr(record, "id", ""))
        subjects: list[ImageSubject | CapturedProgram] = []
        if isinstance(record, CaseRecord) and record.img is not None:
            subjects.append(image_subject(record, cases, where))
        lengths = {}
        for _, program in programs_of(record):
            captured = read_program(program, programs, where)
            if captured is not None:
                lengths[id(captured)] = program.func_lens
                subjects.append(captured)
        for subject in subjects:
            number += 1
            if number % every:
                continue
            rng = random.Random(f"{seed}/{name}/{number}")
            if isinstance(subject, ImageSubject):
                yield from image_outcomes(probe, subject, rng, per_code, name)
                continue
            try:
                compiled = compiled_program(
                    subject.env,
                    subject.program.functions,
                    subject.addresses,
                    chunks_of(subject.code, lengths[id(subject)], where),
                )
                yield from program_outcomes(probe, compiled, rng, per_code, name, runs)
            except TramposimError as error:
                print(f"{name}: {error}", file=sys.stderr)


def summary(outcomes: Sequence[Outcome]) -> str:
    """A table: mutants that matter, caught, per architecture, what, and kind."""
    rows: dict[tuple[str, str, str], Counter[str]] = {}
    for outcome in outcomes:
        state = "equivalent" if outcome.equivalent else "caught" if outcome.rule else "survived"
        for kind in (outcome.kind, "all"):
            rows.setdefault((outcome.arch, outcome.what, kind), Counter())[state] += 1
    lines = [
        "| arch | what | kind | mutants | equivalent | caught | survived | caught of the rest |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for (arch, what, kind), counts in sorted(rows.items()):
        rest = counts["caught"] + counts["survived"]
        share = f"{100 * counts['caught'] / rest:.2f} %" if rest else "-"
        lines.append(
            f"| {arch} | {what} | {kind} | {counts.total()} | {counts['equivalent']}"
            f" | {counts['caught']} | {counts['survived']} | {share} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; exits with 1 if fewer than 95 % of some group are caught."""
    parser = argparse.ArgumentParser(prog="python -m tramposim.study.mutation")
    parser.add_argument("captures", nargs="+", type=Path)
    parser.add_argument("--per-code", type=int, default=20, help="mutants of each image, program")
    parser.add_argument("--every", type=int, default=1, help="take every N-th image and program")
    parser.add_argument("--runs", type=int, default=RUNS, help="runs of each program")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--survivors", action="store_true", help="list what was not caught")
    options = parser.parse_args(arguments)
    outcomes: list[Outcome] = []
    for path in options.captures:
        for outcome in outcomes_of(
            path, options.per_code, options.every, options.seed, options.runs
        ):
            outcomes.append(outcome)
            if options.survivors and outcome.survived:
                print(
                    f"{path.name}: {outcome.id}: {outcome.what} {outcome.kind}"
                    f" {outcome.address:#x}: {outcome.before} -> {outcome.after}"
                )
    print(summary(outcomes), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
