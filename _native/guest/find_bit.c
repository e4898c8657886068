/* SPDX-License-Identifier: GPL-2.0-only */
#include "guest.h"

/* The first set bit from `start` on, or `size` if there is none below it. */
noinline u64 _find_next_bit(const u64 *bitmap, u64 size, u64 start)
{
	u64 word, index;

	if (unlikely(start >= size))
		return size;
	index = start / 64;
	word = bitmap[index] & (~0ul << (start % 64));
	if (usual_but_far(word))
		goto found;
	while (!word) {
		index++;
		if (index * 64 >= size)
			return size;
		word = bitmap[index];
	}
found:
	start = index * 64 + __builtin_ctzl(word);
	return start < size ? start : size;
}
