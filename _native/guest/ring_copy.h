/* SPDX-License-Identifier: GPL-2.0-only */
/* Copying into a buffer whose positions count bytes and go round at its size, a power of two. */
#ifndef GUEST_RING_COPY_H
#define GUEST_RING_COPY_H

#include "string.h"

/* Returns the position behind what was copied. */
always_inline u64 copy_round(char *buffer, u64 bytes, u64 position, const void *data, u64 size)
{
	u64 at = position & (bytes - 1);
	u64 first = size < bytes - at ? size : bytes - at;

	memcpy(buffer + at, data, first);
	if (unlikely(first < size))
		memcpy(buffer, (const char *)data + first, size - first);
	return position + size;
}

#endif
