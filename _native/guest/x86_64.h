/* SPDX-License-Identifier: GPL-2.0-only */
/* x86_64: PREEMPT_DYNAMIC with PREEMPT_RCU; per-CPU data through the gs segment. */
#ifndef GUEST_X86_64_H
#define GUEST_X86_64_H

#define JUMP "jmp"
/* Functions that can be traced start with a five-byte nop behind their landing pad. */
#define traceable __attribute__((patchable_function_entry(5, 0)))
/* Functions that are only called directly need no landing pad. */
#define direct noinline __attribute__((nocf_check))

/* A lock prefix that the loader replaces on a machine with one CPU. */
#define LOCK                                                                      \
	".pushsection .lock_prefixes,\"a\"\n\t.balign 8\n\t.quad 771f\n\t"          \
	".popsection\n771: lock "

extern char runqueues[];

struct task;

always_inline struct task *current(void)
{
	struct task *task;

	__asm__("movq %%gs:const_current_task(%%rip), %0" : "=r"(task));
	return task;
}

/* The same, read anew behind a call on a cold path, so that the call need not preserve it. */
always_inline struct task *current_again(void)
{
	struct task *task;

	__asm__ __volatile__("movq %%gs:const_current_task(%%rip), %0" : "=r"(task));
	return task;
}

/* Only arm64 keeps frames. */
#define needs_frame() barrier()

/* Registers that ends of programs save on arm64 before 7.2. */
#define exit_saves() barrier()

/*
 * Stack that calls on cold paths spill to, which compilers take at the start of a function;
 * the function itself is built without a canary. Those of kernels before 7.2 save registers
 * for them instead.
 */
#if GUEST_KERNEL < 702
#define frame_of_cold_calls() __asm__ __volatile__("" ::: "rbx", "rbp", "r12", "r13")
#if GUEST_KERNEL >= 700
#define frame_before_7_2() frame_of_cold_calls()
#define saved_before_7_2() __asm__ __volatile__("" ::: "rbx", "rbp", "r12")
#else
#define frame_before_7_2() barrier()
#define saved_before_7_2() barrier()
#endif
#else
#define frame_before_7_2() barrier()
#define saved_before_7_2() barrier()
#define frame_of_cold_calls()                                                     \
	do {                                                                      \
		struct {                                                          \
			u64 spilled[5];                                           \
		} frame;                                                          \
		__asm__ __volatile__("" : "=m"(frame));                           \
	} while (0)
#endif

always_inline u64 my_cpu_offset(void)
{
	u64 offset;

	__asm__ __volatile__("movq %%gs:this_cpu_off(%%rip), %0" : "=r"(offset));
	return offset;
}

/* A per-CPU variable's (or allocation's) address on this CPU. */
#define this_cpu_pointer(type, pointer) ((type *)((char *)(pointer) + my_cpu_offset()))

/*
 * Calls of functions that keep every register (or, here, never return: traps.c), so that
 * they cost the path around them nothing.
 */
#define cold_call(function) __asm__ __volatile__("call " #function ::: "memory")
#define reschedule() cold_call(preempt_schedule_thunk)
#define reschedule_notrace() cold_call(preempt_schedule_notrace_thunk)

/* The address of a member, computed by one lea. */
#define member_address(pointer, offset)                                           \
	({                                                                        \
		char *address;                                                    \
		__asm__("leaq %c2(%1), %0" : "=r"(address) : "r"(pointer), "i"(offset)); \
		address;                                                          \
	})

always_inline void preempt_disable(void)
{
	__asm__ __volatile__("incl %%gs:__preempt_count(%%rip)" ::: "memory", "cc");
}

