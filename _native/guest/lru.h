/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef GUEST_LRU_H
#define GUEST_LRU_H

#include "list.h"

struct lru;

/* An element's place in the lists; the hash lies at a fixed distance behind. */
struct lru_node {
	struct link link;
	u16 cpu;
	u8 type;
	u8 referenced;
};

extern struct lru_node *bpf_lru_pop_free(struct lru *lru, u32 hash);
extern void bpf_lru_push_free(struct lru *lru, struct lru_node *node);

#endif
