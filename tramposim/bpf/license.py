"""What a program's licence allows it to call, with the verifier's words.

Facts: license_is_gpl_compatible (include/linux/license.h) and `gpl_only` of the helpers'
bpf_func_proto; kernel functions may be called by GPL-compatible programs only.
"""

from __future__ import annotations

from collections.abc import Iterable
from errno import EINVAL

from tramposim.bpf import insn as isa
from tramposim.bpf.helpers import HELPER_NAMES
from tramposim.bpf.insn import Insn, Pseudo
from tramposim.errors import AttachError

__all__ = ["GPL_ONLY", "check_license", "gpl_compatible"]

_COMPATIBLE = {
    "GPL",
    "GPL v2",
    "GPL and additional rights",
    "Dual BSD/GPL",
    "Dual MIT/GPL",
    "Dual MPL/GPL",
}

_GPL_ONLY_TEXT = """
probe_read probe_read_str probe_read_user probe_read_user_str probe_read_kernel
probe_read_kernel_str probe_write_user override_return trace_printk trace_vprintk get_current_task
get_current_task_btf task_pt_regs perf_event_read perf_event_read_value perf_event_output
perf_prog_read_value read_branch_records get_branch_snapshot get_stackid get_stack get_func_ip
copy_from_user_task snprintf seq_printf seq_write seq_printf_btf skb_output xdp_output timer_init
timer_set_callback timer_start timer_cancel fib_lookup check_mtu tcp_check_syncookie
tcp_gen_syncookie tcp_raw_gen_syncookie_ipv4 tcp_raw_gen_syncookie_ipv6
tcp_raw_check_syncookie_ipv4 tcp_raw_check_syncookie_ipv6
"""
GPL_ONLY = frozenset(f"bpf_{name}" for name in _GPL_ONLY_TEXT.split())
"""Helpers that only programs with a GPL-compatible licence may call."""


def gpl_compatible(text: str) -> bool:
    """Whether the kernel counts a licence as compatible with the GPL."""
    return text in _COMPATIBLE


def check_license(text: str, insns: Iterable[Insn], where: str) -> None:
    """Raises `AttachError` (EINVAL) if the licence forbids what the program calls."""
    if gpl_compatible(text):
        return
    for index, insn in enumerate(insns):
        if insn.opcode != isa.JMP | isa.CALL:
            continue
        name = HELPER_NAMES.get(insn.imm, "")
        if insn.src == 0 and name in GPL_ONLY:
            log = "cannot call GPL-restricted function from non-GPL compatible program"
            raise AttachError(f"{where}: instruction {index}: {name}: {log}", EINVAL, log)
        if insn.src == Pseudo.KFUNC:
            log = "cannot call kernel function from non-GPL compatible program"
            raise AttachError(f"{where}: instruction {index}: {log}", EINVAL, log)
