/* SPDX-License-Identifier: GPL-2.0-only */
#include "htab_bucket.h"

no_canary direct s32 htab_lock_bucket(struct bucket *bucket, u64 *flags)
{
	s32 result = 0;
	u64 saved;

	frame_of_cold_calls();
	saved = irq_save();
	res_spin_lock((char *)bucket + BUCKET_RAW_LOCK);
	*flags = saved;
	/* Callers test the result, as locks can fail on machines with contention. */
	__asm__("" : "+r"(result));
	return result;
}

#if defined(__aarch64__)
direct void htab_unlock_bucket(struct bucket *bucket, u64 flags)
{
	res_spin_release((char *)bucket + BUCKET_RAW_LOCK);
	irq_restore(flags);
	preempt_enable();
}
#endif
