/* SPDX-License-Identifier: GPL-2.0-only */
/* Hash maps that replace their least recently used elements when full. */
#include "htab.h"
#include "htab_bucket.h"
#include "lru.h"

#define LRU(htab) ((struct lru *)((char *)(htab) + BPF_HTAB_FREELIST))
#define LRU_NODE(elem) ((struct lru_node *)((char *)(elem) + HTAB_ELEM_LRU_NODE))
#define ELEM(node) ((struct elem *)((char *)(node) - HTAB_ELEM_LRU_NODE))

always_inline void set_reference(struct lru_node *node)
{
	if (!ONCE(u8, node, BPF_LRU_NODE_REF))
		ONCE(u8, node, BPF_LRU_NODE_REF) = 1;
}

/* Called by the lists to take an element out of its bucket; whether it was still there. */
noinline _Bool htab_lru_map_delete_node(void *map, struct lru_node *node)
{
	struct htab *htab = map;
	struct elem *wanted = ELEM(node);
	struct place place = { .hash = AT(u32, wanted, HTAB_ELEM_HASH) };
	_Bool found = 0;
	u64 link, saved;

	place.bucket = select_bucket(htab, place.hash);
	if (unlikely(lock_bucket(htab, place, &saved)))
		return 0;
	for (link = AT(u64, place.bucket, BUCKET_HEAD); !is_end(link); link = AT(u64, link, HTAB_ELEM_NEXT)) {
		if ((struct elem *)link == wanted) {
			unlink(wanted);
			check_and_cancel_fields(htab, wanted);
			discount_element(htab);
			found = 1;
			break;
		}
	}
	unlock_bucket(htab, place, saved);
	return found;
}

direct void htab_lru_push_free(struct htab *htab, struct elem *elem)
{
	check_and_cancel_fields(htab, elem);
	discount_element(htab);
	bpf_lru_push_free(LRU(htab), LRU_NODE(elem));
}

traceable void *htab_lru_map_lookup_elem(struct htab *htab, const void *key)
{
	struct elem *elem = __htab_map_lookup_elem(htab, key);

	if (!elem)
		return 0;
	set_reference(LRU_NODE(elem));
	return ELEM_VALUE(elem, AT(u32, htab, BPF_MAP_KEY_SIZE));
}

/* A node is taken before the bucket is locked: taking one may lock other buckets. */
always_inline struct elem *take_elem(struct htab *htab, struct place place, const void *key)
{
	struct lru_node *node = bpf_lru_pop_free(LRU(htab), place.hash);

	if (unlikely(!node))
		return 0;
	count_element(htab);
	memcpy(ELEM_KEY(ELEM(node)), key, place.key_size);
	return ELEM(node);
}

traceable s64 htab_lru_map_update_elem(struct htab *htab, const void *key, const void *value,
				       u64 flags)
{
	struct elem *elem, *old;
	struct place place;
	u64 saved = 0;
	s64 result;

	if (unlikely(flags > BPF_EXIST))
		return -EINVAL;
	place = place_of(htab, key);
	elem = take_elem(htab, place, key);
	if (unlikely(!elem))
		return -ENOMEM;
	memcpy(ELEM_VALUE(elem, place.key_size), value, AT(u32, htab, BPF_MAP_VALUE_SIZE));
	result = lock_bucket(htab, place, &saved);
	if (unlikely(result))
		goto give_back;
	old = find_in(place, key);
	result = check_flags(old, flags);
	if (likely(!result)) {
		link_first(place.bucket, elem);
		if (old) {
			set_reference(LRU_NODE(elem));
			unlink(old);
		}
	}
	unlock_bucket(htab, place, saved);
	if (likely(!result)) {
		if (old)
			htab_lru_push_free(htab, old);
		return 0;
	}
give_back:
	htab_lru_push_free(htab, elem);
	return result;
}

traceable s64 htab_lru_map_delete_elem(struct htab *htab, const void *key)
{
	struct place place = place_of(htab, key);
	struct elem *elem;
	u64 saved = 0;
	s64 result;

	result = lock_bucket(htab, place, &saved);
	if (unlikely(result))
		return result;
	elem = find_in(place, key);
	if (elem)
		unlink(elem);
	unlock_bucket(htab, place, saved);
	if (!elem)
		return -ENOENT;
	htab_lru_push_free(htab, elem);
	return 0;
}

traceable void *htab_lru_percpu_map_lookup_elem(struct htab *htab, const void *key)
{
	struct elem *elem = __htab_map_lookup_elem(htab, key);

	if (!elem)
		return 0;
	set_reference(LRU_NODE(elem));
	return this_cpu_pointer(char, *percpu_pointer(elem, AT(u32, htab, BPF_MAP_KEY_SIZE)));
}

/* Existing values change where they are, so an element is needed only for a new key. */
traceable s64 htab_lru_percpu_map_update_elem(struct htab *htab, const void *key,
					      const void *value, u64 flags)
{
	struct elem *elem = 0, *old;
	struct place place;
	u64 saved = 0;
	s64 result;

	if (unlikely(flags > BPF_EXIST))
		return -EINVAL;
	place = place_of(htab, key);
	if (flags != BPF_EXIST) {
		elem = take_elem(htab, place, key);
		if (unlikely(!elem))
			return -ENOMEM;
	}
	result = lock_bucket(htab, place, &saved);
	if (unlikely(result))
		goto give_back;
	old = find_in(place, key);
	result = check_flags(old, flags);
	if (unlikely(result))
		goto unlock;
	if (old) {
		set_reference(LRU_NODE(old));
		memcpy(this_cpu_pointer(char, *percpu_pointer(old, place.key_size)), value,
		       AT(u32, htab, BPF_MAP_VALUE_SIZE));
	} else {
		pcpu_init_value(htab, *percpu_pointer(elem, place.key_size), value, 0);
		link_first(place.bucket, elem);
		elem = 0;
	}
unlock:
	unlock_bucket(htab, place, saved);
give_back:
	if (elem)
		htab_lru_push_free(htab, elem);
	return result;
}
