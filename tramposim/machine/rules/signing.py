"""Pointer authentication (arm64): every return address that is signed is authenticated.

The emulator leaves pointer authentication off, as its CPU resets, so that these instructions
do nothing there; the rule looks at where they ran and with what.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tramposim.machine.rules.probe import Probe, Segment
from tramposim.machine.rules.rule import Rule, Violation

__all__ = ["check_signing"]

_LINK = "x30"


def check_signing(
    probe: Probe, segments: Sequence[Segment], required: bool, left_signed: int, path: str
) -> Iterator[Violation]:
    """Violations of one path; `left_signed` addresses stay signed at its end (tail calls).

    With `required` a path that signs nothing is one. The probe must have followed x30.
    """
    signed: list[tuple[int, int]] = []
    count = 0
    listing = probe.listing
    wanted = {
        address: instruction.mnemonic
        for address, instruction in listing.at.items()
        if instruction.mnemonic in ("paciasp", "autiasp", "retaa")
    }
    places = np.array(list(wanted), np.uint64)
    for segment in segments:
        links = segment.followed.get(_LINK)
        if links is None or segment.stack is None:
            return
        for index in np.flatnonzero(np.isin(segment.pcs, places)).tolist():
            pc = int(segment.pcs[index])
            name = wanted[pc]
            state = int(links[index]), int(segment.stack[index])
            if name == "paciasp":
                count += 1
                signed.append(state)
                continue
            if not signed or signed[-1] != state:
                have = f"{signed[-1][0]:#x} with sp {signed[-1][1]:#x}" if signed else "nothing"
                yield Violation(
                    Rule.POINTER_AUTH, pc,
                    f"authenticates {state[0]:#x} with sp {state[1]:#x}, signed is {have}",
                    listing.text(pc), path,
                )  # fmt: skip
                return
            signed.pop()
    if len(signed) != left_signed or (required and not count):
        at = int(segments[-1].pcs[-1]) if segments and len(segments[-1].pcs) else listing.address
        yield Violation(
            Rule.POINTER_AUTH, at,
            f"{len(signed)} signed return addresses are left, {left_signed} should be"
            if count else "the return address is not signed",
            listing.text(at), path,
        )  # fmt: skip
