/* SPDX-License-Identifier: GPL-2.0-only */
/* Helpers that read the context which a trampoline makes: arguments, address, cookies. */
#include "guest.h"

u64 bpf_get_attach_cookie_tracing(void *ctx)
{
	char *context = AT(char *, current(), TASK_STRUCT_BPF_CTX);

	return AT(u64, context, BPF_TRAMP_RUN_CTX_BPF_COOKIE);
}

/* Below a program's context: func_meta at -8, the function's address at -16. */
#define FUNC_META -8
#define FUNC_IP -16

u64 bpf_get_func_ip_tracing(void *ctx)
{
	return AT(u64, ctx, FUNC_IP);
}

u64 get_func_arg(u64 *ctx, u32 n, u64 *value)
{
	if (n >= AT(u8, ctx, FUNC_META))
		return -EINVAL;
	*value = ctx[n];
	return 0;
}

u64 get_func_ret(u64 *ctx, u64 *value)
{
	*value = ctx[AT(u8, ctx, FUNC_META)];
	return 0;
}

u64 get_func_arg_cnt(void *ctx)
{
	return AT(u8, ctx, FUNC_META);
}

/*
 * The forms of kprobe sessions, which keep their state in the run context; programs on
 * trampolines have theirs inlined.
 */
_Bool bpf_session_is_return(void *ctx)
{
	return AT(u8, AT(char *, current(), TASK_STRUCT_BPF_CTX), BPF_SESSION_RUN_CTX_IS_RETURN);
}

u64 *bpf_session_cookie(void *ctx)
{
	return AT(u64 *, AT(char *, current(), TASK_STRUCT_BPF_CTX), BPF_SESSION_RUN_CTX_DATA);
}
