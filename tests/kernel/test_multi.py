"""tracing_multi links against what booted kernels made of them."""

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from tramposim.capture.boot import boot_kernel
from tramposim.capture.records import Capture, CaseRecord, LinksRecord
from tramposim.capture.trampolines import KINDS
from tramposim.errors import AttachError
from tramposim.kernel.attach import Link, Trampoline
from tramposim.kernel.load import TargetFunction
from tramposim.kernel.multi import MultiTarget, attach_multi
from tramposim.kernel.nodes import Node
from tramposim.spec import Arch, Kernel, ProgKind, Prototype, Value

X86 = Kernel(Arch.X86_64)


def target(name: str, kernel: Kernel = X86, traceable: bool = True) -> MultiTarget:
    prototype = Prototype(name, (Value(4),), Value(4))
    return MultiTarget(TargetFunction.of(prototype), Trampoline(kernel, prototype), traceable)


BIG = {"tcf_fill_node": 14, "ZSTD_buildCTable": 16}
"""Arguments of the recorded functions that have too many."""
UNTRACEABLE = {"__bpf_prog_enter_recur"}


def recorded_target(name: str, kernel: Kernel) -> MultiTarget:
    made = target(name, kernel, traceable=name not in UNTRACEABLE)
    if name not in BIG:
        return made
    return replace(made, function=TargetFunction(name, (Value(8),) * BIG[name]))


def program(kind: ProgKind = ProgKind.FSESSION_MULTI) -> Node:
    return Node(0x1000, 0x2000, kind)


@pytest.mark.parametrize(
    "name", ["x86_64-7.2.13-default", "x86_64-7.3-rc7-default", "arm64-7.2.13-max"]
)
def test_lists_and_cookies_are_those_of_the_kernel(shared: Path, name: str) -> None:
    capture = Capture(shared / "golden" / f"{name}-multi.jsonl.xz")
    kernel = boot_kernel(capture.boot, name)
    links: dict[str, LinksRecord] = {}
    cases: dict[str, list[CaseRecord]] = {}
    for _, record in capture:
        if isinstance(record, LinksRecord):
            links[record.id] = record
        elif isinstance(record, CaseRecord) and record.nodes and record.links_id:
            cases.setdefault(record.links_id, []).append(record)
    for record in links.values():
        # Ids are given to the functions in order of name: only their being distinct counts.
        names = sorted({name for link in record.links for name in link.targets})
        targets = {number: recorded_target(name, kernel) for number, name in enumerate(names, 1)}
        programs = {item.name: item for item in record.progs}
        for link in record.links:
            item = programs[link.prog]
            if item.load_errno:
                continue
            node = Node(item.p or 0, item.bpf_func or 0, KINDS[item.kind], name=item.name)
            ids = [names.index(name) + 1 for name in link.targets]
            if "ids" in item.opts:  # 1 is no function of the kernel, here it is one
                ids = [btf_id + len(names) for btf_id in item.opts["ids"]]
            flags = item.opts.get("lflags", 0)
            answer = 0
            try:
                if link.multi:
                    attach_multi(kernel, node, targets, ids, link.cookies, flags=flags)
                else:
                    targets[ids[0]].trampoline.attach(Link(node))
            except AttachError as error:
                answer = error.errno
            assert answer == link.errno, (record.id, link.link)
        for case in cases.get(record.id, ()):
            trampoline = targets[names.index(case.target) + 1].trampoline
            for built, nodes in (
                (trampoline.fentry, case.nodes.fentry),
                (trampoline.fmod_ret, case.nodes.fmod_ret),
                (trampoline.fexit, case.nodes.fexit),
            ):
                assert [node.name for node in built] == [node.prog for node in nodes], case.id


def test_cookies_move_with_the_ids() -> None:
    targets = {7: target("a"), 3: target("b")}
    link = attach_multi(X86, program(), targets, [7, 3], [70, 30])
    assert [(btf_id, item.node.cookie) for btf_id, _, item in link.attached] == [(3, 30), (7, 70)]
    assert targets[7].trampoline.count == 2
    link.detach()
    assert targets[7].trampoline.count == targets[3].trampoline.count == 0


@pytest.mark.parametrize(
    ("ids", "options", "number"),
    [
        ([], {}, errno.EINVAL),
        ([1, 1], {}, errno.EINVAL),
        ([1, 99], {}, errno.EINVAL),
        ([1], {"flags": 1}, errno.EINVAL),
        ([1, 2], {"cookies": [5]}, errno.EINVAL),
        ([1, 2], {}, errno.ENOENT),
        ([1, 3], {}, errno.EINVAL),
        ([1, 4], {}, errno.EINVAL),
    ],
)
def test_one_bad_id_fails_the_whole_link(ids: list[int], options: dict, number: int) -> None:
    targets = {
        1: target("good"),
        2: target("notrace", traceable=False),
        3: target("migrate_disable"),
        4: target("do_exit"),
    }
    with pytest.raises(AttachError) as refusal:
        attach_multi(X86, program(), targets, ids, **options)
    assert refusal.value.errno == number
    assert targets[1].trampoline.count == 0


def test_a_full_trampoline_rolls_the_others_back() -> None:
    targets = {1: target("empty"), 2: target("full")}
    for number in range(35):
        targets[2].trampoline.attach(Link(Node(number, 0, ProgKind.FENTRY)))
    with pytest.raises(AttachError, match="E2BIG"):
        attach_multi(X86, program(), targets, [1, 2])
    assert targets[1].trampoline.count == 0


def test_where_there_are_no_such_links() -> None:
    for kernel, number in (
        (Kernel(Arch.ARM64), errno.EOPNOTSUPP),
        (Kernel(Arch.X86_64, "7.1"), errno.EINVAL),
    ):
        with pytest.raises(AttachError) as refusal:
            attach_multi(kernel, program(), {1: target("f", kernel)}, [1])
        assert refusal.value.errno == number
    attach_multi(X86, program(ProgKind.FENTRY_MULTI), {1: target("do_exit")}, [1])
