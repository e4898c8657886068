/* SPDX-License-Identifier: GPL-2.0-only */
/* arm64: PREEMPT without PREEMPT_RCU; per-CPU data through tpidr_el1, current in sp_el0. */
#ifndef GUEST_ARM64_H
#define GUEST_ARM64_H

#define JUMP "b"
/* Functions that can be traced start with two nops; the first becomes `mov x9, x30`. */
#define traceable __attribute__((patchable_function_entry(2, 0)))
/* Functions that are only called directly. */
#define direct noinline

extern char runqueues[];

struct task;

always_inline struct task *current(void)
{
	struct task *task;

	__asm__("mrs %0, sp_el0" : "=r"(task));
	return task;
}

/* The same, read anew behind a call on a cold path, so that the call need not preserve it. */
always_inline struct task *current_again(void)
{
	struct task *task;

	__asm__ __volatile__("mrs %0, sp_el0" : "=r"(task));
	return task;
}

/* The path from here on may call the scheduler, for which it sets up its frame at once. */
#if GUEST_KERNEL >= 700
#define needs_frame()                                                             \
	__asm__ __volatile__("" ::"r"(__builtin_frame_address(0)) : "memory", "x30")
#else
#define needs_frame() barrier()
#endif

#define frame_before_7_2() barrier()
#define saved_before_7_2() barrier()
#if GUEST_KERNEL >= 702
#define exit_saves() barrier()
#else
#define exit_saves() __asm__ __volatile__("" ::: "x19")
#endif

/* Registers that calls on cold paths preserve, which compilers save at the start of a function. */
#define frame_of_cold_calls()                                                     \
	do {                                                                      \
		needs_frame();                                                    \
		__asm__ __volatile__("" ::: "x19", "x20", "x21", "x22");           \
	} while (0)

always_inline u64 my_cpu_offset(void)
{
	u64 offset;

	__asm__ __volatile__("mrs %0, tpidr_el1" : "=r"(offset));
	return offset;
}

#define this_cpu_pointer(type, pointer) ((type *)((char *)(pointer) + my_cpu_offset()))

/* Calls of functions that never return here (traps.c): only the link register is lost. */
#define cold_call(function) __asm__ __volatile__("bl " #function ::: "memory", "x30")
#define reschedule() cold_call(preempt_schedule)
#define reschedule_notrace() cold_call(preempt_schedule_notrace)

/* The address of a member. */
#define member_address(pointer, offset) ((char *)(pointer) + (offset))

/* This CPU's number, while nothing can move the caller. */
always_inline u32 this_cpu_number(void)
{
	return ONCE(u32, current(), THREAD_INFO_CPU);
}

#if GUEST_KERNEL < 700
/* Kernels that only yield voluntarily count nothing. */
#define preempt_disable() barrier()
#define preempt_enable() barrier()
#define preempt_enable_notrace() barrier()
#else
/* preempt_count is the low half of a 64-bit word; the high half is zero to reschedule. */
always_inline void preempt_disable(void)
{
	struct task *task = current();

	ONCE(u32, task, THREAD_INFO_PREEMPT_COUNT) = ONCE(u32, task, THREAD_INFO_PREEMPT_COUNT) + 1;
	barrier();
}

always_inline _Bool preempt_count_drop(void)
{
	struct task *task = current();
	u64 count;

	barrier();
	count = ONCE(u64, task, THREAD_INFO_PREEMPT_COUNT) - 1;
	ONCE(u32, task, THREAD_INFO_PREEMPT_COUNT) = count;
	return !count || !ONCE(u64, task, THREAD_INFO_PREEMPT_COUNT);
}

always_inline void preempt_enable(void)
{
	if (unlikely(preempt_count_drop()))
		reschedule();
}

always_inline void preempt_enable_notrace(void)
{
	if (unlikely(preempt_count_drop()))
		reschedule_notrace();
}
#endif

/*
 * Atomic addition in the form of the build: one LSE instruction padded to the length of the
 * exclusive loop that it replaces (as the patched alternatives of a kernel are), or the loop.
 */
#if defined(__ARM_FEATURE_ATOMICS)
#define PERCPU_ADD(type, width)                                                   \
	always_inline void percpu_add_##type(void *address, type value)           \
	{                                                                         \
		type old;                                                         \
		__asm__ __volatile__("ldadd %" width "2, %" width "0, %1\n\t"      \
				     "nop\n\tnop\n\tnop"                          \
				     : "=&r"(old), "+Q"(*(type *)address)         \
				     : "r"(value)                                 \
				     : "memory");                                 \
	}                                                                         \
	always_inline type percpu_add_return_##type(void *address, type value)    \
	{                                                                         \
		type sum;                                                         \
		__asm__ __volatile__("ldadd %" width "2, %" width "0, %1\n\t"      \
				     "add %" width "0, %" width "0, %" width "2\n\t" \
				     "nop\n\tnop"                                 \
				     : "=&r"(sum), "+Q"(*(type *)address)         \
				     : "r"(value)                                 \
				     : "memory");                                 \
		return sum;                                                       \
	}
