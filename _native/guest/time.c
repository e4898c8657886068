/* SPDX-License-Identifier: GPL-2.0-only */
/* Clocks: the monotonic one that programs read and the scheduler's, for statistics. */
#include "guest.h"

extern char tk_fast_mono[];

/*
 * Each clock has two copies of its parameters; the sequence's low bit says which to read. Calls
 * lose the addresses of variables, which are made up again behind them.
 */
#if defined(__aarch64__) && GUEST_KERNEL >= 702
#define COPY(clock, member, sequence, size)                                       \
	({                                                                        \
		u64 each = (size);                                                \
		__asm__ __volatile__("" : "+r"(each));                            \
		(clock) + (member) + ((u64)(sequence) & 1) * each;                \
	})
#define ADDRESS(variable)                                                         \
	({                                                                        \
		char *address;                                                    \
		__asm__ __volatile__("adrp %0, " #variable "\n\t"                 \
				     "add %0, %0, :lo12:" #variable               \
				     : "=r"(address));                            \
		address;                                                          \
	})
#define forget_address(variable) ((void)ADDRESS(variable))
#else
#define COPY(clock, member, sequence, size)                                       \
	({                                                                        \
		u64 second = -((u64)(sequence) & 1);                              \
		__asm__("" : "+r"(second));                                       \
		(clock) + (member) + (second & (size));                           \
	})
#define ADDRESS(variable) ((char *)(variable))
#define forget_address(variable) barrier()
#endif

always_inline u64 shifted(u64 value, u32 shift)
{
	check_below(shift, 64);
	return value >> shift;
}

/* Functions of cold paths that keep the registers of the hot path alive. */
#define keeps_registers noinline __attribute__((preserve_most))

noinline u64 delta_to_ns_safe(u32 mult, u32 shift, u64 xtime_nsec, u64 delta)
{
	unsigned __int128 product = (unsigned __int128)delta * mult + xtime_nsec;

	check_below(shift, 128);
	return product >> shift;
}

/* A cycle count so far ahead (or behind) that the product could overflow. */
keeps_registers u64 unusual_cycles_to_ns(char *base, u64 delta)
{
	u64 mask = AT(u64, base, TK_READ_BASE_MASK);

	if (delta & ~(mask >> 1))
		return shifted(AT(u64, base, TK_READ_BASE_XTIME_NSEC),
			       AT(u32, base, TK_READ_BASE_SHIFT));
	return delta_to_ns_safe(AT(u32, base, TK_READ_BASE_MULT),
				AT(u32, base, TK_READ_BASE_SHIFT),
				AT(u64, base, TK_READ_BASE_XTIME_NSEC), delta);
}

always_inline u64 cycles_to_ns(char *base, u64 cycles)
{
	char *clock = AT(char *, base, TK_READ_BASE_CLOCK);
	u64 delta = (cycles - AT(u64, base, TK_READ_BASE_CYCLE_LAST)) &
		    AT(u64, base, TK_READ_BASE_MASK);

	if (unlikely(delta > AT(u64, clock, CLOCKSOURCE_MAX_RAW_DELTA)))
		return unusual_cycles_to_ns(base, delta);
	return shifted(delta * AT(u32, base, TK_READ_BASE_MULT) +
			       AT(u64, base, TK_READ_BASE_XTIME_NSEC),
		       AT(u32, base, TK_READ_BASE_SHIFT));
}

#if defined(__x86_64__)

/* The time stamp counter, read after everything before it. */
always_inline u64 ordered_tsc(void)
{
	u64 low, high;

	__asm__ __volatile__("rdtscp" : "=a"(low), "=d"(high)::"rcx", "memory");
	return low | high << 32;
}

#if GUEST_KERNEL >= 702
keeps_registers u64 other_clock_cycles(char *clock)
{
	u64 (*read)(char *) = AT(u64(*)(char *), clock, CLOCKSOURCE_READ);

	return read(clock);
}
#endif

#if GUEST_KERNEL < 702
/* The way of kernels that do not read the counter in place (7.0 and before). */
always_inline u64 clock_cycles(char *clock)
{
	if (unlikely(static_branch(guest_clock_not_tsc)))
		return AT(u64(*)(char *), clock, CLOCKSOURCE_READ)(clock);
	return ordered_tsc();
}

noinline u64 guest_read_tsc(char *clock)
{
	return ordered_tsc();
}
#else
always_inline u64 clock_cycles(char *clock)
{
	if (unlikely(static_branch(guest_clock_not_tsc)))
		return other_clock_cycles(clock);
	return ordered_tsc();
}
#endif

extern __attribute__((address_space(256))) char cyc2ns[];

#define CYC2NS(type, offset) \
	(*(volatile __attribute__((address_space(256))) type *)(cyc2ns + (offset)))

/* A buffer whose address is known elsewhere makes the compiler guard the frame. */
#define guarded_frame(bytes)                                                      \
	do {                                                                      \
		char buffer[bytes];                                               \
		__asm__ __volatile__("" ::"r"(buffer));                           \
	} while (0)

