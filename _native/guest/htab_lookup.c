/* SPDX-License-Identifier: GPL-2.0-only */
/* Finding elements of hash maps. */
#include "htab.h"
#include "percpu.h"

always_inline _Bool matches(struct elem *elem, u32 hash, const void *key, u32 size)
{
	return AT(u32, elem, HTAB_ELEM_HASH) == hash && !memcmp(ELEM_KEY(elem), key, size);
}

/* Walks a bucket that cannot change. */
traceable direct struct elem *lookup_elem_raw(struct bucket *bucket, u32 hash, const void *key,
					      u32 size)
{
	u64 link = ONCE(u64, bucket, BUCKET_HEAD);

	if (is_end(link))
		return 0;
	do {
		if (matches((struct elem *)link, hash, key, size))
			return (struct elem *)link;
		link = ONCE(u64, link, HTAB_ELEM_NEXT);
	} while (!is_end(link));
	return 0;
}

/* Walks a bucket that may change: ending in another bucket's list means to begin again. */
traceable direct struct elem *lookup_nulls_elem_raw(struct bucket *bucket, u32 hash,
						    const void *key, u32 size, u32 buckets)
{
	u64 link;
	u32 end;

	do {
		link = ONCE(u64, bucket, BUCKET_HEAD);
		if (!is_end(link)) {
			do {
				if (matches((struct elem *)link, hash, key, size))
					return (struct elem *)link;
				link = ONCE(u64, link, HTAB_ELEM_NEXT);
			} while (!is_end(link));
		}
		end = buckets;
		__asm__("" : "+r"(end));
	} while (unlikely(link >> 1 != (hash & (end - 1))));
	return 0;
}

traceable void *__htab_map_lookup_elem(struct htab *htab, const void *key)
{
	struct place place = place_of(htab, key);

	return lookup_nulls_elem_raw(place.bucket, place.hash, key, place.key_size,
				     AT(u32, htab, BPF_HTAB_N_BUCKETS));
}

traceable void *htab_map_lookup_elem(struct htab *htab, const void *key)
{
	struct elem *elem = __htab_map_lookup_elem(htab, key);

	if (elem)
		return ELEM_VALUE(elem, AT(u32, htab, BPF_MAP_KEY_SIZE));
	return 0;
}

traceable void *htab_percpu_map_lookup_elem(struct htab *htab, const void *key)
{
	struct elem *elem = __htab_map_lookup_elem(htab, key);

	if (elem)
		return this_cpu_pointer(char,
					*percpu_pointer(elem, AT(u32, htab, BPF_MAP_KEY_SIZE)));
	return 0;
}

traceable void *htab_percpu_map_lookup_percpu_elem(struct htab *htab, const void *key, u32 cpu)
{
	struct elem *elem;

	if (unlikely(cpu >= nr_cpu_ids))
		return 0;
	elem = __htab_map_lookup_elem(htab, key);
	if (elem)
		return *percpu_pointer(elem, AT(u32, htab, BPF_MAP_KEY_SIZE)) +
		       __per_cpu_offset[cpu];
	return 0;
}
