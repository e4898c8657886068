"""The image of a scenario or of a capture record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tramposim.capture.records import CaseRecord
from tramposim.capture.select import select_record
from tramposim.capture.trampolines import case_context, case_request
from tramposim.errors import InputError
from tramposim.jit.trampoline import attached_request, build_trampoline
from tramposim.kernel.attach import Link, Trampoline
from tramposim.kernel.image import Image
from tramposim.kernel.nodes import Node
from tramposim.machine.addresses import PAGE, address_map
from tramposim.machine.runtime import load_runtime
from tramposim.spec import Kernel, Prototype
from tramposim.study.scenario import Scenario
from tramposim.study.subject import check_loads

__all__ = ["record_image", "scenario_image"]

PROGRAM_ROOM = 64
"""Bytes set aside for the code of each program; its address is all that an image needs."""

IM_OFFSET = 0x12400
"""struct bpf_tramp_image within its area: like most allocations at no round address, which
arm64 would load in fewer instructions."""


def scenario_image(kernel: Kernel, prototype: Prototype, scenario: Scenario) -> Image:
    """The image after attaching the scenario's programs from left to right.

    The addresses of programs and of the function are those of `machine.addresses`. Raises
    `AttachError` where the kernel refuses, `InputError` if nothing is attached.
    """
    if not scenario.terms:
        raise InputError("nothing is attached, so there is no image", f"scenario {scenario.word!r}")
    check_loads(kernel, prototype, scenario)
    areas = address_map(kernel.arch)
    runtime = load_runtime(kernel)

    def request_of(trampoline: Trampoline) -> Image:
        slots = max(trampoline.count, 1)
        programs_end = areas.jit.base + slots * PROGRAM_ROOM
        return build_trampoline(
            attached_request(
                trampoline,
                image=(programs_end + PAGE - 1) & -PAGE,
                im=areas.objects.base + IM_OFFSET,
                func_addr=areas.driver.base + PROGRAM_ROOM,
                symbols=runtime.symbols,
                func_has_endbr=kernel.ibt,
                padded=runtime.accounted,
            )
        )

    trampoline = Trampoline(kernel, prototype, lambda state: request_of(state).size)
    for number, link in enumerate(_links(scenario)):
        node = replace(
            link.node,
            p=areas.objects.base + (64 + number) * PAGE,
            bpf_func=areas.jit.base + number * PROGRAM_ROOM,
            name=f"p{number}",
        )
        trampoline.attach(Link(node, link.uses_func_ip))
    return request_of(trampoline)


def _links(scenario: Scenario) -> list[Link]:
    """Links of the scenario's programs in the order of attaching, without addresses."""
    return [
        Link(
            Node(0, 0, term.kind, session_cookie=term.cookie, sleepable=term.sleepable),
            uses_func_ip=term.ip,
        )
        for term in scenario.terms
        for _ in range(term.count)
    ]


def record_image(spec: str) -> tuple[Kernel, Image]:
    """The image that tramposim builds from the inputs of the record `FILE#ID`.

    Raises `InputError` for a record that has no image.
    """
    capture, where, record = select_record(spec)
    if not isinstance(record, CaseRecord) or record.image is None:
        raise InputError("the record has no trampoline image", spec)
    context = case_context(Path(capture.path), capture.boot)
    return context.kernel, build_trampoline(case_request(record, context, where))
