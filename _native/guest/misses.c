/* SPDX-License-Identifier: GPL-2.0-only */
#include "guest.h"

/* A program that was refused because it runs already counts that in its statistics. */
noinline void bpf_prog_inc_misses_counter(struct program *prog)
{
	char *stats = AT(char *, prog, BPF_PROG_STATS);

	if (!stats)
		return;
	stats = this_cpu_pointer(char, stats) + BPF_PROG_STATS_MISSES;
#if defined(__x86_64__)
	AT(u64, stats, 0) += 1;
#else
	atomic64_add(stats, 1);
#endif
}
