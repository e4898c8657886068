/* SPDX-License-Identifier: GPL-2.0-only */
#include "format.h"
#include "conversion.h"
#include "probe_read.h"
#include "string.h"

#define LEVELS 3

extern char bpf_bprintf_nest_level[];
extern char bpf_bprintf_bufs[];

noinline struct format_buffers *take_format_buffers(void)
{
	s32 *level;

	preempt_disable();
	level = this_cpu_pointer(s32, bpf_bprintf_nest_level);
	if (unlikely(++*level > LEVELS)) {
		--*level;
		preempt_enable();
		return 0;
	}
	return this_cpu_pointer(struct format_buffers, bpf_bprintf_bufs) + (*level - 1);
}

noinline void give_format_buffers(void)
{
	--*this_cpu_pointer(s32, bpf_bprintf_nest_level);
	preempt_enable();
}

/* Copies of texts (or of bytes of addresses) lie one behind the other. */
always_inline s64 copy_argument(struct conversion *conversion, u64 *argument, char **texts,
				const char *end)
{
	s64 size;

	if (conversion->kind == IPV4 || conversion->kind == IPV6) {
		size = conversion->kind == IPV4 ? 4 : 16;
		if (end - *texts < size)
			return -ENOSPC;
		if (copy_from_kernel_nofault(*texts, (const char *)*argument, size) < 0)
			memset(*texts, 0, size);
	} else {
		if (end == *texts)
			return -ENOSPC;
		if (conversion->kind == TEXT)
			size = strncpy_from_kernel_nofault(*texts, (const char *)*argument,
							   end - *texts);
		else
			size = strncpy_from_user_nofault(*texts, (const char *)*argument,
							 end - *texts);
		if (size < 0) {
			**texts = 0;
			size = 1;
		}
	}
	*argument = (u64)*texts;
	*texts += size;
	return 0;
}

noinline s64 prepare_arguments(const char *format, u32 size, u64 *arguments, u32 count, char *texts)
{
	const char *at = format, *end = texts + FORMAT_TEXTS;
	u32 used = 0, i;

	for (i = 0; i < size && format[i]; i++) {
		/* Printable characters and white space. */
		if (!(format[i] >= ' ' && format[i] < 0x7f) &&
		    !(format[i] >= '\t' && format[i] <= '\r'))
			return -EINVAL;
	}
	if (i == size)
		return -EINVAL;
	while (*at) {
		struct conversion conversion;

		if (*at++ != '%')
			continue;
		at = read_conversion(at, &conversion);
		if (conversion.kind == PERCENT)
			continue;
		if (used >= count || conversion.kind == REFUSED)
			return -EINVAL;
		if (conversion.kind == SYMBOL)
			cold_call(guest_symbol_names);
		if (conversion.kind >= IPV4 && conversion.kind <= USER_TEXT) {
			s64 result = copy_argument(&conversion, &arguments[used], &texts, end);

			if (result)
				return result;
		}
		used++;
	}
	return 0;
}

struct output {
	char *at, *end;
	u64 length;
};

always_inline void put(struct output *output, char letter)
{
	if (output->at < output->end)
		*output->at++ = letter;
	output->length++;
}

always_inline void pad(struct output *output, s64 count, char letter)
{
	while (count-- > 0)
		put(output, letter);
}

noinline void put_number(struct output *output, struct conversion *conversion, u64 value,
			 _Bool negative)
{
	_Bool hex = conversion->kind != SIGNED && conversion->kind != UNSIGNED;
	char letters = conversion->kind == HEX_CAPITALS ? 'A' - 10 : 'a' - 10;
	char digits[20], sign = 0;
	s64 count = 0, fill;

	do {
		u64 digit = hex ? value & 15 : value % 10;

		value = hex ? value >> 4 : value / 10;
		digits[count++] = digit + (digit < 10 ? '0' : letters);
	} while (value);
	if (conversion->kind == SIGNED)
		sign = negative ? '-' : conversion->plus ? '+' : conversion->space ? ' ' : 0;
	fill = (s64)conversion->width - count - !!sign;
	if (!conversion->left && !conversion->zeroes)
		pad(output, fill, ' ');
	if (sign)
		put(output, sign);
	if (!conversion->left && conversion->zeroes)
		pad(output, fill, '0');
	while (count)
		put(output, digits[--count]);
	if (conversion->left)
		pad(output, fill, ' ');
}

always_inline void put_text(struct output *output, struct conversion *conversion, const char *text)
{
	s64 length = 0, fill;

	while (text[length])
		length++;
	fill = (s64)conversion->width - length;
	if (!conversion->left)
		pad(output, fill, ' ');
	while (*text)
		put(output, *text++);
	if (conversion->left)
		pad(output, fill, ' ');
}

always_inline void put_digits(char **at, u32 value, u32 base, u32 least)
{
	char digits[4];
	u32 count = 0;

	do {
		u32 digit = value % base;

		digits[count++] = digit + (digit < 10 ? '0' : 'a' - 10);
		value /= base;
	} while (value);
	while (least > count)
		digits[count++] = '0';
	while (count)
		*(*at)++ = digits[--count];
}

/* Four numbers with dots, or eight words of hex digits, with colons if plain. */
noinline void put_address(struct output *output, struct conversion *conversion, const u8 *bytes)
{
	char text[48], *at = text;
	u32 i;

	if (conversion->kind == IPV4) {
		for (i = 0; i < 4; i++) {
			if (i)
				*at++ = '.';
			put_digits(&at, bytes[i], 10, conversion->plain ? 1 : 3);
		}
	} else {
		for (i = 0; i < 16; i++) {
			if (i && !(i & 1) && conversion->plain)
				*at++ = ':';
			put_digits(&at, bytes[i], 16, 2);
		}
	}
	*at = 0;
	put_text(output, conversion, text);
}

always_inline void put_integer(struct output *output, struct conversion *conversion, u64 value)
{
	_Bool negative = 0;

	if (!conversion->wide)
		value = conversion->kind == SIGNED ? (u64)(s32)value : (u32)value;
	if (conversion->kind == SIGNED && (s64)value < 0) {
		negative = 1;
		value = -value;
	}
	put_number(output, conversion, value, negative);
}

noinline void put_conversion(struct output *output, struct conversion *conversion, u64 value)
{
	switch (conversion->kind) {
	case POINTER:
		/* Sixteen digits unless a width is given; never replaced by a hash. */
		if (!conversion->width) {
			conversion->width = 16;
			conversion->zeroes = 1;
		}
		put_number(output, conversion, value, 0);
		break;
	case IPV4:
	case IPV6:
		put_address(output, conversion, (const u8 *)value);
		break;
	case TEXT:
	case USER_TEXT:
		put_text(output, conversion, (const char *)value);
		break;
	case LETTER:
		if (!conversion->left)
			pad(output, (s64)conversion->width - 1, ' ');
		put(output, value);
		if (conversion->left)
			pad(output, (s64)conversion->width - 1, ' ');
		break;
	default:
		put_integer(output, conversion, value);
	}
}

noinline s64 print_text(char *buffer, u64 room, const char *format, const u64 *arguments)
{
	struct output output = { .at = buffer, .end = room ? buffer + room - 1 : buffer };

	while (*format) {
		struct conversion conversion;

		if (*format != '%') {
			put(&output, *format++);
			continue;
		}
		format = read_conversion(format + 1, &conversion);
		if (conversion.kind == PERCENT)
			put(&output, '%');
		else
			put_conversion(&output, &conversion, *arguments++);
	}
	if (room)
		*output.at = 0;
	return output.length;
}
