/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory that may not be there. An access that faults goes on at a label of its function:
 * .exceptions holds (address of the access, address to go on at), which the machine looks up.
 */
#ifndef GUEST_PROBE_READ_H
#define GUEST_PROBE_READ_H

#include "guest.h"

#define ERANGE 34

#define EXCEPTION(label)                                                          \
	".pushsection .exceptions,\"a\"\n\t.balign 8\n\t.quad 1b, %l[" #label "]\n\t" \
	".popsection"

#if defined(__x86_64__)
#define LOAD_u64(to, from, label) LOAD("movq %[at], %[got]", "=r", u64, to, from, label)
#define LOAD_u32(to, from, label) LOAD("movl %[at], %k[got]", "=r", u32, to, from, label)
#define LOAD_u16(to, from, label) LOAD("movw %[at], %w[got]", "=r", u16, to, from, label)
#define LOAD_u8(to, from, label) LOAD("movb %[at], %b[got]", "=q", u8, to, from, label)
#define PROBED "m"
#else
#define LOAD_u64(to, from, label) LOAD("ldr %x[got], %[at]", "=r", u64, to, from, label)
#define LOAD_u32(to, from, label) LOAD("ldr %w[got], %[at]", "=r", u32, to, from, label)
#define LOAD_u16(to, from, label) LOAD("ldrh %w[got], %[at]", "=r", u16, to, from, label)
#define LOAD_u8(to, from, label) LOAD("ldrb %w[got], %[at]", "=r", u8, to, from, label)
#define PROBED "Q"
#endif

#define LOAD(instruction, constraint, type, to, from, label)                      \
	do {                                                                      \
		type got;                                                         \
		__asm__ goto("1: " instruction "\n\t" EXCEPTION(label)             \
			     : [got] constraint(got)                              \
			     : [at] PROBED(*(const volatile type *)(from))        \
			     : "memory"                                           \
			     : label);                                            \
		(to) = got;                                                       \
	} while (0)

/* Copies or -EFAULT; -ERANGE for an address that is not the kernel's. */
extern s64 copy_from_kernel_nofault(char *to, const char *from, u64 size);
/* Copies up to a zero, at most `size` bytes with the zero; the bytes copied or an error. */
extern s64 strncpy_from_kernel_nofault(char *to, const char *from, s64 size);
/* The same from the lower half of the address space. */
extern s64 strncpy_from_user_nofault(char *to, const char *from, s64 size);

#endif
