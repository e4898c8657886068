/* SPDX-License-Identifier: GPL-2.0-only */
/* Stacks for programs: as an array, or kept once each in a map under a number. */
#include "freelist.h"
#include "jhash.h"
#include "stack_walk.h"
#include "string.h"

#define FAST_STACK_CMP (1ul << 9)
#define REUSE_STACKID (1ul << 10)

struct stack_bucket;

#define BUCKET_NODE(bucket) ((struct free_node *)((char *)(bucket) + STACK_MAP_BUCKET_FNODE))
#define BUCKET_IPS(bucket) ((u64 *)((char *)(bucket) + STACK_MAP_BUCKET_DATA))
#define FREE_LIST(map) ((struct freelist *)((char *)(map) + BPF_STACK_MAP_FREELIST))

/* A program's helper: `address` and `frame` come from its entry (stack_entry_*.S). */
s64 guest_get_stack(void *context, u64 *buffer, u32 size, u64 flags, u64 address, u64 frame)
{
	u32 count;

	if (unlikely(flags & ~(SKIP_MASK | USER_STACK) || size % 8)) {
		memset(buffer, 0, size);
		return -EINVAL;
	}
	if (unlikely(flags & USER_STACK))
		cold_call(guest_user_stack);
	count = walk_stack(buffer, size / 8, flags & SKIP_MASK, address, frame);
	memset(buffer + count, 0, size - count * 8);
	return count * 8;
}

s64 guest_get_stackid(void *context, struct map *map, u64 flags, u64 unused, u64 address,
		      u64 frame)
{
	u32 room = AT(u32, map, BPF_MAP_VALUE_SIZE) / 8, hash, id, count;
	struct stack_bucket *bucket, *new, **place;
	u64 addresses[MAX_FRAMES];

	if (unlikely(flags & ~(SKIP_MASK | USER_STACK | FAST_STACK_CMP | REUSE_STACKID)))
		return -EINVAL;
	if (unlikely(flags & USER_STACK))
		cold_call(guest_user_stack);
	count = walk_stack(addresses, room < MAX_FRAMES ? room : MAX_FRAMES, flags & SKIP_MASK,
			   address, frame);
	if (unlikely(!count))
		return -EFAULT;
	hash = jhash_words((const u32 *)addresses, count * 2, 0);
	id = hash & (AT(u32, map, BPF_STACK_MAP_N_BUCKETS) - 1);
	place = &AT(struct stack_bucket *, map, BPF_STACK_MAP_BUCKETS + (u64)id * 8);
	bucket = ONCE(struct stack_bucket *, place, 0);
	if (bucket && AT(u32, bucket, STACK_MAP_BUCKET_HASH) == hash) {
		if (flags & FAST_STACK_CMP)
			return id;
		if (AT(u32, bucket, STACK_MAP_BUCKET_NR) == count &&
		    !memcmp(BUCKET_IPS(bucket), addresses, count * 8))
			return id;
	}
	/* Another stack has the number. */
	if (bucket && !(flags & REUSE_STACKID))
		return -EEXIST;
	new = (struct stack_bucket *)pcpu_freelist_pop(FREE_LIST(map));
	if (unlikely(!new))
		return -ENOMEM;
	new = (struct stack_bucket *)((char *)new - STACK_MAP_BUCKET_FNODE);
	memcpy(BUCKET_IPS(new), addresses, count * 8);
	AT(u32, new, STACK_MAP_BUCKET_HASH) = hash;
	AT(u32, new, STACK_MAP_BUCKET_NR) = count;
	bucket = (struct stack_bucket *)exchange64(place, (u64)new);
	if (bucket)
		pcpu_freelist_push(FREE_LIST(map), BUCKET_NODE(bucket));
	return id;
}
