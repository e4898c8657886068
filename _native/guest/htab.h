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

#define POISON_PPREV 0xdead000000000122ul

#define ELEM_KEY(elem) ((char *)(elem) + HTAB_ELEM_KEY)
/* The value lies behind the key, at a multiple of eight. */
#define ELEM_VALUE(elem, key_size) (ELEM_KEY(elem) + ((((key_size) - 1) | 7) + 1))

struct htab;
struct elem;
struct bucket;

/* The end of a list is an odd word: the bucket's number, doubled, plus one. */
always_inline _Bool is_end(u64 link)
{
	return link & 1;
}

extern direct struct elem *lookup_elem_raw(struct bucket *bucket, u32 hash, const void *key, u32 size);
extern direct struct elem *lookup_nulls_elem_raw(struct bucket *bucket, u32 hash, const void *key,
					  u32 size, u32 buckets);
extern direct s32 htab_lock_bucket(struct bucket *bucket, u64 *flags);
extern direct void check_and_cancel_fields(struct htab *htab, struct elem *elem);

always_inline struct bucket *select_bucket(struct htab *htab, u32 hash)
{
	u32 mask = AT(u32, htab, BPF_HTAB_N_BUCKETS) - 1;

	return (struct bucket *)(AT(char *, htab, BPF_HTAB_BUCKETS) + (u64)(hash & mask) * SIZEOF_BUCKET);
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

#if defined(__x86_64__)
always_inline void htab_unlock_bucket(struct bucket *bucket, u64 flags)
{
	res_spin_release((char *)bucket + BUCKET_RAW_LOCK);
	irq_restore(flags);
	preempt_enable();
}

/* The same with the enabling of interrupts laid out elsewhere. */
always_inline void htab_unlock_bucket_far(struct bucket *bucket, u64 flags)
{
	res_spin_release((char *)bucket + BUCKET_RAW_LOCK);
	if (usual_but_far(flags & FLAGS_IF))
		irq_restore(FLAGS_IF);
	preempt_enable();
}
#else
extern direct void htab_unlock_bucket(struct bucket *bucket, u64 flags);
#define htab_unlock_bucket_far htab_unlock_bucket
#endif

/* A record of special fields (locks, timers ...) or an error in its place. */
always_inline _Bool has_record(struct htab *htab)
{
	u64 record = AT(u64, htab, BPF_MAP_RECORD);

	return record && record <= -4096ul;
}

#endif
