/* SPDX-License-Identifier: GPL-2.0-only */
#include "freelist.h"
#include "lock.h"
#include "percpu.h"

struct free_node {
	struct free_node *next;
};

#define HEAD_FIRST(head) AT(struct free_node *, head, PCPU_FREELIST_HEAD_FIRST)
#define HEAD_LOCK(head) ((head) + PCPU_FREELIST_HEAD_LOCK)

always_inline void push_on(char *head, struct free_node *node)
{
	spin_lock(HEAD_LOCK(head));
	node->next = HEAD_FIRST(head);
	HEAD_FIRST(head) = node;
	spin_unlock(HEAD_LOCK(head));
}

/* The lock's calls are in the function itself, or (arm64) in one of its own. */
#if defined(__x86_64__)
#define push_locally push_on
#define frame_of_push() frame_of_cold_calls()
#else
#define frame_of_push() barrier()

direct _Bool ___pcpu_freelist_push(char *head, struct free_node *node)
{
	frame_of_cold_calls();
	push_on(head, node);
	return 1;
}
#define push_locally ___pcpu_freelist_push
#endif

/* Puts an element on this CPU's list. */
no_canary direct void pcpu_freelist_push(struct freelist *list, struct free_node *node)
{
	u64 flags;

	frame_of_push();
	flags = irq_save();
	push_locally(this_cpu_pointer(char, AT(char *, list, PCPU_FREELIST_FREELIST)), node);
	irq_restore(flags);
}

always_inline struct free_node *pop_from(char *head)
{
	struct free_node *node;

	if (!ONCE(struct free_node *, head, PCPU_FREELIST_HEAD_FIRST))
		return 0;
	spin_lock(HEAD_LOCK(head));
	node = HEAD_FIRST(head);
	if (likely(node))
		HEAD_FIRST(head) = node->next;
	spin_unlock(HEAD_LOCK(head));
	return node;
}

/* The next possible CPU from `cpu` on, going on at 0 behind the last, ending at `first`. */
always_inline u32 next_cpu(u32 cpu, u32 first, _Bool *wrapped)
{
	u64 next;

	if (!*wrapped) {
		next = _find_next_bit(__cpu_possible_mask, nr_cpu_ids, cpu);
		if (next < nr_cpu_ids)
			return next;
		*wrapped = 1;
		cpu = 0;
	}
	next = _find_next_bit(__cpu_possible_mask, first, cpu);
	return next < first ? next : nr_cpu_ids;
}

/* Takes an element, from this CPU's list or the next that has one; interrupts are off. */
direct struct free_node *__pcpu_freelist_pop(struct freelist *list)
{
	u32 first = this_cpu_number();
	_Bool wrapped = 0;
	u32 cpu = next_cpu(first, first, &wrapped);

	while (likely(cpu < nr_cpu_ids)) {
		struct free_node *node;

		check_below(cpu, MAX_CPUS);
		node = pop_from(AT(char *, list, PCPU_FREELIST_FREELIST) + __per_cpu_offset[cpu]);
		if (likely(node))
			return node;
		cpu = next_cpu(cpu + 1, first, &wrapped);
	}
	return pop_from((char *)list + PCPU_FREELIST_EXTRALIST);
}

struct free_node *pcpu_freelist_pop(struct freelist *list)
{
	u64 flags = irq_save();
	struct free_node *node = __pcpu_freelist_pop(list);

	irq_restore(flags);
	return node;
}
