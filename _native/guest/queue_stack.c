/* SPDX-License-Identifier: GPL-2.0-only */
/* Queues and stacks: a ring of values under a lock, one place always empty. */
#include "guest.h"
#include "lock.h"
#include "string.h"

#define BPF_ANY 0
#define BPF_EXIST 2

struct queue;

#define HEAD(queue) AT(u32, queue, BPF_QUEUE_STACK_HEAD)
#define TAIL(queue) AT(u32, queue, BPF_QUEUE_STACK_TAIL)
#define SIZE(queue) AT(u32, queue, BPF_QUEUE_STACK_SIZE)

always_inline char *value_at(struct queue *queue, u32 index)
{
	return (char *)queue + BPF_QUEUE_STACK_ELEMENTS +
	       (u64)index * AT(u32, queue, BPF_MAP_VALUE_SIZE);
}

#define LOCK_OF(queue) ((char *)(queue) + BPF_QUEUE_STACK_LOCK)

/* The place behind one, in the ring. */
always_inline u32 next_index(struct queue *queue, u32 index)
{
	return unlikely(++index >= SIZE(queue)) ? 0 : index;
}

always_inline u32 newest_index(struct queue *queue)
{
	u32 index = HEAD(queue) - 1;

	return unlikely(index >= SIZE(queue)) ? SIZE(queue) - 1 : index;
}

/* The oldest value of a queue, the newest of a stack. */
always_inline s64 take(struct queue *queue, void *value, _Bool newest, _Bool remove)
{
	u32 size = AT(u32, queue, BPF_MAP_VALUE_SIZE);
	u64 flags = spin_lock_save(LOCK_OF(queue));
	s64 result = 0;

	if (unlikely(HEAD(queue) == TAIL(queue))) {
		memset(value, 0, size);
		result = -ENOENT;
	} else {
		u32 index = newest ? newest_index(queue) : TAIL(queue);

		memcpy(value, value_at(queue, index), size);
		if (remove && newest)
			HEAD(queue) = index;
		else if (remove)
			TAIL(queue) = next_index(queue, TAIL(queue));
	}
	spin_unlock_restore(LOCK_OF(queue), flags);
	return result;
}

traceable s64 queue_map_peek_elem(struct queue *queue, void *value)
{
	return take(queue, value, 0, 0);
}

traceable s64 queue_map_pop_elem(struct queue *queue, void *value)
{
	return take(queue, value, 0, 1);
}

traceable s64 stack_map_peek_elem(struct queue *queue, void *value)
{
	return take(queue, value, 1, 0);
}

traceable s64 stack_map_pop_elem(struct queue *queue, void *value)
{
	return take(queue, value, 1, 1);
}

/* With BPF_EXIST the oldest value of a full one gives way. */
traceable s64 queue_stack_map_push_elem(struct queue *queue, const void *value, u64 flags)
{
	_Bool replace = flags & BPF_EXIST;
	u64 saved;

	if (unlikely(flags != BPF_ANY && flags != BPF_EXIST))
		return -EINVAL;
	saved = spin_lock_save(LOCK_OF(queue));
	if (unlikely(next_index(queue, HEAD(queue)) == TAIL(queue))) {
		if (!replace) {
			spin_unlock_restore(LOCK_OF(queue), saved);
			return -E2BIG;
		}
		TAIL(queue) = next_index(queue, TAIL(queue));
	}
	memcpy(value_at(queue, HEAD(queue)), value, AT(u32, queue, BPF_MAP_VALUE_SIZE));
	HEAD(queue) = next_index(queue, HEAD(queue));
	spin_unlock_restore(LOCK_OF(queue), saved);
	return 0;
}
