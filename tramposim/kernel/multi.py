"""tracing_multi links: one program on many functions, each with its own trampoline.

Facts: what booted kernels of 7.2 and 7.3 answered to BPF_LINK_CREATE with tracing_multi.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tramposim.errors import AttachError
from tramposim.kernel.attach import Link, Trampoline
from tramposim.kernel.load import TargetFunction, check_load
from tramposim.kernel.nodes import Node
from tramposim.kernel.versions import rules_for
from tramposim.spec import Arch, Kernel, ProgKind

__all__ = ["MultiLink", "MultiTarget", "attach_multi"]

MULTI_KINDS = (ProgKind.FENTRY_MULTI, ProgKind.FEXIT_MULTI, ProgKind.FSESSION_MULTI)


@dataclass(frozen=True, slots=True)
class MultiTarget:
    """A function that a link may name by BTF id; `traceable`: ftrace can patch its entry."""

    function: TargetFunction
    trampoline: Trampoline
    traceable: bool = True


@dataclass(frozen=True, slots=True)
class MultiLink:
    """An attached link: (BTF id, trampoline, link there), in the order of ids."""

    attached: tuple[tuple[int, Trampoline, Link], ...]

    def detach(self) -> None:
        """Take the program off all functions."""
        for _, trampoline, link in self.attached:
            trampoline.detach(link)


def attach_multi(
    kernel: Kernel,
    node: Node,
    targets: Mapping[int, MultiTarget],
    ids: Sequence[int],
    cookies: Sequence[int] | None = None,
    *,
    flags: int = 0,
    uses_func_ip: bool = False,
) -> MultiLink:
    """Attach a program to all functions of `ids` (BTF ids) or to none.

    `targets` are the functions that exist. The kernel sorts the ids, and `cookies` (BPF
    cookies by the same index) move with them. Raises `AttachError`: EOPNOTSUPP on arm64;
    EINVAL for flags, no or duplicate ids, cookies of another count, an id that is no
    function, a function that the program may not be loaded for, a kernel without such links;
    ENOENT for a function that ftrace cannot patch; what attaching to one of them answers.
    """
    if node.kind not in MULTI_KINDS or not rules_for(kernel).multi:
        raise AttachError(f"no tracing_multi link for {node.kind} programs", errno.EINVAL)
    if kernel.arch is not Arch.X86_64:
        raise AttachError(
            f"{kernel.arch} kernels cannot attach one program to many functions", errno.EOPNOTSUPP
        )
    if flags or not ids or len(set(ids)) != len(ids):
        raise AttachError("tracing_multi takes distinct ids and no flags", errno.EINVAL)
    if cookies is not None and len(cookies) != len(ids):
        raise AttachError(f"{len(cookies)} cookies for {len(ids)} functions", errno.EINVAL)
    order = sorted(zip(ids, cookies or [0] * len(ids), strict=True))
    for btf_id, _ in order:
        target = targets.get(btf_id)
        if target is None:
            raise AttachError(f"BTF id {btf_id} is no function", errno.EINVAL)
        check_load(kernel, node.kind, target.function, node.sleepable)
        if not target.traceable:
            raise AttachError(f"{target.function.name} cannot be patched", errno.ENOENT)
    attached: list[tuple[int, Trampoline, Link]] = []
    for btf_id, cookie in order:
        trampoline = targets[btf_id].trampoline
        link = Link(replace(node, cookie=cookie), uses_func_ip)
        try:
            trampoline.attach(link)
        except AttachError:
            MultiLink(tuple(attached)).detach()
            raise
        attached.append((btf_id, trampoline, link))
    return MultiLink(tuple(attached))
