/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Ring buffer: a reservation advances the producer's position under a lock, a commit clears
 * the record's busy bit and wakes the consumer if it waits for just this record.
 */
#include "guest.h"
#include "lock.h"
#include "string.h"

#define BUSY (1u << 31)
#define DISCARDED (1u << 30)
#define MAX_RECORD (0xffffffffu / 4)

#define NO_WAKEUP 1
#define FORCE_WAKEUP 2

#define PAGE_SHIFT 12
#define PAGE_START (~((1ul << PAGE_SHIFT) - 1))

/* irq_work states: claimed means pending and busy. */
#define IRQ_WORK_PENDING 1
#define IRQ_WORK_CLAIMED 3

struct ring;

#define DATA(ring) ((char *)(ring) + BPF_RINGBUF_DATA)
#define HEADER_LENGTH 0
#define HEADER_PAGE 4
#define HEADER_SIZE 8

always_inline u64 record_size(u64 length)
{
	return (length + HEADER_SIZE + 7) & ~7ul;
}

/* Records up to the oldest that is not committed yet are done with. */
always_inline u64 pending_position(struct ring *ring, u64 produced, u64 mask)
{
	u64 pending = AT(u64, ring, BPF_RINGBUF_PENDING_POS);

	while (pending < produced) {
		u32 length = ONCE(u32, DATA(ring) + (pending & mask), HEADER_LENGTH);

		if (length & BUSY)
			break;
		pending += record_size(length & ~DISCARDED);
	}
	AT(u64, ring, BPF_RINGBUF_PENDING_POS) = pending;
	return pending;
}

direct void *__bpf_ringbuf_reserve(struct ring *ring, u64 size)
{
	u64 mask, length, consumed, produced, end, pending, flags;
	char *record;

	if (unlikely(size > MAX_RECORD))
		return 0;
	length = record_size(size);
	mask = AT(u64, ring, BPF_RINGBUF_MASK);
	if (unlikely(length > mask + 1))
		return 0;
	consumed = load_acquire((char *)ring + BPF_RINGBUF_CONSUMER_POS);
	flags = spin_lock_save((char *)ring + BPF_RINGBUF_SPINLOCK);
	produced = AT(u64, ring, BPF_RINGBUF_PRODUCER_POS);
	end = produced + length;
	pending = pending_position(ring, produced, mask);
	record = 0;
	if (likely(end - consumed <= mask && end - pending <= mask)) {
		record = DATA(ring) + (produced & mask);
		AT(u32, record, HEADER_LENGTH) = (u32)size | BUSY;
		AT(u32, record, HEADER_PAGE) = (record - (char *)ring) >> PAGE_SHIFT;
		store_release((char *)ring + BPF_RINGBUF_PRODUCER_POS, end);
		record += HEADER_SIZE;
	}
	spin_unlock_restore((char *)ring + BPF_RINGBUF_SPINLOCK, flags);
	return record;
}

/*
 * Queues the consumer's wakeup unless one is pending. Delivering it is an interrupt of its
 * own, after the call; here it stays pending.
 */
direct _Bool irq_work_queue(void *work)
{
	if (atomic32_or_acquire((char *)work + IRQ_WORK_FLAGS, IRQ_WORK_CLAIMED) & IRQ_WORK_PENDING)
		return 0;
	return 1;
}

direct void bpf_ringbuf_commit(void *sample, u64 flags, _Bool discard)
{
	char *header = (char *)sample - HEADER_SIZE;
	char *ring = (char *)((u64)header & PAGE_START) -
		     ((u64)AT(u32, header, HEADER_PAGE) << PAGE_SHIFT);
	u32 length = AT(u32, header, HEADER_LENGTH) ^ BUSY;
	u64 position, consumed;

	if (discard)
		length |= DISCARDED;
	exchange32(header + HEADER_LENGTH, length);
	position = header - DATA(ring);
	consumed = load_acquire(ring + BPF_RINGBUF_CONSUMER_POS) & AT(u64, ring, BPF_RINGBUF_MASK);
	if (flags & FORCE_WAKEUP)
		irq_work_queue(ring + BPF_RINGBUF_WORK);
	else if (consumed == position && !(flags & NO_WAKEUP))
		irq_work_queue(ring + BPF_RINGBUF_WORK);
}

traceable void *bpf_ringbuf_reserve(struct map *map, u64 size, u64 flags)
{
	if (unlikely(flags))
		return 0;
	return __bpf_ringbuf_reserve(AT(struct ring *, map, BPF_RINGBUF_MAP_RB), size);
}

traceable u64 bpf_ringbuf_submit(void *sample, u64 flags)
{
	bpf_ringbuf_commit(sample, flags, 0);
	return 0;
}

traceable u64 bpf_ringbuf_discard(void *sample, u64 flags)
{
	bpf_ringbuf_commit(sample, flags, 1);
	return 0;
}

#define EAGAIN 11

traceable s64 bpf_ringbuf_output(struct map *map, const void *data, u64 size, u64 flags)
{
	void *record;

	if (unlikely(flags & ~(u64)(NO_WAKEUP | FORCE_WAKEUP)))
		return -EINVAL;
	record = __bpf_ringbuf_reserve(AT(struct ring *, map, BPF_RINGBUF_MAP_RB), size);
	if (unlikely(!record))
		return -EAGAIN;
	memcpy(record, data, size);
	bpf_ringbuf_commit(record, flags, 0);
	return 0;
}

#define QUERY_AVAILABLE 0
#define QUERY_SIZE 1
#define QUERY_CONSUMER 2
#define QUERY_PRODUCER 3

traceable u64 bpf_ringbuf_query(struct map *map, u64 what)
{
	struct ring *ring = AT(struct ring *, map, BPF_RINGBUF_MAP_RB);

	if (what == QUERY_SIZE)
		return AT(u64, ring, BPF_RINGBUF_MASK) + 1;
	if (what == QUERY_CONSUMER)
		return load_acquire((char *)ring + BPF_RINGBUF_CONSUMER_POS);
	if (what == QUERY_PRODUCER)
		return load_acquire((char *)ring + BPF_RINGBUF_PRODUCER_POS);
	if (what == QUERY_AVAILABLE) {
		u64 consumed = load_acquire((char *)ring + BPF_RINGBUF_CONSUMER_POS);

		return load_acquire((char *)ring + BPF_RINGBUF_PRODUCER_POS) - consumed;
	}
	return 0;
}
