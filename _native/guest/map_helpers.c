/* SPDX-License-Identifier: GPL-2.0-only */
/* The helpers as programs call them when the map's own function is not called directly. */
#include "guest.h"

#define OPERATION(map, member, type) AT(type, AT(char *, map, BPF_MAP_OPS), member)

traceable void *bpf_map_lookup_elem(struct map *map, const void *key)
{
	return OPERATION(map, BPF_MAP_OPS_MAP_LOOKUP_ELEM,
			 void *(*)(struct map *, const void *))(map, key);
}

traceable s64 bpf_map_update_elem(struct map *map, const void *key, const void *value, u64 flags)
{
	return OPERATION(map, BPF_MAP_OPS_MAP_UPDATE_ELEM,
			 s64(*)(struct map *, const void *, const void *, u64))(map, key, value,
										  flags);
}

traceable s64 bpf_map_delete_elem(struct map *map, const void *key)
{
	return OPERATION(map, BPF_MAP_OPS_MAP_DELETE_ELEM, s64(*)(struct map *, const void *))(map,
											       key);
}

traceable s64 bpf_map_push_elem(struct map *map, const void *value, u64 flags)
{
	return OPERATION(map, BPF_MAP_OPS_MAP_PUSH_ELEM,
			 s64(*)(struct map *, const void *, u64))(map, value, flags);
}

traceable s64 bpf_map_pop_elem(struct map *map, void *value)
{
	return OPERATION(map, BPF_MAP_OPS_MAP_POP_ELEM, s64(*)(struct map *, void *))(map, value);
}

traceable s64 bpf_map_peek_elem(struct map *map, void *value)
{
	return OPERATION(map, BPF_MAP_OPS_MAP_PEEK_ELEM, s64(*)(struct map *, void *))(map, value);
}

traceable void *bpf_map_lookup_percpu_elem(struct map *map, const void *key, u32 cpu)
{
	return OPERATION(map, BPF_MAP_OPS_MAP_LOOKUP_PERCPU_ELEM,
			 void *(*)(struct map *, const void *, u32))(map, key, cpu);
}

traceable s64 bpf_for_each_map_elem(struct map *map, void *callback, void *context, u64 flags)
{
	return OPERATION(map, BPF_MAP_OPS_MAP_FOR_EACH_CALLBACK,
			 s64(*)(struct map *, void *, void *, u64))(map, callback, context, flags);
}
