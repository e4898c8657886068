/* SPDX-License-Identifier: GPL-2.0-only */
#include "htab_bucket.h"

#if GUEST_KERNEL >= 700
no_canary direct s32 htab_lock_bucket(struct bucket *bucket, u64 *flags)
{
	s32 result = 0;

	frame_of_cold_calls();
	*flags = spin_lock_save(BUCKET_LOCK(bucket));
	/* Callers test the result, as locks can fail on machines with contention. */
	__asm__("" : "+r"(result));
	return result;
}

#if defined(__aarch64__)
direct void htab_unlock_bucket(struct bucket *bucket, u64 flags)
{
	spin_unlock_restore(BUCKET_LOCK(bucket), flags);
}
#endif
#else
always_inline _Bool enter_group(char *count)
{
#if defined(__x86_64__)
	return percpu_exchange_add32(count, 1) == 0;
#else
	return (AT(u32, count, my_cpu_offset()) += 1) == 1;
#endif
}

direct s32 htab_lock_bucket(struct htab *htab, struct bucket *bucket, u32 hash, u64 *flags)
{
	char *count = lock_count(htab, hash);
	s32 result = 0;
	u64 saved;

	preempt_disable();
	saved = irq_save();
	/* Only an interrupting program could find itself inside, which none is here. */
	if (unlikely(!enter_group(count)))
		cold_call(guest_not_modelled);
	spin_lock(BUCKET_LOCK(bucket));
	*flags = saved;
	__asm__("" : "+r"(result));
	return result;
}
#endif
