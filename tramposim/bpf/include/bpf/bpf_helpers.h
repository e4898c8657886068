/* SPDX-License-Identifier: GPL-2.0-only */
/* What programs for libbpf expect of <bpf/bpf_helpers.h>: sections, maps, helpers, printing. */
#ifndef __BPF_HELPERS__
#define __BPF_HELPERS__

#if !defined(__VMLINUX_H__) && !defined(__LINUX_BPF_H__) && !defined(_UAPI__LINUX_BPF_H__)
#include "../bpf_types.h"
#endif
#include "bpf_helper_defs.h"

#define SEC(name) __attribute__((section(name), used))

#define __uint(name, val) int(*name)[val]
#define __type(name, val) typeof(val) *name
#define __array(name, val) typeof(val) *name[]
#define __ulong(name, val)                                                                        \
	enum { __bpf_unique_name(__unique_value) = val } name
#define __bpf_join_names(a, b) a##b
#define __bpf_join(a, b) __bpf_join_names(a, b)
#define __bpf_unique_name(name) __bpf_join(name, __COUNTER__)

#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#ifndef __noinline
#define __noinline __attribute__((noinline))
#endif
#ifndef __weak
#define __weak __attribute__((weak))
#endif
#ifndef __hidden
#define __hidden __attribute__((visibility("hidden")))
#endif
#ifndef __unused
#define __unused __attribute__((unused))
#endif
#ifndef __maybe_unused
#define __maybe_unused __attribute__((unused))
#endif

#define __kconfig __attribute__((section(".kconfig")))
#define __ksym __attribute__((section(".ksyms")))
#define __kptr_untrusted __attribute__((btf_type_tag("kptr_untrusted")))
#define __kptr __attribute__((btf_type_tag("kptr")))
#define __arg_ctx __attribute__((btf_decl_tag("arg:ctx")))
#define __arg_nonnull __attribute__((btf_decl_tag("arg:nonnull")))
#define __arg_nullable __attribute__((btf_decl_tag("arg:nullable")))
#define __arg_trusted __attribute__((btf_decl_tag("arg:trusted")))

#define bpf_ksym_exists(sym)                                                                      \
	({                                                                                        \
		_Static_assert(!__builtin_constant_p(!!sym), #sym " is not declared __weak");     \
		!!sym;                                                                            \
	})

#ifndef KERNEL_VERSION
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : (c)))
#endif

#ifndef offsetof
#define offsetof(type, member) __builtin_offsetof(type, member)
#endif
#ifndef container_of
#define container_of(ptr, type, member)                                                           \
	({                                                                                        \
		void *__member = (void *)(ptr);                                                   \
		(type *)(__member - offsetof(type, member));                                      \
	})
#endif

#ifndef barrier
#define barrier() asm volatile("" ::: "memory")
#endif
#ifndef barrier_var
#define barrier_var(var) asm volatile("" : "+r"(var))
#endif
#ifndef likely
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#endif

#ifndef __bpf_unreachable
#define __bpf_unreachable() __builtin_trap()
#endif

enum libbpf_pin_type {
	LIBBPF_PIN_NONE,
	LIBBPF_PIN_BY_NAME,
};

enum libbpf_tristate {
	TRI_NO = 0,
	TRI_YES = 1,
	TRI_MODULE = 2,
};

/* Number of arguments, 0 to 12, and the last but n of a list. */
#define ___bpf_nth(_, _1, _2, _3, _4, _5, _6, _7, _8, _9, _a, _b, _c, N, ...) N
#define ___bpf_narg(...)                                                                          \
	___bpf_nth(_, ##__VA_ARGS__, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#define ___bpf_concat(a, b) a##b
#define ___bpf_apply(fn, n) ___bpf_concat(fn, n)

#define ___bpf_word(x) ((unsigned long long)(x))
#define ___bpf_words0()
#define ___bpf_words1(a) ___bpf_word(a)
#define ___bpf_words2(a, ...) ___bpf_word(a), ___bpf_words1(__VA_ARGS__)
#define ___bpf_words3(a, ...) ___bpf_word(a), ___bpf_words2(__VA_ARGS__)
#define ___bpf_words4(a, ...) ___bpf_word(a), ___bpf_words3(__VA_ARGS__)
#define ___bpf_words5(a, ...) ___bpf_word(a), ___bpf_words4(__VA_ARGS__)
#define ___bpf_words6(a, ...) ___bpf_word(a), ___bpf_words5(__VA_ARGS__)
#define ___bpf_words7(a, ...) ___bpf_word(a), ___bpf_words6(__VA_ARGS__)
#define ___bpf_words8(a, ...) ___bpf_word(a), ___bpf_words7(__VA_ARGS__)
#define ___bpf_words9(a, ...) ___bpf_word(a), ___bpf_words8(__VA_ARGS__)
#define ___bpf_words10(a, ...) ___bpf_word(a), ___bpf_words9(__VA_ARGS__)
#define ___bpf_words11(a, ...) ___bpf_word(a), ___bpf_words10(__VA_ARGS__)
#define ___bpf_words12(a, ...) ___bpf_word(a), ___bpf_words11(__VA_ARGS__)
#define ___bpf_words(...) ___bpf_apply(___bpf_words, ___bpf_narg(__VA_ARGS__))(__VA_ARGS__)

/* Up to three values fit the registers of bpf_trace_printk; more go through memory. */
#define __bpf_printk(text, ...)                                                                   \
	({                                                                                        \
		static const char ____fmt[] = text;                                               \
		bpf_trace_printk(____fmt, sizeof(____fmt), ##__VA_ARGS__);                        \
	})
#define __bpf_vprintk(text, ...)                                                                  \
	({                                                                                        \
		static const char ____fmt[] = text;                                               \
		unsigned long long ____words[] = { ___bpf_words(__VA_ARGS__) };                   \
		bpf_trace_vprintk(____fmt, sizeof(____fmt), ____words, sizeof(____words));        \
	})
#define ___bpf_printk0 __bpf_printk
#define ___bpf_printk1 __bpf_printk
#define ___bpf_printk2 __bpf_printk
#define ___bpf_printk3 __bpf_printk
#define ___bpf_printk4 __bpf_vprintk
#define ___bpf_printk5 __bpf_vprintk
#define ___bpf_printk6 __bpf_vprintk
#define ___bpf_printk7 __bpf_vprintk
#define ___bpf_printk8 __bpf_vprintk
#define ___bpf_printk9 __bpf_vprintk
#define ___bpf_printk10 __bpf_vprintk
#define ___bpf_printk11 __bpf_vprintk
#define ___bpf_printk12 __bpf_vprintk
#define bpf_printk(text, args...) ___bpf_apply(___bpf_printk, ___bpf_narg(args))(text, ##args)

#define BPF_SNPRINTF(out, out_size, text, args...)                                                \
	({                                                                                        \
		static const char ____fmt[] = text;                                               \
		unsigned long long ____words[] = { ___bpf_words(args) };                          \
		bpf_snprintf(out, out_size, ____fmt, ____words, sizeof(____words));               \
	})

#endif
