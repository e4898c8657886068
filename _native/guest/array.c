/* SPDX-License-Identifier: GPL-2.0-only */
/* Array maps and per-CPU arrays. */
#include "array.h"
#include "percpu.h"
#include "string.h"

#define BPF_NOEXIST 1
#define BPF_EXIST 2
#define BPF_F_LOCK 4

traceable void *array_map_lookup_elem(struct array *array, const u32 *key)
{
	u32 index = *key;

	if (unlikely(index >= AT(u32, array, BPF_MAP_MAX_ENTRIES)))
		return 0;
	return array_value(array, index);
}

traceable void *percpu_array_map_lookup_elem(struct array *array, const u32 *key)
{
	u32 index = *key;

	if (unlikely(index >= AT(u32, array, BPF_MAP_MAX_ENTRIES)))
		return 0;
	return percpu_value(array, index);
}

traceable void *percpu_array_map_lookup_percpu_elem(struct array *array, const u32 *key, u32 cpu)
{
	u32 index = *key;

	if (unlikely(cpu >= nr_cpu_ids || index >= AT(u32, array, BPF_MAP_MAX_ENTRIES)))
		return 0;
	return percpu_slot(array, index) + __per_cpu_offset[cpu];
}

traceable s64 array_map_update_elem(struct array *array, const u32 *key, const void *value,
				    u64 flags)
{
	u32 index = *key;
	u32 size;

	if (unlikely((flags & ~(u64)BPF_F_LOCK) > BPF_EXIST))
		return -EINVAL;
	if (unlikely(index >= AT(u32, array, BPF_MAP_MAX_ENTRIES)))
		return -E2BIG;
	/* Every index exists. */
	if (unlikely(flags & BPF_NOEXIST))
		return -EEXIST;
	if (unlikely(flags & BPF_F_LOCK))
		return -EINVAL;
	size = AT(u32, array, BPF_MAP_VALUE_SIZE);
	if (AT(u32, array, BPF_MAP_MAP_TYPE) == MAP_TYPE_PERCPU_ARRAY)
		memcpy(percpu_value(array, index), value, size);
	else
		memcpy(array_value(array, index), value, size);
	return 0;
}

traceable s64 array_map_delete_elem(struct array *array, const u32 *key)
{
	return -EINVAL;
}
