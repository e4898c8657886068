/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Resilient queued spin locks, uncontended: each CPU keeps a table of the locks it holds
 * (for deadlock detection), the lock itself is one compare-and-exchange.
 */
#ifndef GUEST_LOCK_H
#define GUEST_LOCK_H

#include "guest.h"

#define HELD_MAX 32

#if defined(__x86_64__)
extern char rqspinlock_held_locks[];

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

/* Acquires if free; returns whether it was. The address is the lock's, as base + 8 often. */
always_inline _Bool lock_word(void *lock)
{
	u32 found = 0;
	_Bool taken;

	__asm__ __volatile__(LOCK "cmpxchgl %[one], %[word]"
			     : "+a"(found), [word] "+m"(*(u32 *)lock), "=@ccz"(taken)
			     : [one] "r"(1)
			     : "memory");
	return taken;
}

always_inline void unlock_word(void *lock)
{
	barrier();
	ONCE(u8, lock, 0) = 0;
}
#else
extern char rqspinlock_held_locks[];

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

always_inline _Bool lock_word(void *lock)
{
	return atomic32_compare_exchange_acquire(lock, 0, 1) == 0;
}

always_inline void unlock_word(void *lock)
{
	__asm__ __volatile__("stlrb wzr, %0" : "=Q"(*(u8 *)lock)::"memory");
}
#endif

extern s32 resilient_queued_spin_lock_slowpath(void *lock, u32 found);

/* Preemption is off while a lock is held; nobody contends, so the slow path is a trap. */
always_inline void res_spin_lock(void *lock)
{
	needs_frame();
	preempt_disable();
	held_push(lock);
	if (unlikely(!lock_word(lock)))
		cold_call(resilient_queued_spin_lock_slowpath);
}

/* The lock is given up first: an interrupt between must find the table longer, not shorter. */
always_inline void res_spin_release(void *lock)
{
	needs_frame();
	unlock_word(lock);
	held_pop();
}

always_inline void res_spin_unlock(void *lock)
{
	res_spin_release(lock);
	preempt_enable();
}

#endif
