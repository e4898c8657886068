/* SPDX-License-Identifier: GPL-2.0-only */
#include "htab.h"
#include "freelist.h"

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

direct s32 htab_lock_bucket(struct bucket *bucket, u64 *flags)
{
	u64 saved = irq_save();
	s32 result = 0;

	res_spin_lock((char *)bucket + BUCKET_RAW_LOCK);
	*flags = saved;
	/* Callers test the result, as locks can fail on machines with contention. */
	__asm__("" : "+r"(result));
	return result;
}

#if defined(__aarch64__)
direct void htab_unlock_bucket(struct bucket *bucket, u64 flags)
{
	res_spin_release((char *)bucket + BUCKET_RAW_LOCK);
	irq_restore(flags);
	preempt_enable();
}
#endif

extern void bpf_obj_cancel_fields(struct htab *htab, void *value);

/* Values without special fields need nothing. */
traceable direct void check_and_cancel_fields(struct htab *htab, struct elem *elem)
{
	if (usual_but_far(!has_record(htab)))
		return;
	cold_call(bpf_obj_cancel_fields);
}

traceable void *__htab_map_lookup_elem(struct htab *htab, const void *key)
{
	u32 size = AT(u32, htab, BPF_MAP_KEY_SIZE);
	u32 hash = hash_key(key, size, AT(u32, htab, BPF_HTAB_HASHRND));

	return lookup_nulls_elem_raw(select_bucket(htab, hash), hash, key, size,
				     AT(u32, htab, BPF_HTAB_N_BUCKETS));
}

traceable void *htab_map_lookup_elem(struct htab *htab, const void *key)
{
	struct elem *elem = __htab_map_lookup_elem(htab, key);

	if (elem)
		return ELEM_VALUE(elem, AT(u32, htab, BPF_MAP_KEY_SIZE));
	return 0;
}

always_inline _Bool preallocated(struct htab *htab)
{
	return !(AT(u32, htab, BPF_MAP_MAP_FLAGS) & BPF_F_NO_PREALLOC);
}

/*
 * A new element with key and value set: the CPU's spare one if it replaces `old` (which
 * becomes the spare), otherwise one from the free lists.
 */
direct struct elem *alloc_htab_elem(struct htab *htab, const void *key, const void *value,
				      u32 key_size, u32 hash, struct elem *old)
{
	struct elem *elem;

	if (old) {
		struct elem **spare =
			this_cpu_pointer(struct elem *, AT(void *, htab, BPF_HTAB_EXTRA_ELEMS));

		elem = *spare;
		*spare = old;
	} else {
		struct free_node *node =
			__pcpu_freelist_pop((struct freelist *)((char *)htab + BPF_HTAB_FREELIST));

		if (unlikely(!node))
			return (struct elem *)-E2BIG;
		elem = (struct elem *)((char *)node - HTAB_ELEM_FNODE);
		percpu_inc64(AT(void *, htab, BPF_MAP_ELEM_COUNT));
	}
	memcpy(ELEM_KEY(elem), key, key_size);
	if (unlikely(has_record(htab)))
		cold_call(bpf_obj_cancel_fields);
	memcpy(ELEM_VALUE(elem, key_size), value, AT(u32, htab, BPF_MAP_VALUE_SIZE));
	AT(u32, elem, HTAB_ELEM_HASH) = hash;
	return elem;
}

traceable s64 htab_map_update_elem(struct htab *htab, const void *key, const void *value, u64 flags)
{
	struct elem *old, *elem;
	struct bucket *bucket;
	u64 saved = 0;
	u32 size, hash;
	s64 result;

	if (unlikely((flags & ~(u64)BPF_F_LOCK) > BPF_EXIST))
		return -EINVAL;
	size = AT(u32, htab, BPF_MAP_KEY_SIZE);
	hash = hash_key(key, size, AT(u32, htab, BPF_HTAB_HASHRND));
	bucket = select_bucket(htab, hash);
	/* Values with a lock of their own have a record, which maps here do not. */
	if (unlikely(flags & BPF_F_LOCK))
		return -EINVAL;
	result = htab_lock_bucket(bucket, &saved);
	if (usual_but_far(!result))
		goto locked;
	return result;
locked:
	old = lookup_elem_raw(bucket, hash, key, size);
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
	elem = alloc_htab_elem(htab, key, value, size, hash, old);
	if (unlikely((u64)elem > -4096ul)) {
		result = (s64)elem;
		goto unlock;
	}
	link_first(bucket, elem);
	if (old) {
		unlink(old);
		if (usual_but_far(preallocated(htab)))
			check_and_cancel_fields(htab, old);
	}
	htab_unlock_bucket_far(bucket, saved);
	if (usual_but_far(!old))
		return 0;
	if (unlikely(!preallocated(htab)))
		cold_call(bpf_mem_cache_free);
	return 0;
unlock:
	htab_unlock_bucket_far(bucket, saved);
	return result;
}

