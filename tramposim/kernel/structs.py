"""Offsets of kernel structures and symbols: the one truth for images, programs and guest.

Everything here is data read from the captured 7.2.13 kernels (Debian, cloud flavour): BTF of
the running kernel (`layouts` of the `*-runtime` records), or the operands of the live text
where a structure is private to one file and BTF was not recorded (`bpf_map`, `bpf_htab`,
`htab_elem`, `rq`, timekeeper; `*-runtime.disasm.txt`). Structures whose layout is ours because
no captured code shows it are listed in `OWN`. The guest runtime's C sources see the same
numbers through a generated header (`_native/guest/build.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tramposim.errors import UnsupportedError
from tramposim.spec import Arch

__all__ = ["OWN", "Structs", "structs"]


@dataclass(frozen=True, slots=True)
class Structs:
    """What one kernel build fixes: offsets in bytes, and where its symbols lie.

    `offsets` maps "struct.member" to its offset, `sizes` a structure to its size. `text` maps
    a function to (offset from _stext, bytes that the kernel's function takes); `data` a
    global variable to its offset from _stext; `percpu` a per-CPU variable to its offset from
    __per_cpu_start; `percpu_size` is __per_cpu_end - __per_cpu_start. `stext` is where
    _stext lies without address randomisation.
    """

    arch: Arch
    stext: int
    offsets: Mapping[str, int]
    sizes: Mapping[str, int]
    text: Mapping[str, tuple[int, int]]
    data: Mapping[str, int]
    percpu: Mapping[str, int]
    percpu_start: int
    percpu_size: int

    def offset(self, member: str) -> int:
        """Offset of "struct.member"; raises `UnsupportedError` if it is not known."""
        try:
            return self.offsets[member]
        except KeyError:
            raise UnsupportedError(f"offset of {member} is not known for {self.arch}") from None


_COMMON: dict[str, int] = {
    "bpf_prog.len": 16,
    "bpf_prog.jited_len": 20,
    "bpf_prog.stats": 56,
    "bpf_prog.active": 64,
    "bpf_prog.bpf_func": 72,
    "bpf_prog.aux": 80,
    "bpf_prog.insnsi": 96,
    "bpf_prog_aux.recursion_detected": 216,
    "bpf_prog_stats.cnt": 0,
    "bpf_prog_stats.nsecs": 8,
    "bpf_prog_stats.misses": 16,
    "bpf_tramp_run_ctx.bpf_cookie": 0,
    "bpf_tramp_run_ctx.saved_run_ctx": 8,
    "bpf_tramp_image.image": 0,
    "bpf_tramp_image.size": 8,
    "bpf_tramp_image.pcref": 0x270,
    "percpu_ref.percpu_count_ptr": 0,
    "percpu_ref.data": 8,
    "percpu_ref_data.count": 0,
    "percpu_ref_data.release": 8,
    "srcu_struct.srcu_ctrp": 0,
    "srcu_ctr.locks": 0,
    "srcu_ctr.unlocks": 8,
    "bpf_map.ops": 0x28,
    "bpf_map.map_type": 0x40,
    "bpf_map.key_size": 0x44,
    "bpf_map.value_size": 0x48,
    "bpf_map.max_entries": 0x4C,
    "bpf_map.map_flags": 0x58,
    "bpf_map.id": 0x5C,
    "bpf_map.record": 0x60,
    "bpf_map.elem_count": 0x108,
    "bpf_map_ops.map_lookup_elem": 0x60,
    "bpf_map_ops.map_update_elem": 0x68,
    "bpf_map_ops.map_delete_elem": 0x70,
    "bpf_map_ops.map_fd_put_ptr": 0xA8,
    "bpf_array.elem_size": 0x120,
    "bpf_array.index_mask": 0x124,
    "bpf_array.value": 0x130,
    "bpf_htab.buckets": 0x1C0,
    "bpf_htab.elems": 0x1C8,
    "bpf_htab.freelist": 0x200,
    "bpf_htab.extra_elems": 0x300,
    "bpf_htab.n_buckets": 0x338,
    "bpf_htab.elem_size": 0x33C,
    "bpf_htab.hashrnd": 0x340,
    "bucket.head": 0,
    "bucket.raw_lock": 8,
    "htab_elem.next": 0,
    "htab_elem.pprev": 8,
    "htab_elem.fnode": 8,
    "htab_elem.ptr_to_pptr": 0x10,
    "htab_elem.lru_node": 0x10,
    "htab_elem.hash": 0x28,
    "htab_elem.key": 0x30,
    "bpf_lru.lists": 0,
    "bpf_lru.counts": 48,
    "bpf_lru.next_inactive_rotation": 56,
    "bpf_lru.lock": 64,
    "bpf_lru.local_list": 128,
    "bpf_lru.del_from_htab": 192,
    "bpf_lru.del_arg": 200,
    "bpf_lru.hash_offset": 208,
    "bpf_lru.target_free": 212,
    "bpf_lru.nr_scans": 216,
    "bpf_lru_locallist.lists": 0,
    "bpf_lru_locallist.next_steal": 32,
    "bpf_lru_locallist.lock": 36,
    "bpf_lru_node.list": 0,
    "bpf_lru_node.cpu": 16,
    "bpf_lru_node.type": 18,
    "bpf_lru_node.ref": 19,
    "pcpu_freelist.freelist": 0,
    "pcpu_freelist.extralist": 8,
    "pcpu_freelist_head.first": 0,
    "pcpu_freelist_head.lock": 8,
    "rqspinlock_held.cnt": 0,
    "rqspinlock_held.locks": 8,
    "rq.nr_pinned": 0x1070,
    "tk_fast.seq": 0,
    "tk_fast.base": 8,
    "tk_read_base.clock": 0,
    "tk_read_base.mask": 8,
    "tk_read_base.cycle_last": 0x10,
    "tk_read_base.mult": 0x18,
    "tk_read_base.shift": 0x1C,
    "tk_read_base.xtime_nsec": 0x20,
    "tk_read_base.base": 0x28,
    "clocksource.read": 0,
    "clocksource.max_raw_delta": 0x28,
    "bpf_ringbuf_map.rb": 288,
    "bpf_ringbuf.work": 24,
    "bpf_ringbuf.mask": 56,
    "bpf_ringbuf.spinlock": 0x80,
    "bpf_ringbuf.consumer_pos": 0x1000,
    "bpf_ringbuf.producer_pos": 0x2000,
    "bpf_ringbuf.pending_pos": 0x2008,
    "bpf_ringbuf.data": 0x3000,
    "irq_work.flags": 8,
}

_SIZES: dict[str, int] = {
    "bpf_prog": 96,
    "bpf_prog_aux": 1320,
    "bpf_prog_stats": 32,
    "bpf_tramp_image": 720,
    "bpf_tramp_run_ctx": 16,
    "bpf_trampoline": 200,
    "percpu_ref": 16,
    "percpu_ref_data": 56,
    "bpf_map": 288,
    "bpf_array": 304,
    "bpf_htab": 0x380,
    "bucket": 16,
    "htab_elem": 0x30,
    "bpf_lru_locallist": 40,
    "pcpu_freelist_head": 16,
    "rqspinlock_held": 264,
    "tk_read_base": 0x38,
    "bpf_map_ops": 0x180,
    "clocksource": 0x100,
    "clock_read_data": 0x28,
    "rq": 0x1200,
}

OWN: frozenset[str] = frozenset(
    {
        "bpf_htab",
        "bpf_htab.elem_size",
        "bpf_htab.elems",
        "bpf_htab.extra_elems",
        "bpf_lru.del_arg",
        "bpf_lru.hash_offset",
        "bpf_lru.nr_scans",
        "bpf_lru.target_free",
        "bpf_map_ops",
        "bpf_ringbuf.mask",
        "bpf_ringbuf.spinlock",
        "bpf_ringbuf.work",
        "irq_work.flags",
        "task_struct.pagefault_disabled",
    }
)
"""Entries whose place no captured code shows: consistent here, not the kernel's word."""

_X86_64_OFFSETS: dict[str, int] = {
    "task_struct.stack": 32,
    "task_struct.cpus_ptr": 0x560,
    "task_struct.cpus_mask": 0x570,
    "task_struct.migration_disabled": 0x978,
    "task_struct.rcu_read_lock_nesting": 0x97C,
    "task_struct.rcu_read_unlock_special": 0x980,
    "task_struct.trc_reader_nesting": 0x9D8,
    "task_struct.trc_reader_scp": 0x9E0,
    "task_struct.pid": 0xAF8,
    "task_struct.tgid": 0xAFC,
    "task_struct.bpf_ctx": 0x1650,
    "task_struct.pagefault_disabled": 0x1200,
    "cyc2ns.data": 0,
    "cyc2ns.seq": 0x20,
    "cyc2ns_data.mul": 0,
    "cyc2ns_data.shift": 4,
    "cyc2ns_data.offset": 8,
}

_ARM64_OFFSETS: dict[str, int] = {
    "thread_info.preempt_count": 8,
    "thread_info.cpu": 0x18,
    "task_struct.stack": 40,
    "task_struct.cpus_ptr": 0x560,
    "task_struct.cpus_mask": 0x570,
    "task_struct.migration_disabled": 0x5B8,
    "task_struct.trc_reader_nesting": 0x5F8,
    "task_struct.trc_reader_scp": 0x600,
    "task_struct.pid": 0x718,
    "task_struct.tgid": 0x71C,
    "task_struct.stack_canary": 0x720,
    "task_struct.bpf_ctx": 0xDC8,
    "task_struct.pagefault_disabled": 0xB00,
    "clock_data.seq": 0,
    "clock_data.read_data": 8,
    "clock_read_data.epoch_ns": 0,
    "clock_read_data.epoch_cyc": 8,
    "clock_read_data.sched_clock_mask": 0x10,
    "clock_read_data.read_sched_clock": 0x18,
    "clock_read_data.mult": 0x20,
    "clock_read_data.shift": 0x24,
    "ftrace_ops.direct_call": 0xC0,
}

_X86_64_TEXT: dict[str, tuple[int, int]] = {
    "preempt_schedule_thunk": (0x2A9CA0, 0),
    "preempt_schedule_notrace_thunk": (0x2A9CE0, 0),
    "sched_clock": (0x2F8E90, 48),
    "ftrace_stub": (0x33C900, 48),
    "ftrace_caller": (0x33C980, 112),
    "ftrace_regs_caller": (0x33CA70, 97),
    "arch_bpf_timed_may_goto": (0x370040, 64),
    "migrate_disable": (0x3C41C0, 112),
    "___migrate_enable": (0x3D7B80, 112),
    "migrate_enable": (0x3D7C70, 208),
    "local_clock": (0x42DE90, 48),
    "__rcu_read_lock": (0x46E140, 32),
    "rcu_read_unlock_special": (0x477370, 448),
    "__rcu_read_unlock": (0x477540, 48),
    "delta_to_ns_safe": (0x4A32B0, 112),
    "ktime_get_mono_fast_ns": (0x4A3890, 368),
    "bpf_get_func_ip_tracing": (0x57D0F0, 16),
    "get_func_arg": (0x57D200, 48),
    "get_func_ret": (0x57D240, 32),
    "get_func_arg_cnt": (0x57D270, 16),
    "bpf_get_attach_cookie_tracing": (0x57FD90, 32),
    "bpf_session_is_return": (0x585AB0, 32),
    "bpf_session_cookie": (0x585AE0, 32),
    "bpf_user_rnd_u32": (0x5AADA0, 64),
    "bpf_check_timed_may_goto": (0x5ABC80, 176),
    "bpf_prog_inc_misses_counter": (0x5B43B0, 32),
    "bpf_map_lookup_elem": (0x5E9270, 32),
    "bpf_map_update_elem": (0x5E92A0, 32),
    "bpf_map_delete_elem": (0x5E92D0, 32),
    "bpf_get_smp_processor_id": (0x5E93C0, 32),
    "bpf_get_current_pid_tgid": (0x5E9640, 64),
    "bpf_ktime_get_ns": (0x5E97B0, 16),
    "copy_map_value_locked": (0x5EBAB0, 304),
    "jhash": (0x600D30, 384),
    "lookup_nulls_elem_raw": (0x6019A0, 144),
    "lookup_elem_raw": (0x601A40, 144),
    "htab_lock_bucket": (0x601AE0, 240),
    "check_and_cancel_fields": (0x601BE0, 208),
    "free_htab_elem": (0x6028B0, 208),
    "__htab_map_lookup_elem": (0x603B30, 352),
    "htab_map_lookup_elem": (0x603CA0, 48),
    "alloc_htab_elem": (0x604730, 0),
    "htab_map_delete_elem": (0x605290, 608),
    "htab_map_update_elem": (0x606700, 1312),
    "array_map_lookup_elem": (0x60A8F0, 64),
    "pcpu_freelist_push": (0x60DDA0, 400),
    "__bpf_prog_enter_sleepable_recur": (0x629730, 272),
    "__bpf_prog_exit_sleepable_recur": (0x629850, 256),
    "__bpf_prog_enter_lsm_cgroup": (0x62A140, 128),
    "__bpf_prog_enter": (0x62A1D0, 160),
    "__bpf_prog_enter_sleepable": (0x62A280, 192),
    "__bpf_prog_enter_recur": (0x62A350, 240),
    "__bpf_prog_exit_lsm_cgroup": (0x62A450, 144),
    "__bpf_prog_exit": (0x62A4F0, 208),
    "__bpf_prog_exit_recur": (0x62A5D0, 224),
    "__bpf_prog_exit_sleepable": (0x62A6C0, 256),
    "__bpf_tramp_enter": (0x62AD30, 64),
    "__bpf_tramp_exit": (0x62AD80, 80),
    "prandom_u32_state": (0xB94730, 128),
    "bpf_fentry_test1": (0xFFFD90, 32),
    "bpf_fentry_test2": (0x1001E40, 32),
    "bpf_fentry_test3": (0x1001E70, 32),
    "bpf_fentry_test4": (0x1001EA0, 32),
    "bpf_fentry_test5": (0x1001ED0, 32),
    "bpf_fentry_test6": (0x1001F00, 32),
    "bpf_fentry_test7": (0x1001F30, 32),
    "bpf_fentry_test8": (0x1001F60, 16),
    "bpf_fentry_test9": (0x1001F80, 16),
    "bpf_fentry_test10": (0x1001FA0, 16),
    "bpf_modify_return_test": (0x1002060, 32),
    "bpf_modify_return_test2": (0x1002090, 48),
    "memcmp": (0x12231B0, 128),
    "native_sched_clock": (0x123D880, 272),
    "sched_clock_noinstr": (0x123D9A0, 32),
    "memcpy": (0x12426E0, 48),
    "resilient_queued_spin_lock_slowpath": (0x12538D0, 0),
    "srso_alias_safe_ret": (0x104104, 7),
    "srso_alias_return_thunk": (0x10410B, 7),
    "__x86_indirect_call_thunk_array": (0x1254100, 512),
    "__x86_indirect_jump_thunk_array": (0x1254300, 512),
    "__x86_indirect_its_thunk_array": (0x1254520, 1024),
    "__x86_indirect_thunk_array": (0x1253F00, 512),
    "__x86_indirect_thunk_rax": (0x1253F00, 32),
    "__x86_indirect_thunk_rcx": (0x1253F20, 32),
    "__x86_indirect_thunk_rbx": (0x1253F60, 32),
    "__x86_indirect_thunk_r10": (0x1254040, 32),
    "srso_safe_ret": (0x1254980, 32),
    "srso_return_thunk": (0x12549A0, 95),
    "retbleed_return_thunk": (0x1254A00, 32),
    "call_depth_return_thunk": (0x1254A50, 208),
    "its_return_thunk": (0x1254B20, 16),
    "__x86_return_thunk": (0x1254B30, 16),
}

_ARM64_TEXT: dict[str, tuple[int, int]] = {
    "__rcu_read_unlock": (0x43F0, 72),
    "ftrace_caller": (0x38B18, 156),
    "ftrace_stub": (0x38BD8, 8),
    "arch_bpf_timed_may_goto": (0x59B00, 72),
    "migrate_disable": (0x1297C8, 144),
    "___migrate_enable": (0x135198, 128),
    "migrate_enable": (0x135288, 256),
    "delta_to_ns_safe": (0x202BF0, 216),
    "ktime_get_mono_fast_ns": (0x203540, 544),
    "sched_clock": (0x219880, 344),
    "bpf_get_func_ip_tracing": (0x2DD700, 8),
    "get_func_arg": (0x2DD770, 48),
    "get_func_ret": (0x2DD7A0, 32),
    "get_func_arg_cnt": (0x2DD7C0, 8),
    "bpf_get_attach_cookie_tracing": (0x2DEE80, 16),
    "__migrate_enable": (0x2DFC70, 176),
    "__migrate_disable": (0x2DFD20, 128),
    "bpf_session_is_return": (0x2E69A0, 16),
    "bpf_session_cookie": (0x2E69B0, 16),
    "bpf_user_rnd_u32": (0x30A098, 120),
    "bpf_check_timed_may_goto": (0x30AEE8, 192),
    "bpf_prog_inc_misses_counter": (0x314010, 72),
    "bpf_map_lookup_elem": (0x345408, 64),
    "bpf_map_update_elem": (0x345448, 64),
    "bpf_map_delete_elem": (0x345488, 64),
    "bpf_get_smp_processor_id": (0x3455C8, 32),
    "bpf_get_current_pid_tgid": (0x345698, 48),
    "bpf_ktime_get_ns": (0x345750, 56),
    "copy_map_value_locked": (0x347F08, 480),
    "jhash": (0x35DAC8, 360),
    "lookup_nulls_elem_raw": (0x35E518, 192),
    "lookup_elem_raw": (0x35E768, 160),
    "check_and_cancel_fields": (0x35E808, 288),
    "dec_elem_count": (0x360D88, 224),
    "htab_unlock_bucket": (0x361160, 272),
    "__htab_map_lookup_elem": (0x361270, 424),
    "htab_map_lookup_elem": (0x361418, 88),
    "free_htab_elem": (0x361AF0, 280),
    "htab_lock_bucket": (0x361DF0, 448),
    "htab_map_delete_elem": (0x361FB0, 600),
    "alloc_htab_elem": (0x365088, 0),
    "htab_map_update_elem": (0x365428, 1064),
    "array_map_lookup_elem": (0x367C08, 64),
    "___pcpu_freelist_push": (0x36ABA0, 624),
    "pcpu_freelist_push": (0x36B780, 96),
    "__bpf_prog_enter_lsm_cgroup": (0x387580, 48),
    "__bpf_prog_enter": (0x387610, 88),
    "__bpf_prog_exit_lsm_cgroup": (0x387B20, 80),
    "__bpf_prog_enter_recur": (0x387D60, 304),
    "__update_prog_stats": (0x387E90, 152),
    "__bpf_prog_exit": (0x387F28, 88),
    "__bpf_prog_exit_recur": (0x387F80, 208),
    "__bpf_prog_enter_sleepable": (0x388050, 320),
    "__bpf_prog_exit_sleepable_recur": (0x388190, 464),
    "__bpf_prog_enter_sleepable_recur": (0x388360, 528),
    "__bpf_prog_exit_sleepable": (0x388570, 352),
    "__bpf_tramp_enter": (0x388C60, 208),
    "__bpf_tramp_exit": (0x388D30, 248),
    "prandom_u32_state": (0x9017E0, 96),
    "bpf_fentry_test1": (0xE84C88, 24),
    "bpf_fentry_test2": (0xE86E90, 24),
    "bpf_fentry_test3": (0xE86EA8, 32),
    "bpf_fentry_test4": (0xE86EC8, 32),
    "bpf_fentry_test5": (0xE86EE8, 40),
    "bpf_fentry_test6": (0xE86F10, 40),
    "bpf_fentry_test7": (0xE86F38, 24),
    "bpf_fentry_test8": (0xE86F50, 24),
    "bpf_fentry_test9": (0xE86F68, 32),
    "bpf_fentry_test10": (0xE86F88, 32),
    "bpf_modify_return_test": (0xE87048, 40),
    "bpf_modify_return_test2": (0xE87070, 56),
    "memcmp": (0x107DB10, 272),
    "memcpy": (0x107DE50, 48),
    "preempt_schedule": (0x10BE1C0, 0),
    "preempt_schedule_notrace": (0x10BE220, 0),
    "resilient_queued_spin_lock_slowpath": (0x10C9820, 0),
}

_X86_64_DATA: dict[str, int] = {
    "__bpf_call_base": 0x5A0C90,
    "__per_cpu_offset": 0x1A960E0,
    "init_task": 0x2211140,
    "jiffies_64": 0x2207A00,
    "rcu_tasks_trace_srcu_struct": 0x230C140,
    "tk_fast_mono": 0x236CEC0,
    "__cpu_possible_mask": 0x1AA6840,
    "timekeeping_suspended": 0x2551F6C,
    "nr_cpu_ids": 0x2553FD0,
    "bpf_stats_enabled_key": 0x2E851A0,
}

_ARM64_DATA: dict[str, int] = {
    "__bpf_call_base": 0x2FFF70,
    "__cpu_possible_mask": 0x1872218,
    "rcu_tasks_trace_srcu_struct": 0x21BB010,
    "tk_fast_mono": 0x21CD880,
    "cd": 0x21D1680,
    "__per_cpu_offset": 0x20F2198,
    "init_task": 0x20F8B00,
    "timekeeping_suspended": 0x20EE06C,
    "nr_cpu_ids": 0x20EE150,
    "cycles_at_suspend": 0x2502C00,
    "bpf_stats_enabled_key": 0x250C258,
}

_X86_64_PERCPU: dict[str, int] = {
    "__stack_chk_guard": 0x18008,
    "current_task": 0x18018,
    "const_current_task": 0x18018,
    "__x86_call_depth": 0x18020,
    "this_cpu_off": 0x18028,
    "__preempt_count": 0x18030,
    "cpu_number": 0x18034,
    "bpf_user_rnd_state": 0x2AE50,
    "cyc2ns": 0x31280,
    "runqueues": 0x32180,
    "rqspinlock_held_locks": 0x33900,
}

_ARM64_PERCPU: dict[str, int] = {
    "bpf_user_rnd_state": 0x11AD0,
    "runqueues": 0x18780,
    "rqspinlock_held_locks": 0x19D80,
}


def _structs(
    arch: Arch,
    stext: int,
    offsets: dict[str, int],
    text: dict[str, tuple[int, int]],
    data: dict[str, int],
    percpu: dict[str, int],
    start: int,
    size: int,
) -> Structs:
    return Structs(
        arch,
        stext,
        MappingProxyType(_COMMON | offsets),
        MappingProxyType(_SIZES | {"task_struct": 6080 if arch is Arch.X86_64 else 4736}),
        MappingProxyType(text),
        MappingProxyType(data),
        MappingProxyType(percpu),
        start,
        size,
    )


_STRUCTS = {
    Arch.X86_64: _structs(
        Arch.X86_64,
        0xFFFFFFFF81000000,
        _X86_64_OFFSETS,
        _X86_64_TEXT,
        _X86_64_DATA,
        _X86_64_PERCPU,
        0x2DA5000,
        0x35000,
    ),
    Arch.ARM64: _structs(
        Arch.ARM64,
        0xFFFF800080010000,
        _ARM64_OFFSETS,
        _ARM64_TEXT,
        _ARM64_DATA,
        _ARM64_PERCPU,
        0x201C000,
        0x1A458,
    ),
}


def structs(arch: Arch) -> Structs:
    """Layouts and symbol places of the 7.2.13 kernel of `arch`, which the guest is built for."""
    return _STRUCTS[arch]
