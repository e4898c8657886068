/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Least recently used elements: one set of active, inactive and free lists for all CPUs, and
 * per CPU a list of free nodes and one of nodes in use that have not been sorted in yet. A
 * node that was referenced since it was looked at last goes (back) to the active list; the
 * oldest inactive ones are taken from the map when free nodes run out.
 */
#include "lru.h"
#include "lock.h"
#include "percpu.h"

enum { ACTIVE, INACTIVE, FREE, LOCAL_FREE, LOCAL_PENDING };

#define LIST(lru, type) ((struct link *)((char *)(lru) + BPF_LRU_LISTS) + (type))
#define COUNT(lru, type) AT(u32, lru, BPF_LRU_COUNTS + 4 * (type))
#define NEXT_ROTATION(lru) AT(struct link *, lru, BPF_LRU_NEXT_INACTIVE_ROTATION)
#define LOCK_OF(lru) ((char *)(lru) + BPF_LRU_LOCK)

#define LOCAL_LIST(local, type) ((struct link *)((char *)(local) + BPF_LRU_LOCALLIST_LISTS) + (type) - LOCAL_FREE)
#define LOCAL_LOCK(local) ((char *)(local) + BPF_LRU_LOCALLIST_LOCK)

#define NODE(link) ((struct lru_node *)(link))

struct local;

always_inline struct local *local_of(struct lru *lru, u32 cpu)
{
	return (struct local *)(AT(char *, lru, BPF_LRU_LOCAL_LIST) + __per_cpu_offset[cpu]);
}

always_inline void clear_reference(struct lru_node *node)
{
	if (ONCE(u8, node, BPF_LRU_NODE_REF))
		ONCE(u8, node, BPF_LRU_NODE_REF) = 0;
}

always_inline _Bool is_counted(u32 type)
{
	return type < FREE;
}

/* The cursor of rotation steps back when its node leaves the inactive list. */
always_inline void leave(struct lru *lru, struct lru_node *node)
{
	if (is_counted(node->type))
		COUNT(lru, node->type)--;
	if (&node->link == NEXT_ROTATION(lru))
		NEXT_ROTATION(lru) = NEXT_ROTATION(lru)->previous;
}

/* Within the shared lists. */
always_inline void move(struct lru *lru, struct lru_node *node, u32 type)
{
	if (&node->link == NEXT_ROTATION(lru))
		NEXT_ROTATION(lru) = NEXT_ROTATION(lru)->previous;
	if (node->type != type) {
		if (is_counted(node->type))
			COUNT(lru, node->type)--;
		if (is_counted(type))
			COUNT(lru, type)++;
		node->type = type;
	}
	clear_reference(node);
	list_move(&node->link, LIST(lru, type));
}

/* From a CPU's pending list into the shared ones. */
always_inline void move_in(struct lru *lru, struct lru_node *node, u32 type)
{
	COUNT(lru, type)++;
	node->type = type;
	clear_reference(node);
	list_move(&node->link, LIST(lru, type));
}

/* From the shared lists to a CPU's free list. */
always_inline void move_to_free(struct lru *lru, struct lru_node *node, struct local *local)
{
	leave(lru, node);
	node->type = LOCAL_FREE;
	clear_reference(node);
	list_move(&node->link, LOCAL_LIST(local, LOCAL_FREE));
}

direct void rotate_active(struct lru *lru)
{
	struct link *list = LIST(lru, ACTIVE), *first = list->next, *at, *before;
	u32 scanned = 0;

	for (at = list->previous; at != list; at = before) {
		before = at->previous;
		move(lru, NODE(at), NODE(at)->referenced ? ACTIVE : INACTIVE);
		if (++scanned == AT(u32, lru, BPF_LRU_NR_SCANS) || at == first)
			break;
	}
}

direct void rotate_inactive(struct lru *lru)
{
	struct link *list = LIST(lru, INACTIVE), *at, *last, *next = list;
	u32 scanned = 0;

	if (list_empty(list))
		return;
	last = NEXT_ROTATION(lru)->next;
	if (last == list)
		last = last->next;
	at = NEXT_ROTATION(lru);
	while (scanned < AT(u32, lru, BPF_LRU_NR_SCANS)) {
		if (at == list) {
			at = at->previous;
			continue;
		}
		next = at->previous;
		if (NODE(at)->referenced)
			move(lru, NODE(at), ACTIVE);
		if (at == last)
			break;
		at = next;
		scanned++;
	}
	NEXT_ROTATION(lru) = next;
}

always_inline _Bool remove_from_map(struct lru *lru, struct lru_node *node)
{
	_Bool (*remove)(void *, struct lru_node *) =
		AT(_Bool(*)(void *, struct lru_node *), lru, BPF_LRU_DEL_FROM_HTAB);

	return remove(AT(void *, lru, BPF_LRU_DEL_ARG), node);
}

direct u32 shrink_inactive(struct lru *lru, u32 target, struct local *local)
{
	struct link *list = LIST(lru, INACTIVE), *at, *before;
	u32 freed = 0, scanned = 0;

	for (at = list->previous; at != list; at = before) {
		before = at->previous;
		if (NODE(at)->referenced) {
			move(lru, NODE(at), ACTIVE);
		} else if (remove_from_map(lru, NODE(at))) {
			move_to_free(lru, NODE(at), local);
			if (++freed == target)
				break;
		}
		if (++scanned == AT(u32, lru, BPF_LRU_NR_SCANS))
			break;
	}
	return freed;
}

