/* SPDX-License-Identifier: GPL-2.0-only */
/* Comparing and copying of text that a zero ends. */
#include "string.h"

#define ONES 0x0101010101010101ul
#define HIGHS 0x8080808080808080ul

always_inline _Bool has_zero(u64 word)
{
	return (word - ONES) & ~word & HIGHS;
}

noinline int strncmp(const char *first, const char *second, u64 size)
{
	const u8 *a = (const u8 *)first, *b = (const u8 *)second;

	for (; size; size--, a++, b++) {
		u8 one = ONCE(u8, a, 0), other = ONCE(u8, b, 0);

		if (one != other)
			return one < other ? -1 : 1;
		if (!one)
			break;
	}
	return 0;
}

noinline void copy_text_padded(char *to, const char *from, u64 size)
{
	u64 done = 0;

	if (!size)
		return;
	while (size - done > 8) {
		u64 word = ONCE(u64, from, done);

		if (has_zero(word))
			break;
		ONCE(u64, to, done) = word;
		done += 8;
	}
	while (done < size - 1) {
		u8 letter = ONCE(u8, from, done);

		if (!letter)
			break;
		ONCE(u8, to, done) = letter;
		done++;
	}
	memset(to + done, 0, size - done);
}

traceable s64 bpf_strncmp(const char *first, u32 size, const char *second)
{
	return strncmp(first, second, size);
}
