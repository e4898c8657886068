/* SPDX-License-Identifier: GPL-2.0-only */
#include "guest.h"

/*
 * Combined Tausworthe generator of four components (P. L'Ecuyer, "Tables of maximally
 * equidistributed combined LFSR generators", Mathematics of Computation 68, 1999: LFSR113).
 */
#define TAUSWORTHE(s, q, shift, mask, k) ((((s) & (mask)) << (k)) ^ ((((s) << (q)) ^ (s)) >> (shift)))

noinline u32 prandom_u32_state(u32 *state)
{
	state[0] = TAUSWORTHE(state[0], 6, 13, 0xfffffffeu, 18);
	state[1] = TAUSWORTHE(state[1], 2, 27, 0xfffffff8u, 2);
	state[2] = TAUSWORTHE(state[2], 13, 21, 0xfffffff0u, 7);
	state[3] = TAUSWORTHE(state[3], 3, 12, 0xffffff80u, 13);
	return state[0] ^ state[1] ^ state[2] ^ state[3];
}

extern char bpf_user_rnd_state[];

traceable u64 bpf_user_rnd_u32(void)
{
	u32 number;

	preempt_disable();
	number = prandom_u32_state(this_cpu_pointer(u32, bpf_user_rnd_state));
	preempt_enable();
	return number;
}