noinline u64 native_sched_clock(void)
{
	u32 low, high, sequence, mul, shift;
	u64 cycles, offset;

	frame_before_7_2();
	__asm__ __volatile__("rdtsc" : "=a"(low), "=d"(high));
	cycles = low | (u64)high << 32;
	do {
		u64 copy;

		sequence = CYC2NS(u32, CYC2NS_SEQ);
		copy = (sequence & 1) * 16ul;
		offset = CYC2NS(u64, CYC2NS_DATA + copy + CYC2NS_DATA_OFFSET);
		mul = CYC2NS(u32, CYC2NS_DATA + copy + CYC2NS_DATA_MUL);
		shift = CYC2NS(u32, CYC2NS_DATA + copy + CYC2NS_DATA_SHIFT);
	} while (unlikely(sequence != CYC2NS(u32, CYC2NS_SEQ)));
#if GUEST_KERNEL >= 700
	check_below(shift, 128);
	guarded_frame(16);
#endif
	return offset + (u64)(((unsigned __int128)cycles * mul) >> shift);
}

noinline u64 sched_clock_noinstr(void)
{
	return native_sched_clock();
}

noinline u64 sched_clock(void)
{
	u64 now;

	preempt_disable();
	now = sched_clock_noinstr();
	preempt_enable_notrace();
	return now;
}

#else

/* The counter read through a pointer, as the clock source driver keeps it. */
extern u64 (*arch_timer_read_counter)(void);

noinline u64 arch_counter_get_cntvct(void)
{
	u64 count, zero;

	/* Reading early is prevented by isb, moving later reads up by a fake dependency. */
	__asm__ __volatile__("isb\n\tmrs %0, cntvct_el0" : "=r"(count)::"memory");
	__asm__ __volatile__("eor %0, %1, %1\n\tadd %0, sp, %0\n\tldr xzr, [%0]"
			     : "=&r"(zero)
			     : "r"(count)
			     : "memory");
	return count;
}

noinline u64 guest_arch_counter_read(char *clock)
{
	return arch_timer_read_counter();
}

extern u64 dummy_clock_read(char *clock);
extern u64 suspended_sched_clock_read(void);
extern char cd[];

always_inline u64 clock_cycles(char *clock)
{
	u64 (*read)(char *) = ONCE(u64(*)(char *), clock, CLOCKSOURCE_READ);

	if (unlikely(read == dummy_clock_read))
		return sched_clock();
	return read(clock);
}

noinline u64 sched_clock(void)
{
	u32 sequence, shift;
	u64 cycles, now, mult;
	char *data = ADDRESS(cd), *copy;

	forget_address(suspended_sched_clock_read);
	preempt_disable();
	do {
		u64 (*read)(void);

		sequence = ONCE(u32, data, CLOCK_DATA_SEQ);
		copy = COPY(data, CLOCK_DATA_READ_DATA, sequence, SIZEOF_CLOCK_READ_DATA);
		read = AT(u64(*)(void), copy, CLOCK_READ_DATA_READ_SCHED_CLOCK);
		if (unlikely(read == suspended_sched_clock_read))
			cycles = AT(u64, copy, CLOCK_READ_DATA_EPOCH_CYC);
		else
			cycles = read();
		forget_address(suspended_sched_clock_read);
		data = ADDRESS(cd);
		cycles -= AT(u64, copy, CLOCK_READ_DATA_EPOCH_CYC);
		cycles &= AT(u64, copy, CLOCK_READ_DATA_SCHED_CLOCK_MASK);
		mult = AT(u32, copy, CLOCK_READ_DATA_MULT);
		shift = AT(u32, copy, CLOCK_READ_DATA_SHIFT);
		now = AT(u64, copy, CLOCK_READ_DATA_EPOCH_NS) + shifted(cycles * mult, shift);
		__asm__ __volatile__("dmb ishld" ::: "memory");
	} while (unlikely(ONCE(u32, data, CLOCK_DATA_SEQ) != sequence));
	preempt_enable_notrace();
	return now;
}

#endif

/* Usable in any context: one of two copies is always consistent. */
noinline u64 ktime_get_mono_fast_ns(void)
{
	char *fast = ADDRESS(tk_fast_mono);
	u64 now, cycles;
	u32 sequence;

	forget_address(dummy_clock_read);
	frame_before_7_2();
	do {
		char *base;

		sequence = ONCE(u32, fast, TK_FAST_SEQ);
		base = COPY(fast, TK_FAST_BASE, sequence, SIZEOF_TK_READ_BASE);
		now = AT(u64, base, TK_READ_BASE_BASE);
		cycles = clock_cycles(AT(char *, base, TK_READ_BASE_CLOCK));
		forget_address(dummy_clock_read);
		fast = ADDRESS(tk_fast_mono);
		now += cycles_to_ns(base, cycles);
#if defined(__aarch64__)
		__asm__ __volatile__("dmb ishld" ::: "memory");
#endif
	} while (unlikely(ONCE(u32, fast, TK_FAST_SEQ) != sequence));
	return now;
}

traceable u64 bpf_ktime_get_ns(void)
{
	return ktime_get_mono_fast_ns();
}

extern u64 guest_boot_offset, guest_tai_offset;

/* The monotonic clock and what the machine slept, or its distance from atomic time. */
noinline u64 ktime_get_boot_fast_ns(void)
{
	return ktime_get_mono_fast_ns() + ONCE(u64, &guest_boot_offset, 0);
}

noinline u64 ktime_get_tai_fast_ns(void)
{
	return ktime_get_mono_fast_ns() + ONCE(u64, &guest_tai_offset, 0);
}

traceable u64 bpf_ktime_get_boot_ns(void)
{
	return ktime_get_boot_fast_ns();
}

traceable u64 bpf_ktime_get_tai_ns(void)
{
	return ktime_get_tai_fast_ns();
}