#else
#define PERCPU_ADD(type, width)                                                   \
	always_inline type percpu_add_return_##type(void *address, type value)    \
	{                                                                         \
		u32 failed;                                                       \
		type sum;                                                         \
		__asm__ __volatile__("1: ldxr %" width "1, %2\n\t"                 \
				     "add %" width "1, %" width "1, %" width "3\n\t" \
				     "stxr %w0, %" width "1, %2\n\t"               \
				     "cbnz %w0, 1b"                               \
				     : "=&r"(failed), "=&r"(sum),                 \
				       "+Q"(*(type *)address)                     \
				     : "r"(value)                                 \
				     : "memory");                                 \
		return sum;                                                       \
	}                                                                         \
	always_inline void percpu_add_##type(void *address, type value)           \
	{                                                                         \
		percpu_add_return_##type(address, value);                         \
	}
#endif
PERCPU_ADD(u32, "w")
PERCPU_ADD(u64, "")

/* Per-CPU read-modify-write operations keep the CPU fixed by disabling preemption. */
always_inline void percpu_add64(void *pointer, s64 value)
{
	preempt_disable();
	percpu_add_u64(this_cpu_pointer(char, pointer), value);
	preempt_enable_notrace();
}

always_inline void percpu_add32(void *pointer, u32 value)
{
	preempt_disable();
	percpu_add_u32(this_cpu_pointer(char, pointer), value);
	preempt_enable_notrace();
}

always_inline u32 percpu_add_return32(void *pointer, u32 value)
{
	u32 sum;

	preempt_disable();
	sum = percpu_add_return_u32(this_cpu_pointer(char, pointer), value);
	preempt_enable_notrace();
	return sum;
}

always_inline void percpu_inc64(void *pointer)
{
	percpu_add64(pointer, 1);
}

always_inline void percpu_dec64(void *pointer)
{
	percpu_add64(pointer, -1);
}

/* Atomics that need not be per-CPU start with a patched static branch: a nop here. */
#if defined(__ARM_FEATURE_ATOMICS)
always_inline void atomic64_add(void *address, s64 value)
{
	__asm__ __volatile__("nop\n\tstadd %1, %0" : "+Q"(*(u64 *)address) : "r"(value));
}

always_inline _Bool atomic64_dec_and_test(void *address)
{
	s64 old = -1;

	__asm__ __volatile__("nop\n\tldaddal %1, %1, %0"
			     : "+Q"(*(u64 *)address), "+r"(old)::"memory");
	return old - 1 == 0;
}

always_inline u32 atomic32_compare_exchange_acquire(void *address, u32 old, u32 new)
{
	__asm__ __volatile__("nop\n\tcasa %w0, %w2, %1"
			     : "+r"(old), "+Q"(*(u32 *)address)
			     : "r"(new)
			     : "memory");
	return old;
}
#else
always_inline void atomic64_add(void *address, s64 value)
{
	u32 failed;
	s64 sum;

	__asm__ __volatile__("b 1f\n1: prfm pstl1strm, %2\n"
			     "2: ldxr %1, %2\n\tadd %1, %1, %3\n\t"
			     "stxr %w0, %1, %2\n\tcbnz %w0, 2b"
			     : "=&r"(failed), "=&r"(sum), "+Q"(*(u64 *)address)
			     : "r"(value));
}

always_inline _Bool atomic64_dec_and_test(void *address)
{
	u32 failed;
	s64 sum;

	__asm__ __volatile__("b 1f\n1: prfm pstl1strm, %2\n"
			     "2: ldxr %1, %2\n\tsub %1, %1, #1\n\t"
			     "stlxr %w0, %1, %2\n\tcbnz %w0, 2b\n\tdmb ish"
			     : "=&r"(failed), "=&r"(sum), "+Q"(*(u64 *)address)::"memory");
	return sum == 0;
}

always_inline u32 atomic32_compare_exchange_acquire(void *address, u32 old, u32 new)
{
	u32 found, status;

	__asm__ __volatile__("b 1f\n1: prfm pstl1strm, %2\n"
			     "2: ldaxr %w0, %2\n\teor %w1, %w0, %w3\n\tcbnz %w1, 3f\n\t"
			     "stxr %w1, %w4, %2\n\tcbnz %w1, 2b\n3:"
			     : "=&r"(found), "=&r"(status), "+Q"(*(u32 *)address)
			     : "r"(old), "r"(new)
			     : "memory");
	return found;
}
#endif