always_inline _Bool preempt_count_drop(void)
{
	_Bool zero;

	__asm__ __volatile__("decl %%gs:__preempt_count(%%rip)"
			     : "=@cce"(zero)::"memory");
	return zero;
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

/* This CPU's number, while nothing can move the caller. */
always_inline u32 this_cpu_number(void)
{
	u32 cpu;

	__asm__ __volatile__("movl %%gs:cpu_number(%%rip), %0" : "=r"(cpu));
	return cpu;
}

/* Per-CPU counters behind a per-CPU pointer: one instruction each, no preemption guard. */
always_inline void percpu_inc64(void *pointer)
{
	__asm__ __volatile__("incq %%gs:(%0)" ::"r"(pointer) : "memory", "cc");
}

always_inline void percpu_dec64(void *pointer)
{
	__asm__ __volatile__("decq %%gs:(%0)" ::"r"(pointer) : "memory", "cc");
}

always_inline void percpu_dec32(void *pointer)
{
	__asm__ __volatile__("decl %%gs:(%0)" ::"r"(pointer) : "memory", "cc");
}

always_inline s32 percpu_exchange_add32(void *pointer, s32 value)
{
	__asm__ __volatile__("xaddl %0, %%gs:(%1)"
			     : "+r"(value)
			     : "r"(pointer)
			     : "memory", "cc");
	return value;
}

always_inline void atomic64_inc(void *pointer)
{
	__asm__ __volatile__(LOCK "addq $1, %0" : "+m"(*(u64 *)pointer)::"memory", "cc");
}

always_inline _Bool atomic64_dec_and_test(void *pointer)
{
	_Bool zero;

	__asm__ __volatile__(LOCK "subq $1, %0"
			     : "+m"(*(u64 *)pointer), "=@cce"(zero)::"memory");
	return zero;
}

always_inline void full_barrier(void)
{
	__asm__ __volatile__("lock addl $0, -4(%%rsp)" ::: "memory", "cc");
}

always_inline void store_release(void *pointer, u64 value)
{
	barrier();
	ONCE(u64, pointer, 0) = value;
}

always_inline u64 load_acquire(void *pointer)
{
	u64 value = ONCE(u64, pointer, 0);

	barrier();
	return value;
}

always_inline u32 exchange32(void *pointer, u32 value)
{
	__asm__ __volatile__("xchgl %0, %1" : "+r"(value), "+m"(*(u32 *)pointer)::"memory");
	return value;
}

always_inline u64 exchange64(void *pointer, u64 value)
{
	__asm__ __volatile__("xchgq %0, %1" : "+r"(value), "+m"(*(u64 *)pointer)::"memory");
	return value;
}

always_inline u32 atomic32_or_acquire(void *pointer, u32 bits)
{
	u32 old = ONCE(u32, pointer, 0), found;
	_Bool done;

	do {
		u32 new = old | bits;

		found = old;
		__asm__ __volatile__(LOCK "cmpxchgl %[new], %[word]"
				     : "+a"(found), [word] "+m"(*(u32 *)pointer), "=@ccz"(done)
				     : [new] "r"(new)
				     : "memory");
		old = found;
	} while (unlikely(!done));
	return old;
}

/* Atomic on this CPU only: without a lock prefix. */
always_inline _Bool local_compare_exchange64(void *pointer, u64 old, u64 new)
{
	_Bool done;

	__asm__ __volatile__("cmpxchgq %[new], %[word]"
			     : "+a"(old), [word] "+m"(*(u64 *)pointer), "=@ccz"(done)
			     : [new] "r"(new)
			     : "memory");
	return done;
}

always_inline u64 irq_save(void)
{
	u64 flags;

	__asm__ __volatile__("pushfq\n\tpopq %0\n\tnopl (%%rax)" : "=r"(flags)::"memory");
	__asm__ __volatile__("cli\n\tnopl (%%rax,%%rax)" ::: "memory");
	return flags;
}

/* The interrupt flag of rflags. */
#define FLAGS_IF 0x200ul

always_inline void irq_restore(u64 flags)
{
	if (likely(flags & FLAGS_IF))
		__asm__ __volatile__("sti\n\tnopl (%%rax,%%rax)" ::: "memory");
}

extern void __rcu_read_lock(void);
extern void __rcu_read_unlock(void);
#define rcu_read_lock() __rcu_read_lock()
#define rcu_read_unlock() __rcu_read_unlock()

#endif
