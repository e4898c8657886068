/* SPDX-License-Identifier: GPL-2.0-only */
/* Reading memory by address, where a bad one is an error and not a fault. */
#include "probe_read.h"
#include "string.h"

always_inline void pagefault_disable(void)
{
	AT(u32, current(), TASK_STRUCT_PAGEFAULT_DISABLED) += 1;
	barrier();
}

always_inline void pagefault_enable(void)
{
	barrier();
	AT(u32, current(), TASK_STRUCT_PAGEFAULT_DISABLED) -= 1;
}

/* Kernel addresses are those of the upper half. */
always_inline _Bool is_kernel_address(const char *address)
{
	return (s64)address < 0;
}

#define COPY_PIECES(type)                                                         \
	while (size >= sizeof(type)) {                                            \
		type piece;                                                       \
		LOAD_##type(piece, from, fault);                                  \
		ONCE(type, to, 0) = piece;                                        \
		to += sizeof(type);                                               \
		from += sizeof(type);                                             \
		size -= sizeof(type);                                             \
	}

/* In the largest pieces that are left, as both ends allow unaligned accesses. */
always_inline s64 copy_nofault(char *to, const char *from, u64 size)
{
	pagefault_disable();
	COPY_PIECES(u64)
	COPY_PIECES(u32)
	COPY_PIECES(u16)
	COPY_PIECES(u8)
	pagefault_enable();
	return 0;
fault:
	pagefault_enable();
	return -EFAULT;
}

noinline s64 copy_from_kernel_nofault(char *to, const char *from, u64 size)
{
	if (unlikely(!is_kernel_address(from)))
		return -ERANGE;
	return copy_nofault(to, from, size);
}

/* No user memory exists unless somebody maps it: an ordinary read that may fault. */
noinline s64 copy_from_user_nofault(char *to, const char *from, u64 size)
{
	if (unlikely(is_kernel_address(from) || is_kernel_address(from + size)))
		return -EFAULT;
	return copy_nofault(to, from, size);
}

always_inline s64 copy_text_nofault(char *to, const char *from, s64 size)
{
	const char *start = from;
	u8 letter;

	if (unlikely(size <= 0))
		return 0;
	pagefault_disable();
	do {
		LOAD_u8(letter, from, fault);
		*to++ = letter;
		from++;
	} while (letter && from - start < size);
	pagefault_enable();
	to[-1] = 0;
	return from - start;
fault:
	pagefault_enable();
	to[0] = 0;
	return -EFAULT;
}

noinline s64 strncpy_from_kernel_nofault(char *to, const char *from, s64 size)
{
	if (unlikely(!is_kernel_address(from)))
		return -ERANGE;
	return copy_text_nofault(to, from, size);
}

noinline s64 strncpy_from_user_nofault(char *to, const char *from, s64 size)
{
	if (unlikely(is_kernel_address(from)))
		return -EFAULT;
	return copy_text_nofault(to, from, size);
}

/* What was not read is zero. */
always_inline s64 zeroed_on_error(s64 result, char *to, u32 size)
{
	if (unlikely(result < 0))
		memset(to, 0, size);
	return result;
}

traceable s64 bpf_probe_read_kernel(char *to, u32 size, const char *from)
{
	return zeroed_on_error(copy_from_kernel_nofault(to, from, size), to, size);
}

traceable s64 bpf_probe_read_user(char *to, u32 size, const char *from)
{
	return zeroed_on_error(copy_from_user_nofault(to, from, size), to, size);
}

traceable s64 bpf_probe_read_kernel_str(char *to, u32 size, const char *from)
{
	return zeroed_on_error(strncpy_from_kernel_nofault(to, from, size), to, size);
}

traceable s64 bpf_probe_read_user_str(char *to, u32 size, const char *from)
{
	return zeroed_on_error(strncpy_from_user_nofault(to, from, size), to, size);
}

/* The older helpers decide by the address. */
traceable s64 bpf_probe_read_compat(char *to, u32 size, const char *from)
{
	if (!is_kernel_address(from))
		return zeroed_on_error(copy_from_user_nofault(to, from, size), to, size);
	return zeroed_on_error(copy_from_kernel_nofault(to, from, size), to, size);
}

traceable s64 bpf_probe_read_compat_str(char *to, u32 size, const char *from)
{
	if (!is_kernel_address(from))
		return zeroed_on_error(strncpy_from_user_nofault(to, from, size), to, size);
	return zeroed_on_error(strncpy_from_kernel_nofault(to, from, size), to, size);
}
