/* SPDX-License-Identifier: GPL-2.0-only */
/* Helpers of tracing programs that read the task, the CPU and the trampoline's context. */
#include "guest.h"

traceable u64 bpf_get_current_pid_tgid(void)
{
	struct task *task = current();

	if (unlikely(!task))
		return -EINVAL;
	return (u64)AT(s32, task, TASK_STRUCT_TGID) << 32 | (s64)AT(s32, task, TASK_STRUCT_PID);
}

#if defined(__x86_64__)
traceable u64 bpf_get_smp_processor_id(void)
{
	s64 cpu;

	__asm__ __volatile__("movslq %%gs:cpu_number(%%rip), %0" : "=r"(cpu));
	return cpu;
}
#else
traceable u64 bpf_get_smp_processor_id(void)
{
	return ONCE(u32, current(), THREAD_INFO_CPU);
}
#endif

u64 bpf_get_attach_cookie_tracing(void *ctx)
{
	char *context = AT(char *, current(), TASK_STRUCT_BPF_CTX);

	return AT(u64, context, BPF_TRAMP_RUN_CTX_BPF_COOKIE);
}

/* Below a program's context: func_meta at -8, the function's address at -16. */
u64 bpf_get_func_ip_tracing(void *ctx)
{
	return AT(u64, ctx, -16);
}

u64 get_func_arg(u64 *ctx, u32 n, u64 *value)
{
	if (n >= AT(u8, ctx, -8))
		return -EINVAL;
	*value = ctx[n];
	return 0;
}

u64 get_func_ret(u64 *ctx, u64 *value)
{
	*value = ctx[AT(u8, ctx, -8)];
	return 0;
}

u64 get_func_arg_cnt(void *ctx)
{
	return AT(u8, ctx, -8);
}

traceable u64 bpf_get_current_task(void)
{
	return (u64)current();
}

traceable u64 bpf_get_current_task_btf(void)
{
	return (u64)current();
}

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

#define ERANGE 34

/* Reads of the upper half of the address space; a fault is a fault of the machine here. */
noinline s64 copy_from_kernel_nofault(char *to, const char *from, u64 size)
{
	if (unlikely((s64)from >= 0))
		return -ERANGE;
	AT(u32, current(), TASK_STRUCT_PAGEFAULT_DISABLED) += 1;
	barrier();
	while (size >= 8) {
		ONCE(u64, to, 0) = ONCE(u64, from, 0);
		to += 8;
		from += 8;
		size -= 8;
	}
	while (size >= 4) {
		ONCE(u32, to, 0) = ONCE(u32, from, 0);
		to += 4;
		from += 4;
		size -= 4;
	}
	while (size >= 2) {
		ONCE(u16, to, 0) = ONCE(u16, from, 0);
		to += 2;
		from += 2;
		size -= 2;
	}
	if (size)
		ONCE(u8, to, 0) = ONCE(u8, from, 0);
	barrier();
	AT(u32, current(), TASK_STRUCT_PAGEFAULT_DISABLED) -= 1;
	return 0;
}

traceable s64 bpf_probe_read_kernel(char *to, u32 size, const char *from)
{
	s64 result = copy_from_kernel_nofault(to, from, size);
	u32 i;

	if (unlikely(result < 0)) {
		for (i = 0; i < size; i++)
			ONCE(u8, to, i) = 0;
	}
	return result;
}
