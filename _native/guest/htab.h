/* SPDX-License-Identifier: GPL-2.0-only */
/* Hash maps: buckets of elements linked by nulls-terminated lists, elements preallocated. */
#ifndef GUEST_HTAB_H
#define GUEST_HTAB_H

#include "guest.h"
#include "jhash.h"
#include "lock.h"
#include "string.h"

#define BPF_ANY 0
#define BPF_NOEXIST 1
#define BPF_EXIST 2
#define BPF_F_LOCK 4
#define BPF_F_NO_PREALLOC 1

#define MAP_TYPE_HASH_OF_MAPS 13

#define POISON_PPREV 0xdead000000000122ul

#define ELEM_KEY(elem) ((char *)(elem) + HTAB_ELEM_KEY)
/* The value lies behind the key, at a multiple of eight. */
#define ELEM_VALUE(elem, key_size) (ELEM_KEY(elem) + ((((key_size) - 1) | 7) + 1))

struct htab;
struct elem;
struct bucket;

/* Where a key belongs. */
struct place {
	struct bucket *bucket;
	u32 hash, key_size;
};

/* htab_lookup.c */
extern direct struct elem *lookup_elem_raw(struct bucket *bucket, u32 hash, const void *key, u32 size);
extern direct struct elem *lookup_nulls_elem_raw(struct bucket *bucket, u32 hash, const void *key,
					  u32 size, u32 buckets);
extern void *__htab_map_lookup_elem(struct htab *htab, const void *key);

/* htab_elem.c */
#if GUEST_KERNEL >= 700
#define MAP_FLAGS(flags) , flags
#else
#define MAP_FLAGS(flags)
#endif
extern direct struct elem *alloc_htab_elem(struct htab *htab, const void *key, const void *value,
					   u32 key_size, u32 hash, _Bool percpu, _Bool all_cpus,
					   struct elem *old MAP_FLAGS(u64 map_flags));
extern void pcpu_init_value(struct htab *htab, char *pointer, const void *value, _Bool all_cpus);
extern direct void free_htab_elem(struct htab *htab, struct elem *elem);
extern direct void check_and_cancel_fields(struct htab *htab, struct elem *elem);

/* The end of a list is an odd word: the bucket's number, doubled, plus one. */
always_inline _Bool is_end(u64 link)
{
	return link & 1;
}

always_inline struct bucket *select_bucket(struct htab *htab, u32 hash)
{
	u32 mask = AT(u32, htab, BPF_HTAB_N_BUCKETS) - 1;

	return (struct bucket *)(AT(char *, htab, BPF_HTAB_BUCKETS) + (u64)(hash & mask) * SIZEOF_BUCKET);
}

always_inline struct place place_of(struct htab *htab, const void *key)
{
	struct place place;

	place.key_size = AT(u32, htab, BPF_MAP_KEY_SIZE);
	place.hash = htab_map_hash(key, place.key_size, AT(u32, htab, BPF_HTAB_HASHRND));
	place.bucket = select_bucket(htab, place.hash);
	return place;
}

always_inline struct elem *find_in(struct place place, const void *key)
{
	return lookup_elem_raw(place.bucket, place.hash, key, place.key_size);
}

/* What the flags of an update say about a key that exists (`old`) or does not. */
always_inline s64 check_flags(struct elem *old, u64 flags)
{
	if (old && unlikely((flags & ~(u64)BPF_F_LOCK) == BPF_NOEXIST))
		return -EEXIST;
	if (!old && unlikely((flags & ~(u64)BPF_F_LOCK) == BPF_EXIST))
		return -ENOENT;
	return 0;
}

always_inline void link_first(struct bucket *bucket, struct elem *elem)
{
	u64 first = AT(u64, bucket, BUCKET_HEAD);

	AT(u64, elem, HTAB_ELEM_NEXT) = first;
	AT(void *, elem, HTAB_ELEM_PPREV) = (char *)bucket + BUCKET_HEAD;
	store_release((char *)bucket + BUCKET_HEAD, (u64)elem);
	if (usual_but_far(!is_end(first)))
		AT(void *, first, HTAB_ELEM_PPREV) = (char *)elem + HTAB_ELEM_NEXT;
}

always_inline void unlink(struct elem *elem)
{
	u64 next = AT(u64, elem, HTAB_ELEM_NEXT);
	u64 *previous = AT(u64 *, elem, HTAB_ELEM_PPREV);

	*previous = next;
	if (usual_but_far(!is_end(next)))
		AT(u64 *, next, HTAB_ELEM_PPREV) = previous;
	AT(u64, elem, HTAB_ELEM_PPREV) = POISON_PPREV;
}

always_inline _Bool preallocated(struct htab *htab)
{
	return !(AT(u32, htab, BPF_MAP_MAP_FLAGS) & BPF_F_NO_PREALLOC);
}

/* A record of special fields (locks, timers ...) or an error in its place. */
always_inline _Bool has_record(struct htab *htab)
{
	u64 record = AT(u64, htab, BPF_MAP_RECORD);

	return record && record <= -4096ul;
}

always_inline void count_element(struct htab *htab)
{
	percpu_inc64(AT(void *, htab, BPF_MAP_ELEM_COUNT));
}

always_inline void discount_element(struct htab *htab)
{
	percpu_dec64(AT(void *, htab, BPF_MAP_ELEM_COUNT));
}

/* Per-CPU values: an element holds a per-CPU pointer behind its key. */
always_inline char **percpu_pointer(struct elem *elem, u32 key_size)
{
	return (char **)ELEM_VALUE(elem, key_size);
}

#endif
