/* SPDX-License-Identifier: GPL-2.0-only */
/* Text from formats of programs (bpf_trace_printk, bpf_snprintf). */
#ifndef GUEST_FORMAT_H
#define GUEST_FORMAT_H

#include "guest.h"

#define FORMAT_ARGUMENTS 12
#define FORMAT_TEXTS 512
#define FORMAT_OUTPUT 1024

/* What a level of programs that interrupt each other has for itself. */
struct format_buffers {
	char texts[FORMAT_TEXTS];
	char output[FORMAT_OUTPUT];
};

/* The buffers of this level, preemption off until they are given back; 0 when all are in use. */
extern struct format_buffers *take_format_buffers(void);
extern void give_format_buffers(void);

/*
 * Checks the format (`size` bytes with its zero) and replaces arguments that are addresses of
 * text by addresses of copies in `texts`. -EINVAL for a format or conversion that is not
 * accepted.
 */
extern s64 prepare_arguments(const char *format, u32 size, u64 *arguments, u32 count, char *texts);

/* Writes the text and a zero, at most `room` bytes; returns the length that it has. */
extern s64 print_text(char *output, u64 room, const char *format, const u64 *arguments);

#endif
