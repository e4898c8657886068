/* SPDX-License-Identifier: GPL-2.0-only */
/* What programs for libbpf expect of <bpf/bpf_tracing.h>: arguments by name. */
#ifndef __BPF_TRACING_H__
#define __BPF_TRACING_H__

#include "bpf_helpers.h"

#if defined(__TARGET_ARCH_arm64)
#define bpf_target_arm64
#else
#define bpf_target_x86
#endif
#define bpf_target_defined

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

/*
 * The same for functions with structures by value: arguments are given as type, name pairs, and
 * one of more than 8 bytes takes two slots.
 */
#define ___bpf_regs(t) ((sizeof(t) + 7) / 8)
#define ___bpf_taken(ctx, t, i)                                                                   \
	({                                                                                        \
		union {                                                                           \
			unsigned long long words[2];                                              \
			t value;                                                                  \
		} ____slot = { { (ctx)[i] } };                                                    \
		if (sizeof(t) > 8)                                                                \
			____slot.words[1] = (ctx)[(i) + 1];                                       \
		____slot.value;                                                                   \
	})
#define ___bpf_pairs(_, _1, _2, _3, _4, _5, _6, _7, _8, _9, _10, _11, _12, _13, _14, _15, _16,    \
		     _17, _18, _19, _20, _21, _22, _23, _24, N, ...)                              \
	N
#define ___bpf_npairs(...)                                                                        \
	___bpf_pairs(_, ##__VA_ARGS__, 12, _, 11, _, 10, _, 9, _, 8, _, 7, _, 6, _, 5, _, 4, _,   \
		     3, _, 2, _, 1, _, 0)
#define ___bpf_declare0()
#define ___bpf_declare1(t, n) , t n
#define ___bpf_declare2(t, n, ...) , t n ___bpf_declare1(__VA_ARGS__)
#define ___bpf_declare3(t, n, ...) , t n ___bpf_declare2(__VA_ARGS__)
#define ___bpf_declare4(t, n, ...) , t n ___bpf_declare3(__VA_ARGS__)
#define ___bpf_declare5(t, n, ...) , t n ___bpf_declare4(__VA_ARGS__)
#define ___bpf_declare6(t, n, ...) , t n ___bpf_declare5(__VA_ARGS__)
#define ___bpf_declare7(t, n, ...) , t n ___bpf_declare6(__VA_ARGS__)
#define ___bpf_declare8(t, n, ...) , t n ___bpf_declare7(__VA_ARGS__)
#define ___bpf_declare9(t, n, ...) , t n ___bpf_declare8(__VA_ARGS__)
#define ___bpf_declare10(t, n, ...) , t n ___bpf_declare9(__VA_ARGS__)
#define ___bpf_declare11(t, n, ...) , t n ___bpf_declare10(__VA_ARGS__)
#define ___bpf_declare12(t, n, ...) , t n ___bpf_declare11(__VA_ARGS__)
#define ___bpf_declare(args...) ___bpf_apply(___bpf_declare, ___bpf_npairs(args))(args)
#define ___bpf_take0(i)
#define ___bpf_take1(i, t, n) , ___bpf_taken(ctx, t, i)
#define ___bpf_take2(i, t, n, ...)                                                    \
	, ___bpf_taken(ctx, t, i) ___bpf_take1((i) + ___bpf_regs(t), __VA_ARGS__)
#define ___bpf_take3(i, t, n, ...)                                                    \
	, ___bpf_taken(ctx, t, i) ___bpf_take2((i) + ___bpf_regs(t), __VA_ARGS__)
#define ___bpf_take4(i, t, n, ...)                                                    \
	, ___bpf_taken(ctx, t, i) ___bpf_take3((i) + ___bpf_regs(t), __VA_ARGS__)
#define ___bpf_take5(i, t, n, ...)                                                    \
	, ___bpf_taken(ctx, t, i) ___bpf_take4((i) + ___bpf_regs(t), __VA_ARGS__)
#define ___bpf_take6(i, t, n, ...)                                                    \
	, ___bpf_taken(ctx, t, i) ___bpf_take5((i) + ___bpf_regs(t), __VA_ARGS__)
#define ___bpf_take7(i, t, n, ...)                                                    \
	, ___bpf_taken(ctx, t, i) ___bpf_take6((i) + ___bpf_regs(t), __VA_ARGS__)