always_inline void drop_elem_count(struct htab *htab)
{
	percpu_dec64(AT(void *, htab, BPF_MAP_ELEM_COUNT));
}

/* Back to this CPU's free list; maps in maps have a reference to drop first. */
traceable direct void free_htab_elem(struct htab *htab, struct elem *elem)
{
	void (*put)(struct htab *, void *, _Bool) =
		AT(void (*)(struct htab *, void *, _Bool), AT(char *, htab, BPF_MAP_OPS),
		   BPF_MAP_OPS_MAP_FD_PUT_PTR);

	if (put)
		put(htab, AT(void *, ELEM_VALUE(elem, AT(u32, htab, BPF_MAP_KEY_SIZE)), 0), 1);
	if (unlikely(!preallocated(htab)))
		cold_call(bpf_mem_cache_free);
	drop_elem_count(htab);
	check_and_cancel_fields(htab, elem);
	pcpu_freelist_push((struct freelist *)((char *)htab + BPF_HTAB_FREELIST),
			   (struct free_node *)((char *)elem + HTAB_ELEM_FNODE));
}

traceable s64 htab_map_delete_elem(struct htab *htab, const void *key)
{
	u32 size = AT(u32, htab, BPF_MAP_KEY_SIZE);
	u32 hash = hash_key(key, size, AT(u32, htab, BPF_HTAB_HASHRND));
	struct bucket *bucket = select_bucket(htab, hash);
	struct elem *elem;
	u64 saved = 0;
	s64 result;

	result = htab_lock_bucket(bucket, &saved);
	if (usual_but_far(!result))
		goto locked;
	return result;
locked:
	elem = lookup_elem_raw(bucket, hash, key, size);
	result = -ENOENT;
	if (elem) {
		unlink(elem);
		result = 0;
	}
	htab_unlock_bucket(bucket, saved);
	if (usual_but_far(!elem))
		return result;
	free_htab_elem(htab, elem);
	return result;
}

/* Per-CPU values: an element holds a per-CPU pointer behind its key. */
always_inline char *percpu_pointer(struct elem *elem, u32 key_size)
{
	return AT(char *, ELEM_VALUE(elem, key_size), 0);
}

traceable void *htab_percpu_map_lookup_elem(struct htab *htab, const void *key)
{
	struct elem *elem = __htab_map_lookup_elem(htab, key);

	if (elem)
		return this_cpu_pointer(
			char, percpu_pointer(elem, AT(u32, htab, BPF_MAP_KEY_SIZE)));
	return 0;
}

extern u64 __per_cpu_offset[];
extern u32 nr_cpu_ids;

/* A new key starts with zeroes on every other CPU. */
always_inline void set_new_value(struct htab *htab, char *pointer, const void *value, u32 size)
{
	u32 cpu, mine = this_cpu_number();

	for (cpu = 0; cpu < nr_cpu_ids; cpu++) {
		char *target = pointer + __per_cpu_offset[cpu];
		u32 i;

		if (cpu == mine) {
			memcpy(target, value, size);
			continue;
		}
		for (i = 0; i < size; i += 8)
			ONCE(u64, target, i) = 0;
	}
}

traceable s64 htab_percpu_map_update_elem(struct htab *htab, const void *key, const void *value,
					  u64 flags)
{
	struct bucket *bucket;
	struct elem *elem;
	u64 saved = 0;
	u32 size, hash, value_size;
	s64 result;

	if (unlikely(flags > BPF_EXIST))
		return -EINVAL;
	size = AT(u32, htab, BPF_MAP_KEY_SIZE);
	value_size = AT(u32, htab, BPF_MAP_VALUE_SIZE);
	hash = hash_key(key, size, AT(u32, htab, BPF_HTAB_HASHRND));
	bucket = select_bucket(htab, hash);
	result = htab_lock_bucket(bucket, &saved);
	if (unlikely(result))
		return result;
	elem = lookup_elem_raw(bucket, hash, key, size);
	if (elem && unlikely(flags == BPF_NOEXIST)) {
		result = -EEXIST;
	} else if (elem) {
		memcpy(this_cpu_pointer(char, percpu_pointer(elem, size)), value, value_size);
	} else if (unlikely(flags == BPF_EXIST)) {
		result = -ENOENT;
	} else {
		struct free_node *node =
			__pcpu_freelist_pop((struct freelist *)((char *)htab + BPF_HTAB_FREELIST));

		if (unlikely(!node)) {
			result = -E2BIG;
		} else {
			elem = (struct elem *)((char *)node - HTAB_ELEM_FNODE);
			percpu_inc64(AT(void *, htab, BPF_MAP_ELEM_COUNT));
			memcpy(ELEM_KEY(elem), key, size);
			set_new_value(htab, percpu_pointer(elem, size), value, value_size);
			AT(u32, elem, HTAB_ELEM_HASH) = hash;
			link_first(bucket, elem);
		}
	}
	htab_unlock_bucket(bucket, saved);
	return result;
}
