/* SPDX-License-Identifier: GPL-2.0-only */
/* Locks of hash maps' buckets, held with interrupts off. */
#ifndef GUEST_HTAB_BUCKET_H
#define GUEST_HTAB_BUCKET_H

#include "htab.h"

#define BUCKET_LOCK(bucket) ((char *)(bucket) + BUCKET_RAW_LOCK)

#if GUEST_KERNEL >= 700
extern direct s32 htab_lock_bucket(struct bucket *bucket, u64 *flags);

/* `htab` and the hash only choose a counter before 7.0. */
#define lock_bucket(htab, place, flags) htab_lock_bucket((place).bucket, flags)
#if defined(__x86_64__)
#define unlock_bucket(htab, place, flags) spin_unlock_restore(BUCKET_LOCK((place).bucket), flags)
#else
extern direct void htab_unlock_bucket(struct bucket *bucket, u64 flags);
#define unlock_bucket(htab, place, flags) htab_unlock_bucket((place).bucket, flags)
#endif
#else
extern direct s32 htab_lock_bucket(struct htab *htab, struct bucket *bucket, u32 hash, u64 *flags);
#define lock_bucket(htab, place, flags) htab_lock_bucket(htab, (place).bucket, (place).hash, flags)

/* A group of buckets counts, per CPU, whether this CPU is inside of one already. */
#define LOCK_GROUPS 8u

always_inline char *lock_count(struct htab *htab, u32 hash)
{
	u32 mask = AT(u32, htab, BPF_HTAB_N_BUCKETS) - 1;

	if (mask > LOCK_GROUPS - 1)
		mask = LOCK_GROUPS - 1;
	return AT(char *, htab, BPF_HTAB_MAP_LOCKED + (u64)(hash & mask) * 8);
}

always_inline void unlock_bucket(struct htab *htab, struct place place, u64 flags)
{
	spin_unlock(BUCKET_LOCK(place.bucket));
#if defined(__x86_64__)
	percpu_dec32(lock_count(htab, place.hash));
#else
	AT(u32, lock_count(htab, place.hash), my_cpu_offset()) -= 1;
#endif
	irq_restore(flags);
	preempt_enable();
}
#endif

#endif
