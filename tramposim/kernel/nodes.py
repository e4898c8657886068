"""Nodes of a trampoline's program lists, and the flags that a set of nodes leads to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from operator import attrgetter

from tramposim.spec import ProgKind

__all__ = ["FSESSIONS", "Node", "TrampFlag", "node_shape"]


class TrampFlag(IntFlag):
    """BPF_TRAMP_F_*: what kind of image arch_prepare_bpf_trampoline is asked for."""

    RESTORE_REGS = 1 << 0
    CALL_ORIG = 1 << 1
    SKIP_FRAME = 1 << 2
    IP_ARG = 1 << 3
    RET_FENTRY_RET = 1 << 4
    ORIG_STACK = 1 << 5
    SHARE_IPMODIFY = 1 << 6
    TAIL_CALL_CTX = 1 << 7
    INDIRECT = 1 << 8


FSESSIONS = frozenset({ProgKind.FSESSION, ProgKind.FSESSION_MULTI})


@dataclass(frozen=True, slots=True)
class Node:
    """One program on one list of a trampoline (struct bpf_tramp_node).

    `p` and `bpf_func` are the addresses of its struct bpf_prog and of its machine code;
    `cookie` is the link's BPF cookie; `session_cookie` says that the program calls
    bpf_session_cookie. An fsession link has two nodes, one on the fentry list and one on the
    fexit list, both of kind FSESSION. `private_stack` is aux->jits_use_priv_stack.
    """

    p: int
    bpf_func: int
    kind: ProgKind = ProgKind.FENTRY
    cookie: int = 0
    session_cookie: bool = False
    sleepable: bool = False
    private_stack: bool = False
    name: str = ""

    @property
    def fsession(self) -> bool:
        """Whether this is one half of an fsession (single or multi) link."""
        return self.kind in FSESSIONS


node_shape = attrgetter("kind", "session_cookie", "sleepable", "private_stack")
"""What of a node decides the shape of the code around it (all else is operands)."""
