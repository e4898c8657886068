/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What every source of the guest runtime shares: integer types, access to kernel structures
 * by the offsets of layout.h (generated from tramposim/kernel/structs.py), static branches.
 * The runtime does the work that the kernel's functions of the same name do: the same loads,
 * stores, per-CPU accesses, atomics, branches and calls. The code is written from that
 * description, not from the kernel's source.
 */
#ifndef GUEST_H
#define GUEST_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef signed char s8;
typedef int s32;
typedef long s64;

#include "layout.h"

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
/*
 * True as a rule, but laid out behind a taken branch, as kernels are built that know no
 * profile: where code falls through and where it jumps costs as much as what it computes.
 */
#define usual_but_far(x) unlikely(x)
#define always_inline static inline __attribute__((always_inline))
#define noinline __attribute__((noinline))
#define no_canary __attribute__((no_stack_protector))
#define barrier() __asm__ __volatile__("" ::: "memory")

/* The object of `type` at `offset` from `pointer`. */
#define AT(type, pointer, offset) (*(__typeof__(type) *)((char *)(pointer) + (offset)))
/* The same, loaded or stored exactly once and in order. */
#define ONCE(type, pointer, offset) (*(__typeof__(type) volatile *)((char *)(pointer) + (offset)))

/*
 * A constant that reaches memory through a register: no immediate behind an operand-size
 * prefix, which decoders of Intel cores stall on and which kernels are built to avoid.
 */
#define through_register(type, constant)                                          \
	({                                                                        \
		type held = (constant);                                           \
		__asm__("" : "+r"(held));                                         \
		held;                                                             \
	})

/*
 * Runs `call` with `variable` kept on the stack meanwhile: for calls on cold paths, which
 * must not cost the hot path a callee-saved register.
 */
#define spilled_across(variable, call)                                            \
	do {                                                                      \
		__typeof__(variable) volatile slot = (variable);                  \
		call;                                                             \
		(variable) = slot;                                                \
	} while (0)

/* Errno values, as the kernel returns them. */
#define ENOENT 2
#define E2BIG 7
#define EEXIST 17
#define EINVAL 22
#define ENOSPC 28
#define EBUSY 16
#define ENOMEM 12
#define EFAULT 14

#if defined(__x86_64__)
#include "x86_64.h"
#elif defined(__aarch64__)
#include "arm64.h"
#else
#error "x86_64 or aarch64"
#endif

/*
 * A branch that is a jump in the object and is patched to a nop of the same length when the
 * loader sets `key` to off. .static_branches holds (address of the jump, key).
 */
#define static_branch(key)                                                        \
	({                                                                        \
		__label__ taken, done;                                            \
		_Bool on;                                                         \
		__asm__ goto("1: " JUMP " %l[taken]\n\t"                           \
			     ".pushsection .static_branches,\"a\"\n\t"             \
			     ".balign 8\n\t"                                       \
			     ".quad 1b, " #key "\n\t"                              \
			     ".popsection"                                        \
			     ::: : taken);                                        \
		on = 0;                                                           \
		goto done;                                                        \
	taken:                                                                    \
		on = 1;                                                           \
	done:                                                                     \
		on;                                                               \
	})

struct program;
struct run_context;
struct image;
struct map;

extern u64 sched_clock(void);
extern void bpf_prog_inc_misses_counter(struct program *prog);

/* Out-of-bounds shifts and indices are checked, as CONFIG_UBSAN does. */
#define check_below(value, bound)                                                 \
	do {                                                                      \
		if (unlikely((value) >= (bound)))                                 \
			cold_call(guest_ubsan);                                   \
	} while (0)

#endif
