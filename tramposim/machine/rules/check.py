"""Checking an image: every way through it, its patchable places, its branches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tramposim._native import arm64_asm, x86_64_asm
from tramposim.jit.trampoline import TrampolineRequest
from tramposim.kernel.image import Skip
from tramposim.kernel.nodes import TrampFlag
from tramposim.machine.rules.choices import Choices, choices_for
from tramposim.machine.rules.listing import Flow, Listing
from tramposim.machine.rules.probe import Probe
from tramposim.machine.rules.rule import Rule, Violation
from tramposim.machine.rules.trampoline import ImagePath
from tramposim.spec import Arch

__all__ = ["ImageReport", "check_image"]

_NOPS = {
    Arch.X86_64: (bytes.fromhex("0f1f440000"),),
    Arch.ARM64: (bytes.fromhex("1f2003d5"),),
}
"""What patching expects to find: the kernel compares before it writes."""
_MOST = 100
_ENDBR = bytes.fromhex("f30f1efa")
_BTI = {bytes.fromhex(word): name for word, name in (
    ("5f2403d5", "bti c"), ("9f2403d5", "bti j"), ("df2403d5", "bti jc"),
    ("3f2303d5", "paciasp"), ("7f2303d5", "pacibsp"),
)}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ImageReport:
    """What checking an image found.

    `paths` is how many ways were gone; `one_sided` are conditional branches that went one way
    only on all of them; `return_stack` says which returns do not match the last call
    when every body runs.
    """

    violations: tuple[Violation, ...]
    paths: int
    one_sided: tuple[int, ...] = ()
    return_stack: tuple[str, ...] = ()


def check_image(
    probe: Probe,
    request: TrampolineRequest,
    code: bytes,
    skips: Sequence[Skip] = (),
    stop_early: bool = False,
) -> ImageReport:
    """Check an image's code (without fill) against what `request` asks for.

    `skips` are the places that detaching patches; each is patched in turn as well. Violations
    of one rule at one address are reported once; with `stop_early` the first way that breaks
    one is the last.
    """
    listing = Listing(request.kernel.arch, (request.image, code))
    probe.load(listing)
    lists = (len(request.fentry), len(request.fmod_ret), len(request.fexit))
    found: list[Violation] = [*_landing_pad(request, listing), *_nops(request, listing, skips)]
    found += [
        Violation(Rule.CALL_ORDER, site, f"calls {target:#x}, itself", listing.text(site))
        for site, target in listing.inner_calls()
    ]
    outcomes: set[tuple[int, int]] = set()
    return_stack: tuple[str, ...] = ()
    paths = 0
    for paths, choices in enumerate(choices_for(*lists), 1):
        path = ImagePath(request, probe, choices)
        path.run()
        found += path.violations
        outcomes.update(path.outcomes())
        if paths == 1:
            return_stack = tuple(path.return_stack)
        if len(found) > _MOST or (found and stop_early):
            break
    if not found:
        for patched in _patched(request, listing, skips):
            found += _check_patched(probe, request, patched, lists)
            paths += 1
    one_sided = tuple(_one_sided(listing, outcomes)) if not found else ()
    return ImageReport(tuple(_once(found)), paths, one_sided, return_stack)


def _once(found: Iterable[Violation]) -> Iterator[Violation]:
    seen = set()
    for violation in found:
        if (violation.rule, violation.address) not in seen:
            seen.add((violation.rule, violation.address))
            yield violation


def _landing_pad(request: TrampolineRequest, listing: Listing) -> Iterator[Violation]:
    """Images are entered by direct calls; those of struct_ops, and all of arm64 (ftrace or a
    PLT branches to them), indirectly."""
    kernel, first = request.kernel, listing.code[:4]
    if kernel.arch is Arch.X86_64:
        if kernel.ibt and request.flags & TrampFlag.INDIRECT and first != _ENDBR:
            yield Violation(
                Rule.LANDING_PAD, listing.address,
                "a struct_ops image is called indirectly and does not begin with endbr64",
                listing.text(listing.address),
            )  # fmt: skip
    elif kernel.bti and _BTI.get(first) != "bti jc":
        yield Violation(
            Rule.LANDING_PAD, listing.address,
            "the image is called and jumped to indirectly and does not begin with bti jc",
            listing.text(listing.address),
        )  # fmt: skip


def _nops(
    request: TrampolineRequest, listing: Listing, skips: Sequence[Skip]
) -> Iterator[Violation]:
    for skip in skips:
        for expected in _NOPS[request.kernel.arch]:
            there = listing.code[skip.nop : skip.nop + len(expected)]
            if there != expected:
                address = listing.address + skip.nop
                yield Violation(
                    Rule.PATCHABLE_NOP, address,
                    f"{there.hex() or 'nothing'} where detaching expects the nop"
                    f" {expected.hex()}", listing.text(address),
                )  # fmt: skip


def _patched(
    request: TrampolineRequest, listing: Listing, skips: Sequence[Skip]
) -> Iterator[tuple[int, bytes]]:
    """(p, code) with the calls of each program patched out."""
    isa = x86_64_asm.ISA if request.kernel.arch is Arch.X86_64 else arm64_asm.ISA
    jump = "jmp" if request.kernel.arch is Arch.X86_64 else "b"
    for p in dict.fromkeys(skip.p for skip in skips):
        code = bytearray(listing.code)
        for skip in skips:
            if skip.p == p:
                at, to = listing.address + skip.nop, listing.address + skip.target
                insn = isa.encode_one(jump, to, address=at)
                code[skip.nop : skip.nop + len(insn)] = insn
        yield p, bytes(code)


def _check_patched(
    probe: Probe,
    request: TrampolineRequest,
    patched: tuple[int, bytes],
    lists: tuple[int, int, int],
) -> list[Violation]:
    p, code = patched
    probe.load(Listing(request.kernel.arch, (request.image, code)))
    choices: Choices = next(choices_for(*lists))
    path = ImagePath(request, probe, choices, without=p)
    path.run()
    return path.violations


def _one_sided(listing: Listing, outcomes: set[tuple[int, int]]) -> Iterator[int]:
    for address in listing.at:
        ways = {to for source, to in outcomes if source == address}
        if listing.flow(address) is Flow.CONDITIONAL and len(ways) < 2:
            yield address
