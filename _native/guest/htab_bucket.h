/* SPDX-License-Identifier: GPL-2.0-only */
/* Locks of hash maps' buckets: interrupts off, a resilient spin lock (7.0) or a plain one. */
#ifndef GUEST_HTAB_BUCKET_H
#define GUEST_HTAB_BUCKET_H

#include "htab.h"

extern direct s32 htab_lock_bucket(struct bucket *bucket, u64 *flags);

#if defined(__x86_64__)
always_inline void htab_unlock_bucket(struct bucket *bucket, u64 flags)
{
	res_spin_release((char *)bucket + BUCKET_RAW_LOCK);
	irq_restore(flags);
	preempt_enable();
}

/* The same with the enabling of interrupts laid out elsewhere. */
always_inline void htab_unlock_bucket_far(struct bucket *bucket, u64 flags)
{
	res_spin_release((char *)bucket + BUCKET_RAW_LOCK);
	if (usual_but_far(flags & FLAGS_IF))
		irq_restore(FLAGS_IF);
	preempt_enable();
}
#else
extern direct void htab_unlock_bucket(struct bucket *bucket, u64 flags);
#define htab_unlock_bucket_far htab_unlock_bucket
#endif

#endif
