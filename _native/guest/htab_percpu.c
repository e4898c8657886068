/* SPDX-License-Identifier: GPL-2.0-only */
/* Updating per-CPU hash maps: existing values where they are, new ones on every CPU. */
#include "htab.h"
#include "htab_bucket.h"

traceable s64 htab_percpu_map_update_elem(struct htab *htab, const void *key, const void *value,
					  u64 flags)
{
	struct place place;
	struct elem *elem;
	u64 saved = 0;
	s64 result;

	if (unlikely(flags > BPF_EXIST))
		return -EINVAL;
	place = place_of(htab, key);
	result = lock_bucket(htab, place, &saved);
	if (unlikely(result))
		return result;
	elem = find_in(place, key);
	result = check_flags(elem, flags);
	if (unlikely(result))
		goto unlock;
	if (elem) {
		if (unlikely(has_record(htab)))
			cold_call(bpf_obj_cancel_fields);
		memcpy(this_cpu_pointer(char, *percpu_pointer(elem, place.key_size)), value,
		       AT(u32, htab, BPF_MAP_VALUE_SIZE));
		goto unlock;
	}
	elem = alloc_htab_elem(htab, key, value, place.key_size, place.hash, 1, 0,
			       0 MAP_FLAGS(0));
	if (unlikely((u64)elem > -4096ul))
		result = (s64)elem;
	else
		link_first(place.bucket, elem);
unlock:
	unlock_bucket(htab, place, saved);
	return result;
}
