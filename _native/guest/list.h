/* SPDX-License-Identifier: GPL-2.0-only */
/* Doubly linked lists whose neighbours are checked, as hardened kernels do. */
#ifndef GUEST_LIST_H
#define GUEST_LIST_H

#include "guest.h"

struct link {
	struct link *next, *previous;
};

#define POISON_NEXT ((struct link *)0xdead000000000100ul)
#define POISON_PREVIOUS ((struct link *)0xdead000000000122ul)

always_inline _Bool list_empty(const struct link *list)
{
	return ONCE(struct link *, list, 0) == list;
}

always_inline void list_add(struct link *link, struct link *list)
{
	struct link *next = list->next;

	if (unlikely(next->previous != list || link == list || link == next))
		cold_call(guest_list_corrupted);
	next->previous = link;
	link->next = next;
	link->previous = list;
	ONCE(struct link *, list, 0) = link;
}

always_inline void list_unlink(struct link *link)
{
	struct link *next = link->next, *previous = link->previous;

	if (unlikely(next == POISON_NEXT || previous == POISON_PREVIOUS ||
		     previous->next != link || next->previous != link))
		cold_call(guest_list_corrupted);
	next->previous = previous;
	ONCE(struct link *, previous, 0) = next;
}

always_inline void list_remove(struct link *link)
{
	list_unlink(link);
	link->next = POISON_NEXT;
	link->previous = POISON_PREVIOUS;
}

always_inline void list_move(struct link *link, struct link *list)
{
	list_unlink(link);
	list_add(link, list);
}

#endif
