/* SPDX-License-Identifier: GPL-2.0-only */
/* Plain spin locks of kernels before 7.0: functions on x86_64. Included by lock.h. */
#ifndef GUEST_RAW_LOCK_H
#define GUEST_RAW_LOCK_H

extern void queued_spin_lock_slowpath(void *lock);

#if defined(__x86_64__)
extern void _raw_spin_lock(void *lock);
extern void _raw_spin_unlock(void *lock);
extern u64 _raw_spin_lock_irqsave(void *lock);
extern void _raw_spin_unlock_irqrestore(void *lock, u64 flags);

#define spin_lock(lock) _raw_spin_lock(lock)
#define spin_unlock(lock) _raw_spin_unlock(lock)
#define spin_lock_save(lock) _raw_spin_lock_irqsave(lock)
#define spin_unlock_restore(lock, flags) _raw_spin_unlock_irqrestore(lock, flags)
#else
always_inline void spin_lock(void *lock)
{
	needs_frame();
	if (unlikely(!lock_word(lock)))
		cold_call(queued_spin_lock_slowpath);
}

always_inline void spin_unlock(void *lock)
{
	unlock_word(lock);
}

always_inline u64 spin_lock_save(void *lock)
{
	u64 flags = irq_save();

	spin_lock(lock);
	return flags;
}

always_inline void spin_unlock_restore(void *lock, u64 flags)
{
	spin_unlock(lock);
	irq_restore(flags);
}
#endif

#endif
