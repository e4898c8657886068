/* SPDX-License-Identifier: GPL-2.0-only */
/* Comparing, copying and filling as kernels without string instructions do: words, then the rest. */
#include "string.h"

#define WORD(type, pointer, offset) (*(volatile type *)((char *)(pointer) + (offset)))

noinline int memcmp(const void *first, const void *second, u64 size)
{
	const u8 *a = first, *b = second;
	u64 i;

	if (usual_but_far(size > 7)) {
		do {
			if (AT(u64, a, 0) != AT(u64, b, 0))
				goto bytes;
			a += 8;
			b += 8;
			size -= 8;
		} while (size > 7);
	}
	if (usual_but_far(!size))
		return 0;
bytes:
	for (i = 0; i < size; i++) {
		int difference = a[i] - b[i];

		if (difference)
			return difference;
	}
	return 0;
}

/* Less than 32 bytes: two words that may overlap, all loaded before anything is stored. */
always_inline void copy_rest(char *to, const char *from, u64 size)
{
	if (!usual_but_far(size < 16)) {
		u64 a = WORD(u64, from, 0), b = WORD(u64, from, 8);
		u64 c = WORD(u64, from, size - 16), d = WORD(u64, from, size - 8);

		WORD(u64, to, 0) = a;
		WORD(u64, to, 8) = b;
		WORD(u64, to, size - 16) = c;
		WORD(u64, to, size - 8) = d;
	} else if (size >= 8) {
		u64 a = WORD(u64, from, 0), b = WORD(u64, from, size - 8);

		WORD(u64, to, 0) = a;
		WORD(u64, to, size - 8) = b;
	} else if (size >= 4) {
		u32 a = WORD(u32, from, 0), b = WORD(u32, from, size - 4);

		WORD(u32, to, 0) = a;
		WORD(u32, to, size - 4) = b;
	} else if (size) {
		u8 a = WORD(u8, from, 0), b = WORD(u8, from, size >> 1), c = WORD(u8, from, size - 1);

		WORD(u8, to, 0) = a;
		WORD(u8, to, size >> 1) = b;
		WORD(u8, to, size - 1) = c;
	}
}

#if defined(__x86_64__)
#define MEMCPY memcpy_orig
#else
#define MEMCPY memcpy
#endif

direct void *MEMCPY(void *to, const void *from, u64 size)
{
	char *into = to;
	const char *source = from;

	if (usual_but_far(size < 32))
		goto rest;
	while (size >= 32) {
		u64 a = WORD(u64, source, 0), b = WORD(u64, source, 8);
		u64 c = WORD(u64, source, 16), d = WORD(u64, source, 24);

		WORD(u64, into, 0) = a;
		WORD(u64, into, 8) = b;
		WORD(u64, into, 16) = c;
		WORD(u64, into, 24) = d;
		source += 32;
		into += 32;
		size -= 32;
	}
rest:
	copy_rest(into, source, size);
	return to;
}

#if defined(__x86_64__)
/* CPUs with fast string moves would copy right here; others jump on. */
noinline void *memcpy(void *to, const void *from, u64 size)
{
	return memcpy_orig(to, from, size);
}
#endif

noinline void *memset(void *to, int byte, u64 size)
{
	u64 pattern = (u8)byte * 0x0101010101010101ul;
	char *into = to;

	while (size >= 8) {
		WORD(u64, into, 0) = pattern;
		into += 8;
		size -= 8;
	}
	while (size) {
		WORD(u8, into, 0) = byte;
		into++;
		size--;
	}
	return to;
}
