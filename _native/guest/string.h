/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef GUEST_STRING_H
#define GUEST_STRING_H

#include "guest.h"

extern int memcmp(const void *first, const void *second, u64 size);
extern void *memcpy(void *to, const void *from, u64 size);

#endif
