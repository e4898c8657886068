/* SPDX-License-Identifier: GPL-2.0-only */
/* What programs for libbpf expect of <bpf/bpf_tracing.h>: arguments by name. */
#ifndef __BPF_TRACING_H__
#define __BPF_TRACING_H__

#include "bpf_helpers.h"

#define ___bpf_slots0() ctx
#define ___bpf_slots1(a) ___bpf_slots0(), (void *)ctx[0]
#define ___bpf_slots2(a, ...) ___bpf_slots1(__VA_ARGS__), (void *)ctx[1]
#define ___bpf_slots3(a, ...) ___bpf_slots2(__VA_ARGS__), (void *)ctx[2]
#define ___bpf_slots4(a, ...) ___bpf_slots3(__VA_ARGS__), (void *)ctx[3]
#define ___bpf_slots5(a, ...) ___bpf_slots4(__VA_ARGS__), (void *)ctx[4]
#define ___bpf_slots6(a, ...) ___bpf_slots5(__VA_ARGS__), (void *)ctx[5]
#define ___bpf_slots7(a, ...) ___bpf_slots6(__VA_ARGS__), (void *)ctx[6]
#define ___bpf_slots8(a, ...) ___bpf_slots7(__VA_ARGS__), (void *)ctx[7]
#define ___bpf_slots9(a, ...) ___bpf_slots8(__VA_ARGS__), (void *)ctx[8]
#define ___bpf_slots10(a, ...) ___bpf_slots9(__VA_ARGS__), (void *)ctx[9]
#define ___bpf_slots11(a, ...) ___bpf_slots10(__VA_ARGS__), (void *)ctx[10]
#define ___bpf_slots12(a, ...) ___bpf_slots11(__VA_ARGS__), (void *)ctx[11]
#define ___bpf_slots(args...) ___bpf_apply(___bpf_slots, ___bpf_narg(args))(args)

/*
 * A program whose arguments are named: each is a slot of the context. The compiler warns about
 * pointers that become integers, which is what they are meant to do here.
 */
#define BPF_PROG(name, args...)                                                                   \
	name(unsigned long long *ctx);                                                            \
	static __always_inline typeof(name(0)) ____##name(unsigned long long *ctx, ##args);       \
	typeof(name(0)) name(unsigned long long *ctx)                                             \
	{                                                                                         \
		_Pragma("GCC diagnostic push")                                                    \
		_Pragma("GCC diagnostic ignored \"-Wint-conversion\"")                            \
		return ____##name(___bpf_slots(args));                                            \
		_Pragma("GCC diagnostic pop")                                                     \
	}                                                                                         \
	static __always_inline typeof(name(0)) ____##name(unsigned long long *ctx, ##args)

#endif
