/* SPDX-License-Identifier: GPL-2.0-only */
/* RCU read side and pinning, where they are functions of their own. */
#include "guest.h"
#include "migrate.h"

#if defined(__x86_64__)
extern void rcu_read_unlock_special(struct task *task);

traceable void __rcu_read_lock(void)
{
#if GUEST_KERNEL >= 700
	AT(u32, current(), TASK_STRUCT_RCU_READ_LOCK_NESTING) += 1;
#else
	struct task *task = current();

	ONCE(u32, task, TASK_STRUCT_RCU_READ_LOCK_NESTING) =
		ONCE(u32, task, TASK_STRUCT_RCU_READ_LOCK_NESTING) + 1;
#endif
	barrier();
}

traceable void __rcu_read_unlock(void)
{
	struct task *task = current();

	barrier();
	if (--AT(s32, task, TASK_STRUCT_RCU_READ_LOCK_NESTING) == 0) {
		u32 special = ONCE(u32, task, TASK_STRUCT_RCU_READ_UNLOCK_SPECIAL);

		__asm__("" : "+r"(special));
		if (unlikely(special))
			rcu_read_unlock_special(task);
	}
}
#else
void __rcu_read_unlock(void)
{
	preempt_enable();
}

/* The forms that the verifier's kfuncs call. */
void __migrate_disable(void)
{
	migrate_disable_inline(current());
}

void __migrate_enable(void)
{
	migrate_enable_inline(current());
}
#endif

traceable void migrate_disable(void)
{
	migrate_disable_inline(current());
}

/* What a move of the task to other CPUs needs, built on the stack of this function. */
struct affinity {
	void *new_mask;
	void *user_mask;
	u32 flags;
};

#define MIGRATE_ENABLE_FLAG 4

extern void __set_cpus_allowed_ptr(struct task *task, struct affinity *affinity);

always_inline struct affinity affinity_of(struct task *task)
{
	return (struct affinity){
		.new_mask = (char *)task + TASK_STRUCT_CPUS_MASK,
		.flags = MIGRATE_ENABLE_FLAG,
	};
}

traceable void migrate_enable(void)
{
	struct task *task = current();
#if GUEST_KERNEL < 700
	/* Filled in before anything is tested. */
	struct affinity affinity = affinity_of(task);

	__asm__ __volatile__("" ::"m"(affinity));
#endif
	u16 depth = AT(u16, task, TASK_STRUCT_MIGRATION_DISABLED);

	if (unlikely(depth > 1)) {
		AT(u16, task, TASK_STRUCT_MIGRATION_DISABLED) = depth - 1;
		return;
	}
	preempt_disable();
	if (unlikely(has_foreign_mask(task))) {
#if GUEST_KERNEL >= 700
		struct affinity affinity = affinity_of(task);
#endif

		__set_cpus_allowed_ptr(task, &affinity);
	}
	barrier();
	AT(u16, task, TASK_STRUCT_MIGRATION_DISABLED) = through_register(u32, 0);
	barrier();
	AT(u32, runqueues + RQ_NR_PINNED, my_cpu_offset()) -= 1;
	preempt_enable();
}
