/* SPDX-License-Identifier: GPL-2.0-only */
/* Bob Jenkins' lookup3 hash (public domain, burtleburtle.net/bob/c/lookup3.c). */
#ifndef GUEST_JHASH_H
#define GUEST_JHASH_H

#include "guest.h"

#define JHASH_START 0xdeadbeefu

#define rotate(word, bits) ((word) << (bits) | (word) >> (32 - (bits)))

/*
 * One step after the other: mixing is a chain anyway, and interleaving steps only takes
 * registers from the function around it.
 */
#define step(a, b, c) __asm__("" : "+r"(a), "+r"(b), "+r"(c))

#define jhash_mix(a, b, c)                                                        \
	do {                                                                      \
		a -= c; a ^= rotate(c, 4); c += b; step(a, b, c);                 \
		b -= a; b ^= rotate(a, 6); a += c; step(a, b, c);                 \
		c -= b; c ^= rotate(b, 8); b += a; step(a, b, c);                 \
		a -= c; a ^= rotate(c, 16); c += b; step(a, b, c);                \
		b -= a; b ^= rotate(a, 19); a += c; step(a, b, c);                \
		c -= b; c ^= rotate(b, 4); b += a; step(a, b, c);                 \
	} while (0)

#define jhash_final(a, b, c)                                                      \
	do {                                                                      \
		c ^= b; c -= rotate(b, 14);                                       \
		a ^= c; a -= rotate(c, 11);                                       \
		b ^= a; b -= rotate(a, 25);                                       \
		c ^= b; c -= rotate(b, 16);                                       \
		a ^= c; a -= rotate(c, 4);                                        \
		b ^= a; b -= rotate(a, 14);                                       \
		c ^= b; c -= rotate(b, 24);                                       \
	} while (0)

/* Of `length` 32-bit words. */
always_inline u32 jhash_words(const u32 *key, u32 length, u32 seed)
{
	u32 a, b, c;

	a = b = c = JHASH_START + (length << 2) + seed;
	while (length > 3) {
		a += key[0];
		b += key[1];
		c += key[2];
		jhash_mix(a, b, c);
		length -= 3;
		key += 3;
	}
	/* Compared one after the other, which compilers would turn into ranges. */
	if (usual_but_far(length == 2))
		goto two;
	__asm__("" : "+r"(length));
	if (unlikely(length == 3)) {
		c += key[2];
two:
		b += key[1];
		goto one;
	}
	__asm__("" : "+r"(length));
	if (length == 1) {
one:
		a += key[0];
		jhash_final(a, b, c);
	}
	return c;
}

/* Of any number of bytes; keeps registers, as it is off the usual path. */
extern __attribute__((preserve_most)) u32 jhash(const void *key, u32 length, u32 seed);

/* Keys of whole words are hashed as such. */
always_inline u32 hash_key(const void *key, u32 length, u32 seed)
{
	if (likely(length % 4 == 0))
		return jhash_words(key, length / 4, seed);
	return jhash(key, length, seed);
}

/* A function of its own until 7.1. */
#if GUEST_KERNEL >= 702
#define htab_map_hash hash_key
#else
extern u32 htab_map_hash(const void *key, u32 length, u32 seed);
#endif

#endif
