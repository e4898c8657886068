/* SPDX-License-Identifier: GPL-2.0-only */
/* Reference of a trampoline image while its call of the original function is under way. */
#include "guest.h"
#include "migrate.h"

/* Low bits of percpu_count_ptr: the reference is atomic or dead instead of per-CPU. */
#define REF_ATOMIC_OR_DEAD 3ul

#define REF(image) ((char *)(image) + BPF_TRAMP_IMAGE_PCREF)

void __bpf_tramp_enter(struct image *image)
{
	u64 count;

	needs_frame();
	rcu_read_lock();
	count = ONCE(u64, REF(image), PERCPU_REF_PERCPU_COUNT_PTR);
	if (likely(!(count & REF_ATOMIC_OR_DEAD)))
		percpu_inc64((void *)count);
	else
		atomic64_inc(AT(char *, REF(image), PERCPU_REF_DATA) + PERCPU_REF_DATA_COUNT);
	rcu_read_unlock();
}

void __bpf_tramp_exit(struct image *image)
{
	u64 count;

	rcu_read_lock();
	count = ONCE(u64, REF(image), PERCPU_REF_PERCPU_COUNT_PTR);
	if (likely(!(count & REF_ATOMIC_OR_DEAD)))
		percpu_dec64((void *)count);
	else if (unlikely(atomic64_dec_and_test(AT(char *, REF(image), PERCPU_REF_DATA) +
						PERCPU_REF_DATA_COUNT))) {
		void (*release)(void *) = AT(void (*)(void *),
					     AT(char *, REF(image), PERCPU_REF_DATA),
					     PERCPU_REF_DATA_RELEASE);

		release(REF(image));
	}
	rcu_read_unlock();
}
