"""Attaching to a trampoline: lists, order, counts, limits and the kernel's answers.

Facts: bpf_trampoline_link_prog, bpf_trampoline_unlink_prog and bpf_trampoline_update
(kernel/bpf/trampoline.c), checked against what booted kernels answered.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from tramposim.errors import ENOTSUPP, AttachError, KernelDefect
from tramposim.kernel.nodes import FSESSIONS, Node, TrampFlag
from tramposim.kernel.prototype import place_arguments
from tramposim.kernel.versions import rules_for
from tramposim.spec import Arch, Entry, Kernel, ProgKind, Prototype

__all__ = ["PAGE_SIZE", "Link", "Trampoline", "TrampolineList", "struct_ops_flags"]

PAGE_SIZE = 4096
"""Largest image in bytes, its fill included."""
X86_SAFETY = 64


class TrampolineList(Enum):
    """The program lists of a trampoline (enum bpf_tramp_prog_type)."""

    FENTRY = "fentry"
    FEXIT = "fexit"
    FMOD_RET = "fmod_ret"


_LISTS = {
    ProgKind.FENTRY: (TrampolineList.FENTRY,),
    ProgKind.FEXIT: (TrampolineList.FEXIT,),
    ProgKind.FMOD_RET: (TrampolineList.FMOD_RET,),
    ProgKind.FSESSION: (TrampolineList.FENTRY, TrampolineList.FEXIT),
    ProgKind.FENTRY_MULTI: (TrampolineList.FENTRY,),
    ProgKind.FEXIT_MULTI: (TrampolineList.FEXIT,),
    ProgKind.FSESSION_MULTI: (TrampolineList.FENTRY, TrampolineList.FEXIT),
}


@dataclass(frozen=True, slots=True, eq=False)
class Link:
    """One attachment of a program (struct bpf_tramp_link); two links are never equal.

    `node` describes the program with the link's cookie; an fsession link puts it on two
    lists. `uses_func_ip`: the program calls bpf_get_func_ip.
    """

    node: Node
    uses_func_ip: bool = False


class Trampoline:
    """The trampoline of one target function (struct bpf_trampoline).

    `image_size` gives the size of the image that the current lists lead to (im->size); it is
    asked at every change, as the kernel generates a new image at every change.
    `tail_call_reachable`: the target is a BPF program that tail-calls. `traceable`: ftrace can
    patch the function's entry (it is not notrace).
    """

    def __init__(
        self,
        kernel: Kernel,
        prototype: Prototype,
        image_size: Callable[[Trampoline], int] | None = None,
        tail_call_reachable: bool = False,
        traceable: bool = True,
    ) -> None:
        self.kernel = kernel
        self.prototype = prototype
        self._rules = rules_for(kernel)
        self._image_size = image_size
        self._tail_call_reachable = tail_call_reachable
        self._traceable = traceable
        self._lists: dict[TrampolineList, list[Link]] = {name: [] for name in TrampolineList}
        self._extended = False

    @property
    def max_links(self) -> int:
        """Program slots (BPF_MAX_TRAMP_LINKS); an fsession takes two."""
        return self._rules.max_links[self.kernel.arch]

    @property
    def count(self) -> int:
        """Program slots in use."""
        return sum(len(links) for links in self._lists.values())

    @property
    def links(self) -> tuple[Link, ...]:
        """Every attached link once, fentry list first."""
        return tuple(dict.fromkeys(link for links in self._lists.values() for link in links))

    @property
    def fentry(self) -> tuple[Node, ...]:
        """Nodes called before the function, in invocation order."""
        return self._nodes(TrampolineList.FENTRY)

    @property
    def fmod_ret(self) -> tuple[Node, ...]:
        """Nodes that may replace the call of the function, in invocation order."""
        return self._nodes(TrampolineList.FMOD_RET)

    @property
    def fexit(self) -> tuple[Node, ...]:
        """Nodes called after the function, in invocation order."""
        return self._nodes(TrampolineList.FEXIT)

    def _nodes(self, name: TrampolineList) -> tuple[Node, ...]:
        return tuple(link.node for link in self._lists[name])

    @property
    def flags(self) -> TrampFlag:
        """BPF_TRAMP_F_* that the attached programs lead to."""
        flags = TrampFlag(0)
        if self._lists[TrampolineList.FEXIT] or self._lists[TrampolineList.FMOD_RET]:
            flags |= TrampFlag.CALL_ORIG
            if not self._enters_by_jmp:
                flags |= TrampFlag.SKIP_FRAME
        else:
            flags |= TrampFlag.RESTORE_REGS
        if any(link.uses_func_ip for link in self.links):
            flags |= TrampFlag.IP_ARG
        if self._tail_call_reachable:
            flags |= TrampFlag.TAIL_CALL_CTX
        return flags

    @property
    def _enters_by_jmp(self) -> bool:
        """Whether images that call the original are entered by jmp."""
        entry = self.kernel.entry
        if self.kernel.arch is not Arch.X86_64:
            return False
        return self._rules.jmp_entry if entry is None else entry is Entry.JMP

    def attach(self, link: Link) -> None:
        """Attach a link at the head of its lists.

        Raises `AttachError` with the kernel's errno: EBUSY if an extension is attached, the
        link is attached already, its program is on the list or (x86_64) the entry cannot be
        patched; E2BIG if all slots are taken or the image would exceed a page; ENOTSUPP on
        arm64 for an entry or arguments that it cannot handle. After an error nothing has
        changed. Raises `KernelDefect` where a kernel would write beyond its buffer.
        """
        names = self._lists_of(link)
        if self._extended:
            raise AttachError("an extension is attached to this function", errno.EBUSY)
        if self.count + len(names) - 1 >= self.max_links:
            raise AttachError(
                f"{self.prototype.name}: {self.count} of {self.max_links} program slots are "
                f"taken, {link.node.kind} needs {len(names)}",
                errno.E2BIG,
            )
        if any(link in links for links in self._lists.values()):
            raise AttachError("the link is attached already", errno.EBUSY)
        if any(other.node.p == link.node.p for other in self._lists[names[0]]):
            raise AttachError(
                f"program {link.node.name or hex(link.node.p)} is on the {names[0].value} list "
                "already",
                errno.EBUSY,
            )
        for name in names:
            self._lists[name].insert(0, link)
        try:
            self._update()
        except (AttachError, KernelDefect):
            for name in names:
                self._lists[name].remove(link)
            raise

    def detach(self, link: Link) -> None:
        """Take a link off its lists. Raises `AttachError` (ENOENT) if it is not attached."""
        names = self._lists_of(link)
        if any(link not in self._lists[name] for name in names):
            raise AttachError("the link is not attached", errno.ENOENT)
        for name in names:
            self._lists[name].remove(link)

    def attach_extension(self) -> None:
        """Replace the target by an extension program (freplace): EBUSY unless it is alone."""
        if self._extended or self.count:
            raise AttachError("other programs are attached to this function", errno.EBUSY)
        self._extended = True

    def detach_extension(self) -> None:
        """Take the extension off. Raises `AttachError` (ENOENT) if there is none."""
        if not self._extended:
            raise AttachError("no extension is attached", errno.ENOENT)
        self._extended = False

    def _lists_of(self, link: Link) -> tuple[TrampolineList, ...]:
        """Lists that a link's program goes to (bpf_attach_type_to_tramp)."""
        kind = link.node.kind
        if kind is ProgKind.LSM:
            void = self.prototype.returns is None
            return (TrampolineList.FEXIT if void else TrampolineList.FMOD_RET,)
        names = _LISTS.get(kind)
        if names is None:
            raise AttachError(f"{kind} programs are not attached to functions", errno.EINVAL)
        if kind in FSESSIONS and not self._rules.fsession:
            raise AttachError(f"kernel {self.kernel.version} has no fsession", errno.EINVAL)
        return names

    def _update(self) -> None:
        """What generating and registering the new image answers (bpf_trampoline_update)."""
        name, arch = self.prototype.name, self.kernel.arch
        placement = place_arguments(self.prototype.arguments, arch)
        if arch is Arch.ARM64 and placement.stack and not self._rules.arm64_stack_args:
            raise AttachError(
                f"{name}: arm64 kernels of {self._rules.series} trace no function with arguments "
                "on the stack",
                ENOTSUPP,
            )
        if self._image_size is not None:
            self._check_size(self._image_size(self))
        if not self._traceable:
            raise AttachError(
                f"{name}: its entry cannot be patched",
                errno.EBUSY if arch is Arch.X86_64 else ENOTSUPP,
            )

    def _check_size(self, size: int) -> None:
        if self.kernel.arch is Arch.X86_64 and size - X86_SAFETY > PAGE_SIZE:
            raise KernelDefect(
                f"{self.prototype.name}: the image takes {size - X86_SAFETY} bytes; this kernel "
                f"generates it into a buffer of {PAGE_SIZE} bytes and checks the size only "
                "afterwards (arch_bpf_trampoline_size), so it would write beyond the buffer"
            )
        if size > PAGE_SIZE:
            raise AttachError(
                f"{self.prototype.name}: the image would take {size} bytes, more than a page",
                errno.E2BIG,
            )


def struct_ops_flags(prototype: Prototype) -> TrampFlag:
    """Flags of the image of a struct_ops member (bpf_struct_ops_prepare_trampoline)."""
    flags = TrampFlag.INDIRECT
    return flags | TrampFlag.RET_FENTRY_RET if prototype.returns else flags