#if defined(__ARM_FEATURE_ATOMICS)
always_inline _Bool local_compare_exchange64(void *pointer, u64 old, u64 new)
{
	u64 found = old;

	__asm__ __volatile__("nop\n\tcas %x0, %x2, %1"
			     : "+r"(found), "+Q"(*(u64 *)pointer)
			     : "r"(new)
			     : "memory");
	return found == old;
}
#else
always_inline _Bool local_compare_exchange64(void *pointer, u64 old, u64 new)
{
	u64 found;
	u32 failed;

	__asm__ __volatile__("b 1f\n1: prfm pstl1strm, %2\n"
			     "2: ldxr %0, %2\n\tcmp %0, %3\n\tb.ne 3f\n\t"
			     "stxr %w1, %4, %2\n\tcbnz %w1, 2b\n3:"
			     : "=&r"(found), "=&r"(failed), "+Q"(*(u64 *)pointer)
			     : "r"(old), "r"(new)
			     : "memory", "cc");
	return found == old;
}
#endif

always_inline void atomic64_inc(void *address)
{
	atomic64_add(address, 1);
}

always_inline void full_barrier(void)
{
	__asm__ __volatile__("dmb ish" ::: "memory");
}

always_inline void store_release(void *pointer, u64 value)
{
	__asm__ __volatile__("stlr %1, %0" : "=Q"(*(u64 *)pointer) : "r"(value) : "memory");
}

always_inline u64 load_acquire(void *pointer)
{
	u64 value;

	__asm__ __volatile__("ldar %0, %1" : "=r"(value) : "Q"(*(u64 *)pointer) : "memory");
	return value;
}

#if defined(__ARM_FEATURE_ATOMICS)
#define EXCHANGE(name, type, width)                                               \
	always_inline type name(void *pointer, type value)                        \
	{                                                                         \
		type old;                                                         \
		__asm__ __volatile__("swpal %" width "2, %" width "0, %1\n\t"      \
				     "nop\n\tnop\n\tnop"                          \
				     : "=&r"(old), "+Q"(*(type *)pointer)         \
				     : "r"(value)                                 \
				     : "memory");                                 \
		return old;                                                       \
	}

always_inline u32 atomic32_or_acquire(void *pointer, u32 bits)
{
	u32 old;

	__asm__ __volatile__("nop\n\tldseta %w2, %w0, %1"
			     : "=&r"(old), "+Q"(*(u32 *)pointer)
			     : "r"(bits)
			     : "memory");
	return old;
}
#else
#define EXCHANGE(name, type, width)                                               \
	always_inline type name(void *pointer, type value)                        \
	{                                                                         \
		u32 failed;                                                       \
		type old;                                                         \
		__asm__ __volatile__("prfm pstl1strm, %2\n1: ldxr %" width "0, %2\n\t" \
				     "stlxr %w1, %" width "3, %2\n\t"            \
				     "cbnz %w1, 1b\n\tdmb ish"                    \
				     : "=&r"(old), "=&r"(failed),                 \
				       "+Q"(*(type *)pointer)                     \
				     : "r"(value)                                 \
				     : "memory");                                 \
		return old;                                                       \
	}

always_inline u32 atomic32_or_acquire(void *pointer, u32 bits)
{
	u32 old, new, failed;

	__asm__ __volatile__("b 1f\n1: prfm pstl1strm, %3\n2: ldaxr %w0, %3\n\t"
			     "orr %w1, %w0, %w4\n\tstxr %w2, %w1, %3\n\tcbnz %w2, 2b"
			     : "=&r"(old), "=&r"(new), "=&r"(failed), "+Q"(*(u32 *)pointer)
			     : "r"(bits)
			     : "memory");
	return old;
}
#endif
EXCHANGE(exchange32, u32, "w")
EXCHANGE(exchange64, u64, "")

always_inline u64 irq_save(void)
{
	u64 flags;

	__asm__ __volatile__("mrs %0, daif\n\tmsr daifset, #3" : "=r"(flags)::"memory");
	return flags;
}

always_inline void irq_restore(u64 flags)
{
	__asm__ __volatile__("msr daif, %0" ::"r"(flags) : "memory");
}

always_inline u64 stack_canary(void)
{
	return ONCE(u64, current(), TASK_STRUCT_STACK_CANARY);
}

/* How deep in interrupts: 0 task, 1 softirq, 2 hardirq, 3 nmi (bits of preempt_count). */
always_inline u8 context_level(void)
{
	u32 count = ONCE(u32, current(), THREAD_INFO_PREEMPT_COUNT);
	u8 level = 0;

	level += !!(count & 0xf00000);
	level += !!(count & 0xff0000);
	level += !!(count & 0xffff00 & ~0xfe00);
	return level;
}

#define rcu_read_lock() preempt_disable()
#define rcu_read_unlock() preempt_enable()

#endif
