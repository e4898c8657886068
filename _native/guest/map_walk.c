/* SPDX-License-Identifier: GPL-2.0-only */
/* Calling a program's function for every element of a map, until it returns one. */
#include "array.h"
#include "htab.h"

typedef u64 (*element_callback)(u64 map, u64 key, u64 value, u64 context, u64 fifth);

s64 bpf_for_each_array_elem(struct array *array, element_callback callback, void *context,
			    u64 flags)
{
	_Bool percpu = AT(u32, array, BPF_MAP_MAP_TYPE) == MAP_TYPE_PERCPU_ARRAY;
	u32 index, walked = 0;

	if (unlikely(flags))
		return -EINVAL;
	for (index = 0; index < AT(u32, array, BPF_MAP_MAX_ENTRIES); index++) {
		u32 key = index;
		char *value = percpu ? percpu_value(array, index) : array_value(array, index);

		walked++;
		if (callback((u64)array, (u64)&key, (u64)value, (u64)context, 0))
			break;
	}
	return walked;
}

s64 bpf_for_each_hash_elem(struct htab *htab, element_callback callback, void *context, u64 flags)
{
	u32 key_size = AT(u32, htab, BPF_MAP_KEY_SIZE), type = AT(u32, htab, BPF_MAP_MAP_TYPE);
	_Bool percpu = type == MAP_TYPE_PERCPU_HASH || type == MAP_TYPE_LRU_PERCPU_HASH;
	u32 index, walked = 0;

	if (unlikely(flags))
		return -EINVAL;
	for (index = 0; index < AT(u32, htab, BPF_HTAB_N_BUCKETS); index++) {
		u64 link = ONCE(u64, AT(char *, htab, BPF_HTAB_BUCKETS) + index * SIZEOF_BUCKET,
				BUCKET_HEAD);

		while (!is_end(link)) {
			struct elem *elem = (struct elem *)link;
			char *value = ELEM_VALUE(elem, key_size);

			if (percpu)
				value = this_cpu_pointer(char, *(char **)value);
			walked++;
			if (callback((u64)htab, (u64)ELEM_KEY(elem), (u64)value, (u64)context, 0))
				return walked;
			link = ONCE(u64, elem, HTAB_ELEM_NEXT);
		}
	}
	return walked;
}
