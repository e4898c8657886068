/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Text for the trace buffer and for programs. The kernel's trace buffer is reached through a
 * trace event; here a record goes straight into the CPU's ring, the oldest giving way.
 */
#include "format.h"
#include "ring_copy.h"

extern char guest_trace_ring[];

/* A record: this, the text without its zero, and zeroes up to a multiple of eight. */
struct trace_record {
	u64 time;
	u32 length, pid;
};

always_inline u64 record_bytes(u32 length)
{
	return sizeof(struct trace_record) + ((length + 7) & ~7u);
}

/* Makes room by forgetting the oldest records. */
always_inline void forget_oldest(char *ring, u64 bytes, u64 needed)
{
	u64 tail = AT(u64, ring, TRACE_RING_TAIL), size = AT(u64, ring, TRACE_RING_SIZE);
	u64 head = AT(u64, ring, TRACE_RING_HEAD);

	while (unlikely(head + needed - tail > size)) {
		u32 length = AT(u32, ring + TRACE_RING_DATA, (tail + 8) & (size - 1));

		tail += record_bytes(length);
	}
	AT(u64, ring, TRACE_RING_TAIL) = tail;
}

noinline void write_trace(const char *text, u32 length)
{
	struct trace_record record = {
		.time = sched_clock(),
		.length = length,
		.pid = AT(u32, current(), TASK_STRUCT_PID),
	};
	u64 zeroes = 0, bytes = record_bytes(length), size, position;
	char *ring, *data;

	preempt_disable();
	ring = AT(char *, this_cpu_pointer(char, guest_trace_ring), 0);
	data = ring + TRACE_RING_DATA;
	size = AT(u64, ring, TRACE_RING_SIZE);
	forget_oldest(ring, size, bytes);
	position = AT(u64, ring, TRACE_RING_HEAD);
	position = copy_round(data, size, position, &record, sizeof(record));
	position = copy_round(data, size, position, text, length);
	if (length & 7)
		position = copy_round(data, size, position, &zeroes, 8 - (length & 7));
	store_release(ring + TRACE_RING_HEAD, position);
	preempt_enable();
}

always_inline s64 trace_text(const char *format, u32 size, u64 *arguments, u32 count)
{
	struct format_buffers *buffers = take_format_buffers();
	s64 result;

	if (unlikely(!buffers))
		return -EBUSY;
	result = prepare_arguments(format, size, arguments, count, buffers->texts);
	if (likely(!result)) {
		result = print_text(buffers->output, FORMAT_OUTPUT, format, arguments);
		write_trace(buffers->output,
			    result < FORMAT_OUTPUT ? result : FORMAT_OUTPUT - 1);
	}
	give_format_buffers();
	return result;
}

traceable s64 bpf_trace_printk(const char *format, u32 size, u64 first, u64 second, u64 third)
{
	u64 arguments[3] = { first, second, third };

	return trace_text(format, size, arguments, 3);
}

/* The number of arguments in an array, or -1. */
always_inline s32 argument_count(const u64 *array, u32 bytes)
{
	if (unlikely(bytes & 7 || bytes > FORMAT_ARGUMENTS * 8 || (bytes && !array)))
		return -1;
	return bytes / 8;
}

traceable s64 bpf_trace_vprintk(const char *format, u32 size, const u64 *array, u32 bytes)
{
	s32 count = argument_count(array, bytes);
	u64 arguments[FORMAT_ARGUMENTS];

	if (unlikely(count < 0))
		return -EINVAL;
	memcpy(arguments, array, bytes);
	return trace_text(format, size, arguments, count);
}

/* The length of the whole text with its zero, however much of it there was room for. */
traceable s64 bpf_snprintf(char *output, u32 room, const char *format, const u64 *array, u32 bytes)
{
	s32 count = argument_count(array, bytes);
	u64 arguments[FORMAT_ARGUMENTS];
	struct format_buffers *buffers;
	s64 result;

	if (unlikely(count < 0 || (room && !output)))
		return -EINVAL;
	buffers = take_format_buffers();
	if (unlikely(!buffers))
		return -EBUSY;
	memcpy(arguments, array, bytes);
	result = prepare_arguments(format, ~0u, arguments, count, buffers->texts);
	if (likely(!result))
		result = print_text(output, room, format, arguments) + 1;
	give_format_buffers();
	return result;
}