/* Nothing is unreferenced: take one all the same. */
direct void shrink_forcibly(struct lru *lru, struct local *local)
{
	struct link *list = LIST(lru, list_empty(LIST(lru, INACTIVE)) ? ACTIVE : INACTIVE);
	struct link *at, *before;

	for (at = list->previous; at != list; at = before) {
		before = at->previous;
		if (remove_from_map(lru, NODE(at))) {
			move_to_free(lru, NODE(at), local);
			return;
		}
	}
}

/* Refills a CPU's free list; the CPU's pending nodes are sorted in on the way. */
direct void refill(struct lru *lru, struct local *local)
{
	u32 target = AT(u32, lru, BPF_LRU_TARGET_FREE), moved = 0;
	struct link *pending = LOCAL_LIST(local, LOCAL_PENDING), *free = LIST(lru, FREE);
	struct link *at, *other;

	spin_lock(LOCK_OF(lru));
	for (at = pending->previous; at != pending; at = other) {
		other = at->previous;
		move_in(lru, NODE(at), NODE(at)->referenced ? ACTIVE : INACTIVE);
	}
	for (at = free->next; at != free && moved < target; at = other) {
		other = at->next;
		move_to_free(lru, NODE(at), local);
		moved++;
	}
	if (moved < target) {
		if (COUNT(lru, INACTIVE) < COUNT(lru, ACTIVE))
			rotate_active(lru);
		rotate_inactive(lru);
		if (!shrink_inactive(lru, target - moved, local))
			shrink_forcibly(lru, local);
	}
	spin_unlock(LOCK_OF(lru));
}

always_inline struct lru_node *pop_free(struct local *local)
{
	struct link *list = LOCAL_LIST(local, LOCAL_FREE), *first = ONCE(struct link *, list, 0);

	if (first == list)
		return 0;
	list_remove(first);
	return NODE(first);
}

/* Of another CPU: the oldest unreferenced node, or on a second look the oldest of all. */
always_inline struct lru_node *pop_pending(struct lru *lru, struct local *local)
{
	struct link *list = LOCAL_LIST(local, LOCAL_PENDING), *at;
	_Bool force = 0;

	do {
		for (at = list->previous; at != list; at = at->previous) {
			if ((!NODE(at)->referenced || force) && remove_from_map(lru, NODE(at))) {
				list_remove(at);
				return NODE(at);
			}
		}
		force = !force;
	} while (force);
	return 0;
}

always_inline void add_pending(struct lru *lru, struct local *local, u32 cpu,
			       struct lru_node *node, u32 hash)
{
	AT(u32, node, AT(u32, lru, BPF_LRU_HASH_OFFSET)) = hash;
	node->cpu = cpu;
	node->type = LOCAL_PENDING;
	clear_reference(node);
	list_add(&node->link, LOCAL_LIST(local, LOCAL_PENDING));
}

direct struct lru_node *steal(struct lru *lru, struct local *local, u32 cpu, u32 hash)
{
	u32 first = AT(u16, local, BPF_LRU_LOCALLIST_NEXT_STEAL), from = first;
	struct lru_node *node;
	u64 flags;

	do {
		struct local *other = local_of(lru, from);

		flags = spin_lock_save(LOCAL_LOCK(other));
		node = pop_free(other);
		if (!node)
			node = pop_pending(lru, other);
		spin_unlock_restore(LOCAL_LOCK(other), flags);
		from = _find_next_bit(__cpu_possible_mask, nr_cpu_ids, from + 1);
		if (from >= nr_cpu_ids)
			from = 0;
	} while (!node && from != first);
	AT(u16, local, BPF_LRU_LOCALLIST_NEXT_STEAL) = from;
	if (node) {
		flags = spin_lock_save(LOCAL_LOCK(local));
		add_pending(lru, local, cpu, node, hash);
		spin_unlock_restore(LOCAL_LOCK(local), flags);
	}
	return node;
}

noinline struct lru_node *bpf_lru_pop_free(struct lru *lru, u32 hash)
{
	u32 cpu = this_cpu_number();
	struct local *local = local_of(lru, cpu);
	struct lru_node *node;
	u64 flags = spin_lock_save(LOCAL_LOCK(local));

	node = pop_free(local);
	if (unlikely(!node)) {
		refill(lru, local);
		node = pop_free(local);
	}
	if (likely(node))
		add_pending(lru, local, cpu, node, hash);
	spin_unlock_restore(LOCAL_LOCK(local), flags);
	if (likely(node))
		return node;
	return steal(lru, local, cpu, hash);
}

noinline void bpf_lru_push_free(struct lru *lru, struct lru_node *node)
{
	u64 flags;

	if (ONCE(u8, node, BPF_LRU_NODE_TYPE) == LOCAL_PENDING) {
		struct local *local = local_of(lru, node->cpu);

		flags = spin_lock_save(LOCAL_LOCK(local));
		if (likely(node->type == LOCAL_PENDING)) {
			node->type = LOCAL_FREE;
			clear_reference(node);
			list_move(&node->link, LOCAL_LIST(local, LOCAL_FREE));
			spin_unlock_restore(LOCAL_LOCK(local), flags);
			return;
		}
		spin_unlock_restore(LOCAL_LOCK(local), flags);
	}
	flags = spin_lock_save(LOCK_OF(lru));
	move(lru, node, FREE);
	spin_unlock_restore(LOCK_OF(lru), flags);
}
