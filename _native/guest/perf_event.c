/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Samples for perf buffers: bpf_perf_event_output finds the event of a CPU in the map and
 * writes a record (header, length, data) into that event's ring, which its reader maps.
 */
#include "array.h"
#include "ring_copy.h"

#define EOPNOTSUPP 95

#define INDEX_MASK 0xfffffffful
#define CURRENT_CPU 0xfffffffful

#define RECORD_SAMPLE 9
#define MISC_KERNEL 1

/* Programs can interrupt each other; each level has scratch space of its own. */
#define LEVELS 3

extern char bpf_trace_nest_level[];

struct sample_header {
	u32 type;
	u16 misc, size;
};

struct event;
struct ring;

/* The ring's positions count bytes and never wrap; a record may lie across the end. */
struct cursor {
	struct ring *ring;
	u64 position;
};

always_inline void write_piece(struct cursor *cursor, const void *data, u64 size)
{
	cursor->position = copy_round(AT(char *, cursor->ring, PERF_BUFFER_DATA),
				      AT(u64, cursor->ring, PERF_BUFFER_SIZE), cursor->position,
				      data, size);
}

/* Takes room at the head, however many writers there are; whether there is enough. */
always_inline _Bool reserve(struct cursor *cursor, u64 size)
{
	struct ring *ring = cursor->ring;
	char *user = AT(char *, ring, PERF_BUFFER_USER_PAGE);
	u64 bytes = AT(u64, ring, PERF_BUFFER_SIZE);
	u64 head, tail;

	AT(u32, ring, PERF_BUFFER_NEST) += 1;
	do {
		tail = ONCE(u64, user, PERF_EVENT_MMAP_PAGE_DATA_TAIL);
		head = ONCE(u64, ring, PERF_BUFFER_HEAD);
		if (unlikely(head - tail + size > bytes))
			return 0;
	} while (unlikely(!local_compare_exchange64((char *)ring + PERF_BUFFER_HEAD, head,
						    head + size)));
	cursor->position = head;
	return 1;
}

/* The outermost writer shows readers how far the ring is filled. */
always_inline void publish(struct ring *ring)
{
	char *user = AT(char *, ring, PERF_BUFFER_USER_PAGE);
	u64 head = ONCE(u64, ring, PERF_BUFFER_HEAD);

	if (likely(AT(u32, ring, PERF_BUFFER_NEST) == 1))
		store_release(user + PERF_EVENT_MMAP_PAGE_DATA_HEAD, head);
	barrier();
	AT(u32, ring, PERF_BUFFER_NEST) -= 1;
}

noinline s64 perf_event_output(struct event *event, const void *data, u32 size)
{
	/* The length of the data is stored with it, and both end at a multiple of eight. */
	u32 padded = ((size + sizeof(u32) + 7) & ~7u) - sizeof(u32);
	struct sample_header header = {
		.type = RECORD_SAMPLE,
		.misc = MISC_KERNEL,
		.size = sizeof(struct sample_header) + sizeof(u32) + padded,
	};
	struct cursor cursor = { .ring = AT(struct ring *, event, PERF_EVENT_RB) };
	u64 zeroes = 0;
	s64 result = -ENOSPC;

	if (unlikely(!cursor.ring))
		return -ENOSPC;
	rcu_read_lock();
	if (likely(reserve(&cursor, header.size))) {
		write_piece(&cursor, &header, sizeof(header));
		write_piece(&cursor, &padded, sizeof(padded));
		write_piece(&cursor, data, size);
		if (padded > size)
			write_piece(&cursor, &zeroes, padded - size);
		result = 0;
	} else {
		AT(u64, cursor.ring, PERF_BUFFER_LOST) += 1;
	}
	publish(cursor.ring);
	rcu_read_unlock();
	return result;
}

always_inline s64 output_to(struct array *array, u64 flags, const void *data, u64 size)
{
	u32 cpu = this_cpu_number();
	u64 index = flags & INDEX_MASK;
	struct event *event;
	char *entry;

	if (index == CURRENT_CPU)
		index = cpu;
	if (unlikely(index >= AT(u32, array, BPF_MAP_MAX_ENTRIES)))
		return -E2BIG;
	entry = ONCE(char *, array, BPF_ARRAY_VALUE + index * 8);
	if (unlikely(!entry))
		return -ENOENT;
	event = AT(struct event *, entry, BPF_EVENT_ENTRY_EVENT);
	if (unlikely(ONCE(u32, event, PERF_EVENT_ONCPU) != cpu))
		return -EOPNOTSUPP;
	return perf_event_output(event, data, size);
}

traceable s64 bpf_perf_event_output_raw_tp(void *context, struct array *array, u64 flags,
					   const void *data, u64 size)
{
	char *level;
	s64 result;

	preempt_disable();
	level = this_cpu_pointer(char, bpf_trace_nest_level);
	if (unlikely(++AT(u32, level, 0) > LEVELS))
		result = -EBUSY;
	else if (unlikely(flags & ~INDEX_MASK))
		result = -EINVAL;
	else
		result = output_to(array, flags, data, size);
	AT(u32, level, 0) -= 1;
	preempt_enable();
	return result;
}
