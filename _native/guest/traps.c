/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Ends of paths that the modelled machine cannot take (no other task to switch to, nobody
 * moves a task, no lock is contended): an undefined instruction under the kernel's name, so
 * that reaching one is a named fault and never silence.
 */
#include "guest.h"

#define TRAP(name)                                                                \
	__attribute__((naked)) void name(void)                                    \
	{                                                                         \
		__asm__ __volatile__(UNDEFINED);                                  \
	}

#if defined(__x86_64__)
#define UNDEFINED "ud2"
TRAP(preempt_schedule_thunk)
TRAP(preempt_schedule_notrace_thunk)
TRAP(rcu_read_unlock_special)
#else
#define UNDEFINED "udf #0"
TRAP(preempt_schedule)
TRAP(preempt_schedule_notrace)
TRAP(suspended_sched_clock_read)
TRAP(dummy_clock_read)
#endif
TRAP(___migrate_enable)
TRAP(__set_cpus_allowed_ptr)
TRAP(resilient_queued_spin_lock_slowpath)
TRAP(bpf_obj_cancel_fields)
TRAP(bpf_mem_cache_free)
TRAP(guest_list_corrupted)
TRAP(rcu_read_unlock_trace_special)
TRAP(guest_ubsan)
TRAP(guest_not_modelled)
TRAP(queued_spin_lock_slowpath)
TRAP(guest_user_stack)
TRAP(guest_symbol_names)
TRAP(native_queued_spin_lock_slowpath)
TRAP(__stack_chk_fail)
