/* SPDX-License-Identifier: GPL-2.0-only */
/* Pinning a task to its CPU: a per-task depth, and the run queue's count on the outermost. */
#ifndef GUEST_MIGRATE_H
#define GUEST_MIGRATE_H

#include "guest.h"

/* Whether somebody gave the task other CPUs while it was pinned. */
always_inline _Bool has_foreign_mask(struct task *task)
{
	return AT(char *, task, TASK_STRUCT_CPUS_PTR) !=
	       member_address(task, TASK_STRUCT_CPUS_MASK);
}

always_inline void migrate_disable_inline(struct task *task)
{
	u16 depth = AT(u16, task, TASK_STRUCT_MIGRATION_DISABLED);

	if (unlikely(depth)) {
		AT(u16, task, TASK_STRUCT_MIGRATION_DISABLED) = depth + 1;
		return;
	}
	needs_frame();
	preempt_disable();
	AT(u32, runqueues + RQ_NR_PINNED, my_cpu_offset()) += 1;
	AT(u16, task, TASK_STRUCT_MIGRATION_DISABLED) = through_register(u32, 1);
	preempt_enable();
}

always_inline void migrate_enable_inline(struct task *task)
{
	u16 depth = AT(u16, task, TASK_STRUCT_MIGRATION_DISABLED);

	if (unlikely(depth > 1)) {
		AT(u16, task, TASK_STRUCT_MIGRATION_DISABLED) = depth - 1;
		return;
	}
	preempt_disable();
	if (unlikely(has_foreign_mask(task)))
		cold_call(___migrate_enable);
	barrier();
	AT(u16, task, TASK_STRUCT_MIGRATION_DISABLED) = through_register(u32, 0);
	barrier();
	AT(u32, runqueues + RQ_NR_PINNED, my_cpu_offset()) -= 1;
	preempt_enable();
}

#endif
