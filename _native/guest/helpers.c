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
