/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Queued spin locks, uncontended: the lock is one compare-and-exchange, the release a byte's
 * store. Since 7.0 they are resilient: each CPU keeps a table of the locks it holds (for
 * deadlock detection). Before, they are functions of their own on x86_64.
 */
#ifndef GUEST_LOCK_H
#define GUEST_LOCK_H

#include "guest.h"

/* Acquires if free; returns whether it was. */
#if defined(__x86_64__)
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
always_inline _Bool lock_word(void *lock)
{
	return atomic32_compare_exchange_acquire(lock, 0, 1) == 0;
}

always_inline void unlock_word(void *lock)
{
	__asm__ __volatile__("stlrb wzr, %0" : "=Q"(*(u8 *)lock)::"memory");
}
#endif

#if GUEST_KERNEL >= 700
#include "resilient_lock.h"
#else
#include "raw_lock.h"
#endif

#endif
