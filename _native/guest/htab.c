/* SPDX-License-Identifier: GPL-2.0-only */
/* Updating and deleting elements of hash maps. */
#include "htab.h"
#include "htab_bucket.h"

traceable s64 htab_map_update_elem(struct htab *htab, const void *key, const void *value, u64 flags)
{
	struct elem *old, *elem;
	struct place place;
	u64 saved = 0;
	s64 result;

	if (unlikely((flags & ~(u64)BPF_F_LOCK) > BPF_EXIST))
		return -EINVAL;
	place = place_of(htab, key);
	/* Values with a lock of their own have a record, which maps here do not. */
	if (unlikely(flags & BPF_F_LOCK))
		return -EINVAL;
	result = lock_bucket(htab, place, &saved);
	if (usual_but_far(!result))
		goto locked;
	return result;
locked:
	old = find_in(place, key);
	if (usual_but_far(!old)) {
		result = -ENOENT;
		if (usual_but_far(flags != BPF_EXIST))
			goto replace;
		goto unlock;
	}
	result = -EEXIST;
	if (unlikely(flags == BPF_NOEXIST))
		goto unlock;
replace:
	elem = alloc_htab_elem(htab, key, value, place.key_size, place.hash, 0, 0,
			       old MAP_FLAGS(flags));
	if (unlikely((u64)elem > -4096ul)) {
		result = (s64)elem;
		goto unlock;
	}
	link_first(place.bucket, elem);
	if (old) {
		unlink(old);
		if (usual_but_far(preallocated(htab)))
			check_and_cancel_fields(htab, old);
	}
	unlock_bucket(htab, place, saved);
	if (usual_but_far(!old))
		return 0;
	if (unlikely(!preallocated(htab)))
		cold_call(bpf_mem_cache_free);
	return 0;
unlock:
	unlock_bucket(htab, place, saved);
	return result;
}

traceable s64 htab_map_delete_elem(struct htab *htab, const void *key)
{
	struct place place = place_of(htab, key);
	struct elem *elem;
	u64 saved = 0;
	s64 result;

	result = lock_bucket(htab, place, &saved);
	if (usual_but_far(!result))
		goto locked;
	return result;
locked:
	elem = find_in(place, key);
	result = -ENOENT;
	if (elem) {
		unlink(elem);
		result = 0;
	}
	unlock_bucket(htab, place, saved);
	if (usual_but_far(!elem))
		return result;
	free_htab_elem(htab, elem);
	return result;
}
