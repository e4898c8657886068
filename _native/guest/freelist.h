/* SPDX-License-Identifier: GPL-2.0-only */
/* Lists of free elements, one per CPU, each under its lock; an extra one when all fail. */
#ifndef GUEST_FREELIST_H
#define GUEST_FREELIST_H

#include "guest.h"

struct freelist;
struct free_node;

extern direct void pcpu_freelist_push(struct freelist *list, struct free_node *node);
/* With interrupts off, or turning them off. */
extern direct struct free_node *__pcpu_freelist_pop(struct freelist *list);
extern struct free_node *pcpu_freelist_pop(struct freelist *list);

#endif
