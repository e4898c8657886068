/* SPDX-License-Identifier: GPL-2.0-only */
/* Array maps and per-CPU arrays, and the helpers that reach a map's operations. */
#include "guest.h"
#include "htab.h"

struct array;

always_inline u64 array_offset(struct array *array, u32 index)
{
	return (u64)AT(u32, array, BPF_ARRAY_ELEM_SIZE) *
	       (index & AT(u32, array, BPF_ARRAY_INDEX_MASK));
}

traceable void *array_map_lookup_elem(struct array *array, const u32 *key)
{
	u32 index = *key;

	if (unlikely(index >= AT(u32, array, BPF_MAP_MAX_ENTRIES)))
		return 0;
	return (char *)array + BPF_ARRAY_VALUE + array_offset(array, index);
}

always_inline char *percpu_value(struct array *array, u32 index)
{
	u32 slot = index & AT(u32, array, BPF_ARRAY_INDEX_MASK);
	void *pointer = AT(void *, array, BPF_ARRAY_VALUE + (u64)slot * 8);

	return this_cpu_pointer(char, pointer);
}

traceable void *percpu_array_map_lookup_elem(struct array *array, const u32 *key)
{
	u32 index = *key;

	if (unlikely(index >= AT(u32, array, BPF_MAP_MAX_ENTRIES)))
		return 0;
	return percpu_value(array, index);
}

#define MAP_TYPE_PERCPU_ARRAY 6

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
		memcpy((char *)array + BPF_ARRAY_VALUE + array_offset(array, index), value, size);
	return 0;
}

traceable s64 array_map_delete_elem(struct array *array, const u32 *key)
{
	return -EINVAL;
}

/* The helpers as programs call them when the map's own function is not called directly. */
#define OPERATION(member, type) \
	AT(type, AT(char *, map, BPF_MAP_OPS), member)

traceable void *bpf_map_lookup_elem(struct map *map, const void *key)
{
	return OPERATION(BPF_MAP_OPS_MAP_LOOKUP_ELEM, void *(*)(struct map *, const void *))(map, key);
}

traceable s64 bpf_map_update_elem(struct map *map, const void *key, const void *value, u64 flags)
{
	return OPERATION(BPF_MAP_OPS_MAP_UPDATE_ELEM,
			 s64(*)(struct map *, const void *, const void *, u64))(map, key, value, flags);
}

traceable s64 bpf_map_delete_elem(struct map *map, const void *key)
{
	return OPERATION(BPF_MAP_OPS_MAP_DELETE_ELEM, s64(*)(struct map *, const void *))(map, key);
}
