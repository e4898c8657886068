/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef GUEST_STRING_H
#define GUEST_STRING_H

#include "guest.h"

extern int memcmp(const void *first, const void *second, u64 size);
extern void *memcpy(void *to, const void *from, u64 size);
extern void *memset(void *to, int byte, u64 size);
extern int strncmp(const char *first, const char *second, u64 size);
/* Up to the zero, at most `size` bytes with it; zeroes up to `size` behind. */
extern void copy_text_padded(char *to, const char *from, u64 size);

#endif
