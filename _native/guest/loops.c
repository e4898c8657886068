/* SPDX-License-Identifier: GPL-2.0-only */
/* Loops of programs: bpf_loop, the open-coded number iterator, the clock of may_goto. */
#include "guest.h"

#define MAX_LOOPS (8u << 20)

typedef u64 (*loop_callback)(u64 first, u64 second, u64 third, u64 fourth, u64 fifth);

traceable s64 bpf_loop(u32 count, loop_callback callback, void *context, u64 flags)
{
	u32 i;

	if (unlikely(flags))
		return -EINVAL;
	if (unlikely(count > MAX_LOOPS))
		return -E2BIG;
	for (i = 0; i < count; i++) {
		/* One ends the loop. */
		if (callback(i, (u64)context, 0, 0, 0))
			return i + 1;
	}
	return i;
}

/* struct bpf_iter_num: the number before the next one, and the end. */
struct numbers {
	s32 at, end;
};

s32 bpf_iter_num_new(struct numbers *numbers, s32 start, s32 end)
{
	numbers->at = numbers->end = 0;
	if (start > end)
		return -EINVAL;
	/* The distance may take 33 bits. */
	if ((s64)end - start > MAX_LOOPS)
		return -E2BIG;
	numbers->at = start - 1;
	numbers->end = end;
	return 0;
}

s32 *bpf_iter_num_next(struct numbers *numbers)
{
	if (numbers->at + 1 >= numbers->end) {
		numbers->at = numbers->end = 0;
		return 0;
	}
	numbers->at++;
	return &numbers->at;
}

void bpf_iter_num_destroy(struct numbers *numbers)
{
	numbers->at = numbers->end = 0;
}

#if GUEST_KERNEL >= 700
extern u64 ktime_get_mono_fast_ns(void);

/* Passes until the clock is looked at again, and how long (ns) a program may loop. */
#define TIMED_PASSES 0xffff
#define TIMED_LIMIT 250000000ul

/* A count that is used up: its start and how many more passes there are (none: stop). */
struct timed_count {
	u64 passes, started;
};

traceable u64 bpf_check_timed_may_goto(struct timed_count *count)
{
	u64 now = ktime_get_mono_fast_ns();

	if (!count->started) {
		count->started = now;
		return TIMED_PASSES;
	}
	if (unlikely(now - count->started >= TIMED_LIMIT)) {
		/* The kernel reports the program; nobody reads that here. */
		return 0;
	}
	return TIMED_PASSES;
}
#endif
