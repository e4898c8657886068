/* SPDX-License-Identifier: GPL-2.0-only */
/* What programs for libbpf expect of <bpf/bpf_core_read.h>: questions to the kernel's types. */
#ifndef __BPF_CORE_READ_H__
#define __BPF_CORE_READ_H__

#include "bpf_helpers.h"

/* Kinds of relocations (enum bpf_core_relo_kind as the compiler's builtins take them). */
enum bpf_field_info_kind {
	BPF_FIELD_BYTE_OFFSET = 0,
	BPF_FIELD_BYTE_SIZE = 1,
	BPF_FIELD_EXISTS = 2,
	BPF_FIELD_SIGNED = 3,
	BPF_FIELD_LSHIFT_U64 = 4,
	BPF_FIELD_RSHIFT_U64 = 5,
};
enum bpf_type_id_kind {
	BPF_TYPE_ID_LOCAL = 0,
	BPF_TYPE_ID_TARGET = 1,
};
enum bpf_type_info_kind {
	BPF_TYPE_EXISTS = 0,
	BPF_TYPE_SIZE = 1,
	BPF_TYPE_MATCHES = 2,
};
enum bpf_enum_value_kind {
	BPF_ENUMVAL_EXISTS = 0,
	BPF_ENUMVAL_VALUE = 1,
};

#define ___bpf_field1(field) (field)
#define ___bpf_field2(type, field) (((type *)0)->field)
#define ___bpf_field(args...) ___bpf_apply(___bpf_field, ___bpf_narg(args))(args)

#define bpf_core_field_exists(field...)                                                           \
	__builtin_preserve_field_info(___bpf_field(field), BPF_FIELD_EXISTS)
#define bpf_core_field_size(field...)                                                             \
	__builtin_preserve_field_info(___bpf_field(field), BPF_FIELD_BYTE_SIZE)
#define bpf_core_field_offset(field...)                                                           \
	__builtin_preserve_field_info(___bpf_field(field), BPF_FIELD_BYTE_OFFSET)
#define bpf_core_type_id_local(type)                                                              \
	__builtin_btf_type_id(*(typeof(type) *)0, BPF_TYPE_ID_LOCAL)
#define bpf_core_type_id_kernel(type)                                                             \
	__builtin_btf_type_id(*(typeof(type) *)0, BPF_TYPE_ID_TARGET)
#define bpf_core_type_exists(type)                                                                \
	__builtin_preserve_type_info(*(typeof(type) *)0, BPF_TYPE_EXISTS)
#define bpf_core_type_size(type) __builtin_preserve_type_info(*(typeof(type) *)0, BPF_TYPE_SIZE)
#define bpf_core_enum_value_exists(type, value)                                                   \
	__builtin_preserve_enum_value(*(typeof(type) *)value, BPF_ENUMVAL_EXISTS)
#define bpf_core_enum_value(type, value)                                                          \
	__builtin_preserve_enum_value(*(typeof(type) *)value, BPF_ENUMVAL_VALUE)

#define bpf_core_read(dst, size, src)                                                             \
	bpf_probe_read_kernel(dst, size, (const void *)__builtin_preserve_access_index(src))
#define bpf_core_read_user(dst, size, src)                                                        \
	bpf_probe_read_user(dst, size, (const void *)__builtin_preserve_access_index(src))
#define bpf_core_read_str(dst, size, src)                                                         \
	bpf_probe_read_kernel_str(dst, size, (const void *)__builtin_preserve_access_index(src))

/* Follow the pointers a->b->c with a read each; the last read is done by `read`. */
#define ___bpf_follow1(read, dst, size, src, a) read(dst, size, &(src)->a)
#define ___bpf_follow2(read, dst, size, src, a, b)                                                \
	({                                                                                        \
		typeof((src)->a) __t1;                                                            \
		bpf_core_read(&__t1, sizeof(__t1), &(src)->a);                                    \
		read(dst, size, &__t1->b);                                                        \
	})
#define ___bpf_follow3(read, dst, size, src, a, b, c)                                             \
	({                                                                                        \
		typeof((src)->a->b) __t2;                                                         \
		___bpf_follow2(bpf_core_read, &__t2, sizeof(__t2), src, a, b);                    \
		read(dst, size, &__t2->c);                                                        \
	})
#define ___bpf_follow4(read, dst, size, src, a, b, c, d)                                          \
	({                                                                                        \
		typeof((src)->a->b->c) __t3;                                                      \
		___bpf_follow3(bpf_core_read, &__t3, sizeof(__t3), src, a, b, c);                 \
		read(dst, size, &__t3->d);                                                        \
	})
#define ___bpf_follow5(read, dst, size, src, a, b, c, d, e)                                       \
	({                                                                                        \
		typeof((src)->a->b->c->d) __t4;                                                   \
		___bpf_follow4(bpf_core_read, &__t4, sizeof(__t4), src, a, b, c, d);              \
		read(dst, size, &__t4->e);                                                        \
	})
#define ___bpf_follow(read, dst, size, src, a...)                                                 \
	___bpf_apply(___bpf_follow, ___bpf_narg(a))(read, dst, size, src, a)

#define ___bpf_type1(src, a) typeof((src)->a)
#define ___bpf_type2(src, a, b) typeof((src)->a->b)
#define ___bpf_type3(src, a, b, c) typeof((src)->a->b->c)
#define ___bpf_type4(src, a, b, c, d) typeof((src)->a->b->c->d)
#define ___bpf_type5(src, a, b, c, d, e) typeof((src)->a->b->c->d->e)
#define ___bpf_type(src, a...) ___bpf_apply(___bpf_type, ___bpf_narg(a))(src, a)

#define BPF_CORE_READ_INTO(dst, src, a...)                                                        \
	({ ___bpf_follow(bpf_core_read, dst, sizeof(*(dst)), src, a); })
#define BPF_CORE_READ_STR_INTO(dst, src, a...)                                                    \
	({ ___bpf_follow(bpf_core_read_str, (void *)(dst), sizeof(*(dst)), src, a); })
#define BPF_CORE_READ(src, a...)                                                                  \
	({                                                                                        \
		___bpf_type(src, a) __read;                                                       \
		BPF_CORE_READ_INTO(&__read, src, a);                                              \
		__read;                                                                           \
	})

#define BPF_CORE_READ_BITFIELD(s, field)                                                          \
	({                                                                                        \
		const void *__p = (const void *)(s) +                                             \
				  __builtin_preserve_field_info((s)->field,                       \
								BPF_FIELD_BYTE_OFFSET);           \
		unsigned long long __v;                                                           \
		switch (__builtin_preserve_field_info((s)->field, BPF_FIELD_BYTE_SIZE)) {         \
		case 1: __v = *(const unsigned char *)__p; break;                                 \
		case 2: __v = *(const unsigned short *)__p; break;                                \
		case 4: __v = *(const unsigned int *)__p; break;                                  \
		default: __v = *(const unsigned long long *)__p; break;                           \
		}                                                                                 \
		__v <<= __builtin_preserve_field_info((s)->field, BPF_FIELD_LSHIFT_U64);          \
		if (__builtin_preserve_field_info((s)->field, BPF_FIELD_SIGNED))                  \
			__v = (long long)__v >>                                                   \
			      __builtin_preserve_field_info((s)->field, BPF_FIELD_RSHIFT_U64);    \
		else                                                                              \
			__v >>= __builtin_preserve_field_info((s)->field, BPF_FIELD_RSHIFT_U64);  \
		__v;                                                                              \
	})

#endif
