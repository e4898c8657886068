"""Section names by which libbpf tells a program's type and what it attaches to.

Names as in libbpf's table of section definitions: `fentry/FUNCTION`, `.s` for sleepable
programs, a leading `?` for programs that are not loaded on their own.
"""

from __future__ import annotations

from dataclasses import dataclass

from tramposim.errors import InputError, UnsupportedError
from tramposim.spec import ProgKind

__all__ = ["ProgramSection", "program_section"]


@dataclass(frozen=True, slots=True)
class ProgramSection:
    """What a section's name says about the programs in it."""

    kind: ProgKind
    target: str = ""
    sleepable: bool = False
    autoload: bool = True


_KINDS = {
    "fentry+": ProgKind.FENTRY,
    "fexit+": ProgKind.FEXIT,
    "fmod_ret+": ProgKind.FMOD_RET,
    "fsession+": ProgKind.FSESSION,
    "fentry.multi+": ProgKind.FENTRY_MULTI,
    "fexit.multi+": ProgKind.FEXIT_MULTI,
    "fsession.multi+": ProgKind.FSESSION_MULTI,
    "lsm+": ProgKind.LSM,
    "struct_ops+": ProgKind.STRUCT_OPS,
    "socket": ProgKind.SOCKET,
    "tc": ProgKind.TC,
    "classifier": ProgKind.TC,
    "action": ProgKind.TC,
    "tc/ingress": ProgKind.TC,
    "tc/egress": ProgKind.TC,
    "tcx/ingress": ProgKind.TC,
    "tcx/egress": ProgKind.TC,
    "netkit/primary": ProgKind.TC,
    "netkit/peer": ProgKind.TC,
    "xdp": ProgKind.XDP,
    "xdp.frags": ProgKind.XDP,
    "xdp/devmap": ProgKind.XDP,
    "xdp.frags/devmap": ProgKind.XDP,
    "xdp/cpumap": ProgKind.XDP,
    "xdp.frags/cpumap": ProgKind.XDP,
}
"""Kinds that are simulated; `+`: a target may follow after a slash."""
_SLEEPABLE_TEXT = """
fentry fexit fmod_ret fsession fentry.multi fexit.multi fsession.multi lsm struct_ops
"""
_SLEEPABLE = tuple(_SLEEPABLE_TEXT.split())
_LSM_HOOK = "bpf_lsm_"
"""What the kernel calls the function of an LSM hook."""

_OTHERS_TEXT = """
kprobe+ kretprobe+ uprobe+ uprobe.s+ uretprobe+ uretprobe.s+ kprobe.multi+ kretprobe.multi+
kprobe.session+ uprobe.multi+ uretprobe.multi+ uprobe.session+ uprobe.multi.s+ uretprobe.multi.s+
uprobe.session.s+ ksyscall+ kretsyscall+ usdt+ usdt.s+ tracepoint+ tp+ raw_tracepoint+ raw_tp+
raw_tracepoint.w+ raw_tp.w+ tp_btf+ freplace+ lsm_cgroup+ iter+ iter.s+ syscall perf_event lwt_in
lwt_out lwt_xmit lwt_seg6local sockops sk_skb/stream_parser sk_skb/stream_verdict sk_skb/verdict
sk_skb sk_msg sk_lookup sk_reuseport sk_reuseport/migrate lirc_mode2 flow_dissector netfilter
cgroup_skb/ingress cgroup_skb/egress cgroup/skb cgroup/sock_create cgroup/sock_release cgroup/sock
cgroup/post_bind4 cgroup/post_bind6 cgroup/bind4 cgroup/bind6 cgroup/connect4 cgroup/connect6
cgroup/connect_unix cgroup/sendmsg4 cgroup/sendmsg6 cgroup/sendmsg_unix cgroup/recvmsg4
cgroup/recvmsg6 cgroup/recvmsg_unix cgroup/getpeername4 cgroup/getpeername6
cgroup/getpeername_unix cgroup/getsockname4 cgroup/getsockname6 cgroup/getsockname_unix
cgroup/sysctl cgroup/getsockopt cgroup/setsockopt cgroup/dev
"""
_OTHERS = tuple(_OTHERS_TEXT.split())
"""What libbpf knows beyond that: program types that no trampoline calls."""


def program_section(name: str, where: str) -> ProgramSection:
    """The programs of the section `name`.

    Raises `UnsupportedError` for a program type that is not simulated, `InputError` for a
    name that libbpf does not know either.
    """
    plain = name.removeprefix("?")
    autoload = plain == name
    word, slash, target = plain.partition("/")
    sleepable = word.endswith(".s") and word[:-2] in _SLEEPABLE
    base = word[:-2] if sleepable else word
    kind = _KINDS.get(plain)
    if kind is not None:
        return ProgramSection(kind, autoload=autoload)
    kind = _KINDS.get(f"{base}+")
    if kind is not None and (target or not slash):
        if kind is ProgKind.LSM and target:
            target = _LSM_HOOK + target
        return ProgramSection(kind, target, sleepable, autoload)
    if plain in _OTHERS or f"{word}+" in _OTHERS:
        raise UnsupportedError(
            f"{where}: section {name}: programs of this type are not simulated; {_known()} are"
        )
    raise InputError(f"section {name}: no program type is called so; {_known()} are known", where)


def _known() -> str:
    return ", ".join(name.replace("+", "/...") for name in _KINDS)
