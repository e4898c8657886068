/* SPDX-License-Identifier: GPL-2.0-only */
/* Reaching every CPU's copy of a per-CPU allocation. */
#ifndef GUEST_PERCPU_H
#define GUEST_PERCPU_H

#include "guest.h"

#if defined(__x86_64__)
#define MAX_CPUS 8192
#else
#define MAX_CPUS 512
#endif

extern u64 __per_cpu_offset[];
extern u32 nr_cpu_ids;
extern u64 __cpu_possible_mask[];
extern u64 _find_next_bit(const u64 *bitmap, u64 size, u64 start);

always_inline u32 next_possible_cpu(u64 from)
{
	return _find_next_bit(__cpu_possible_mask, nr_cpu_ids, from);
}

#define for_each_possible_cpu(cpu)                                                \
	for ((cpu) = next_possible_cpu(0); (cpu) < nr_cpu_ids; (cpu) = next_possible_cpu((cpu) + 1ul))

/* Copies whole words, one at a time: readers on other CPUs see old or new ones. */
always_inline void copy_words(char *to, const char *from, u32 size)
{
	while (size) {
		ONCE(u64, to, 0) = ONCE(u64, from, 0);
		to += 8;
		from += 8;
		size -= 8;
	}
}

always_inline void zero_words(char *to, u32 size)
{
	while (size) {
		ONCE(u64, to, 0) = 0;
		to += 8;
		size -= 8;
	}
}

#endif
