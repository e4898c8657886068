/* SPDX-License-Identifier: GPL-2.0-only */
/* Locks that a CPU records in a table while it holds them. Included by lock.h. */
#ifndef GUEST_RESILIENT_LOCK_H
#define GUEST_RESILIENT_LOCK_H

#define HELD_MAX 32

extern char rqspinlock_held_locks[];

#if defined(__x86_64__)
always_inline void held_push(void *lock)
{
	s32 held = 1;

	__asm__ __volatile__("xaddl %0, %%gs:rqspinlock_held_locks(%%rip)"
			     : "+r"(held)::"memory", "cc");
	if (likely(held + 1 < HELD_MAX)) {
		s64 slot = held;

		check_below((u64)slot, HELD_MAX);
		__asm__ __volatile__("movq %0, %%gs:rqspinlock_held_locks+%c2(,%1,8)" ::"r"(lock),
				     "r"(slot), "i"(RQSPINLOCK_HELD_LOCKS)
				     : "memory");
	}
}

always_inline void held_pop(void)
{
	char *table = rqspinlock_held_locks + my_cpu_offset();
	s32 held = AT(s32, table, RQSPINLOCK_HELD_CNT);

	if (likely(held < HELD_MAX)) {
		s64 slot = held - 1;

		check_below((u64)slot, HELD_MAX);
		AT(u64, table, RQSPINLOCK_HELD_LOCKS + slot * 8) = 0;
	}
	__asm__ __volatile__("decl %%gs:rqspinlock_held_locks(%%rip)" ::: "memory", "cc");
}
#else
always_inline void held_push(void *lock)
{
	s32 held = percpu_add_return32(rqspinlock_held_locks, 1);

	if (likely(held < HELD_MAX)) {
		s64 slot;

		preempt_disable();
		slot = held - 1;
		check_below((u64)slot, HELD_MAX);
		ONCE(u64, rqspinlock_held_locks + RQSPINLOCK_HELD_LOCKS + slot * 8,
		     my_cpu_offset()) = (u64)lock;
		preempt_enable_notrace();
	}
}

always_inline void held_pop(void)
{
	char *table = rqspinlock_held_locks + my_cpu_offset();
	s32 held = AT(s32, table, RQSPINLOCK_HELD_CNT);

	if (likely(held < HELD_MAX)) {
		s64 slot = held - 1;

		check_below((u64)slot, HELD_MAX);
		AT(u64, table, RQSPINLOCK_HELD_LOCKS + slot * 8) = 0;
	}
	percpu_add32(rqspinlock_held_locks, -1);
}

#endif

extern s32 resilient_queued_spin_lock_slowpath(void *lock, u32 found);

/* Preemption is off while a lock is held; nobody contends, so the slow path is a trap. */
always_inline void spin_lock(void *lock)
{
	needs_frame();
	preempt_disable();
	held_push(lock);
	if (unlikely(!lock_word(lock)))
		cold_call(resilient_queued_spin_lock_slowpath);
}

/* The lock is given up first: an interrupt between must find the table longer, not shorter. */
always_inline void spin_release(void *lock)
{
	needs_frame();
	unlock_word(lock);
	held_pop();
}

/* With interrupts off: returns their state before. */
always_inline u64 spin_lock_save(void *lock)
{
	u64 flags = irq_save();

	spin_lock(lock);
	return flags;
}

always_inline void spin_unlock_restore(void *lock, u64 flags)
{
	spin_release(lock);
	irq_restore(flags);
	preempt_enable();
}

always_inline void spin_unlock(void *lock)
{
	spin_release(lock);
	preempt_enable();
}

#endif
