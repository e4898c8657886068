/* SPDX-License-Identifier: GPL-2.0-only */
/* Locks in map values: interrupts are off while one is held, their state kept per CPU. */
#include "guest.h"

#if defined(__x86_64__)
#define TAKE(word, taken)                                                         \
	do {                                                                      \
		u32 free = 0;                                                     \
		__asm__ __volatile__(LOCK "cmpxchgl %[one], %[at]"                 \
				     : "+a"(free), [at] "+m"(*(word)), "=@ccz"(taken) \
				     : [one] "r"(1)                               \
				     : "memory");                                 \
	} while (0)
#define RELEASE(word)                                                             \
	do {                                                                      \
		barrier();                                                        \
		ONCE(u8, word, 0) = 0;                                            \
		__asm__ __volatile__("nopl (%%rax)" ::: "memory");                 \
	} while (0)
#else
#define TAKE(word, taken) (taken) = atomic32_compare_exchange_acquire(word, 0, 1) == 0
#define RELEASE(word) __asm__ __volatile__("stlrb wzr, %0" : "=Q"(*(u8 *)(word))::"memory")
#endif

extern char irqsave_flags[];

#if defined(__x86_64__)
always_inline void keep_flags(u64 flags)
{
	__asm__ __volatile__("movq %0, %%gs:irqsave_flags(%%rip)" ::"r"(flags) : "memory");
}

always_inline u64 kept_flags(void)
{
	u64 flags;

	__asm__ __volatile__("movq %%gs:irqsave_flags(%%rip), %0" : "=r"(flags)::"memory");
	return flags;
}
#else
always_inline void keep_flags(u64 flags)
{
	ONCE(u64, this_cpu_pointer(char, irqsave_flags), 0) = flags;
}

always_inline u64 kept_flags(void)
{
	return ONCE(u64, this_cpu_pointer(char, irqsave_flags), 0);
}
#endif

extern void native_queued_spin_lock_slowpath(u32 *lock);

noinline void __bpf_spin_lock_irqsave(u32 *lock)
{
	u64 flags = irq_save();
	_Bool taken;

	needs_frame();
	preempt_disable();
	TAKE(lock, taken);
	if (unlikely(!taken))
		cold_call(native_queued_spin_lock_slowpath);
	keep_flags(flags);
}

noinline void __bpf_spin_unlock_irqrestore(u32 *lock)
{
	u64 flags = kept_flags();

	needs_frame();
	RELEASE(lock);
	preempt_enable();
	irq_restore(flags);
}

u64 bpf_spin_lock(u32 *lock)
{
	__bpf_spin_lock_irqsave(lock);
	return 0;
}

u64 bpf_spin_unlock(u32 *lock)
{
	__bpf_spin_unlock_irqrestore(lock);
	return 0;
}
