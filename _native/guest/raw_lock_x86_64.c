/* SPDX-License-Identifier: GPL-2.0-only */
/* Spin locks as functions, as kernels before 7.0 call them. */
#include "lock.h"

#if GUEST_KERNEL < 700

noinline void _raw_spin_lock(void *lock)
{
	preempt_disable();
	if (unlikely(!lock_word(lock)))
		cold_call(queued_spin_lock_slowpath);
}

noinline void _raw_spin_unlock(void *lock)
{
	unlock_word(lock);
	preempt_enable();
}

noinline u64 _raw_spin_lock_irqsave(void *lock)
{
	u64 flags = irq_save();

	preempt_disable();
	if (unlikely(!lock_word(lock)))
		cold_call(queued_spin_lock_slowpath);
	return flags;
}

noinline void _raw_spin_unlock_irqrestore(void *lock, u64 flags)
{
	unlock_word(lock);
	irq_restore(flags);
	preempt_enable();
}

#endif