#define ___bpf_take8(i, t, n, ...)                                                    \
	, ___bpf_taken(ctx, t, i) ___bpf_take7((i) + ___bpf_regs(t), __VA_ARGS__)
#define ___bpf_take9(i, t, n, ...)                                                    \
	, ___bpf_taken(ctx, t, i) ___bpf_take8((i) + ___bpf_regs(t), __VA_ARGS__)
#define ___bpf_take10(i, t, n, ...)                                                    \
	, ___bpf_taken(ctx, t, i) ___bpf_take9((i) + ___bpf_regs(t), __VA_ARGS__)
#define ___bpf_take11(i, t, n, ...)                                                    \
	, ___bpf_taken(ctx, t, i) ___bpf_take10((i) + ___bpf_regs(t), __VA_ARGS__)
#define ___bpf_take12(i, t, n, ...)                                                    \
	, ___bpf_taken(ctx, t, i) ___bpf_take11((i) + ___bpf_regs(t), __VA_ARGS__)
#define ___bpf_take(args...) ___bpf_apply(___bpf_take, ___bpf_npairs(args))(0, ##args)

#define BPF_PROG2(name, args...)                                                                  \
	name(unsigned long long *ctx);                                                            \
	static __always_inline typeof(name(0))                                                    \
	____##name(unsigned long long *ctx ___bpf_declare(args));                                 \
	typeof(name(0)) name(unsigned long long *ctx)                                             \
	{                                                                                         \
		return ____##name(ctx ___bpf_take(args));                                         \
	}                                                                                         \
	static __always_inline typeof(name(0))                                                    \
	____##name(unsigned long long *ctx ___bpf_declare(args))

/* Programs on probes, which see registers (here those of x86_64) instead of arguments. */
#define PT_REGS_PARM1(x) ((x)->di)
#define PT_REGS_PARM2(x) ((x)->si)
#define PT_REGS_PARM3(x) ((x)->dx)
#define PT_REGS_PARM4(x) ((x)->cx)
#define PT_REGS_PARM5(x) ((x)->r8)
#define PT_REGS_RET(x) (*(unsigned long *)(x)->sp)
#define PT_REGS_FP(x) ((x)->bp)
#define PT_REGS_RC(x) ((x)->ax)
#define PT_REGS_SP(x) ((x)->sp)
#define PT_REGS_IP(x) ((x)->ip)

#define ___bpf_registers0() ctx
#define ___bpf_registers1(a) ___bpf_registers0(), (void *)PT_REGS_PARM1(ctx)
#define ___bpf_registers2(a, ...) ___bpf_registers1(__VA_ARGS__), (void *)PT_REGS_PARM2(ctx)
#define ___bpf_registers3(a, ...) ___bpf_registers2(__VA_ARGS__), (void *)PT_REGS_PARM3(ctx)
#define ___bpf_registers4(a, ...) ___bpf_registers3(__VA_ARGS__), (void *)PT_REGS_PARM4(ctx)
#define ___bpf_registers5(a, ...) ___bpf_registers4(__VA_ARGS__), (void *)PT_REGS_PARM5(ctx)
#define ___bpf_registers(args...) ___bpf_apply(___bpf_registers, ___bpf_narg(args))(args)
#define ___bpf_result0() ctx
#define ___bpf_result1(a) ctx, (void *)PT_REGS_RC(ctx)
#define ___bpf_result(args...) ___bpf_apply(___bpf_result, ___bpf_narg(args))(args)

#define ___bpf_probe(name, values, args...)                                                       \
	name(struct pt_regs *ctx);                                                                \
	static __always_inline typeof(name(0)) ____##name(struct pt_regs *ctx, ##args);           \
	typeof(name(0)) name(struct pt_regs *ctx)                                                 \
	{                                                                                         \
		_Pragma("GCC diagnostic push")                                                    \
		_Pragma("GCC diagnostic ignored \"-Wint-conversion\"")                            \
		return ____##name(values(args));                                                  \
		_Pragma("GCC diagnostic pop")                                                     \
	}                                                                                         \
	static __always_inline typeof(name(0)) ____##name(struct pt_regs *ctx, ##args)
#define BPF_KPROBE(name, args...) ___bpf_probe(name, ___bpf_registers, ##args)
#define BPF_KRETPROBE(name, args...) ___bpf_probe(name, ___bpf_result, ##args)

#endif
