/* SPDX-License-Identifier: GPL-2.0-only */
/* Where values of arrays lie. */
#ifndef GUEST_ARRAY_H
#define GUEST_ARRAY_H

#include "guest.h"

#define MAP_TYPE_PERCPU_HASH 5
#define MAP_TYPE_PERCPU_ARRAY 6
#define MAP_TYPE_LRU_PERCPU_HASH 10

struct array;

always_inline char *array_value(struct array *array, u32 index)
{
	return (char *)array + BPF_ARRAY_VALUE +
	       (u64)AT(u32, array, BPF_ARRAY_ELEM_SIZE) *
		       (index & AT(u32, array, BPF_ARRAY_INDEX_MASK));
}

/* The per-CPU pointer of a value. */
always_inline char *percpu_slot(struct array *array, u32 index)
{
	u32 slot = index & AT(u32, array, BPF_ARRAY_INDEX_MASK);

	return AT(char *, array, BPF_ARRAY_VALUE + (u64)slot * 8);
}

always_inline char *percpu_value(struct array *array, u32 index)
{
	return this_cpu_pointer(char, percpu_slot(array, index));
}

#endif
