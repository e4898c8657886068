/* SPDX-License-Identifier: GPL-2.0-only */
#include "jhash.h"

noinline __attribute__((preserve_most)) u32 jhash(const void *key, u32 length, u32 seed)
{
	const u8 *k = key;
	u32 a, b, c;

	a = b = c = JHASH_START + length + seed;
	while (length > 12) {
		a += AT(u32, k, 0);
		b += AT(u32, k, 4);
		c += AT(u32, k, 8);
		jhash_mix(a, b, c);
		length -= 12;
		k += 12;
	}
	switch (length) {
#define ADD(count, word, shift)                                                   \
	case count:                                                               \
		word += (u32)k[count - 1] << (shift);                             \
		__attribute__((fallthrough));
		ADD(12, c, 24) ADD(11, c, 16) ADD(10, c, 8) ADD(9, c, 0)
		ADD(8, b, 24) ADD(7, b, 16) ADD(6, b, 8) ADD(5, b, 0)
		ADD(4, a, 24) ADD(3, a, 16) ADD(2, a, 8)
	case 1:
		a += k[0];
		jhash_final(a, b, c);
	}
	return c;
}

#if GUEST_KERNEL < 702
noinline u32 htab_map_hash(const void *key, u32 length, u32 seed)
{
	return hash_key(key, length, seed);
}
#endif
