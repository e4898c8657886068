/* SPDX-License-Identifier: GPL-2.0-only */
#include "conversion.h"

#define WIDEST 10000

always_inline _Bool is_digit(char letter)
{
	return letter >= '0' && letter <= '9';
}

always_inline _Bool is_space(char letter)
{
	return letter == ' ' || (letter >= '\t' && letter <= '\r');
}

always_inline _Bool is_punctuation(char letter)
{
	return (letter > ' ' && letter < '0') || (letter > '9' && letter < 'A') ||
	       (letter > 'Z' && letter < 'a') || (letter > 'z' && letter < 0x7f);
}

always_inline const char *read_flags(const char *at, struct conversion *conversion)
{
	for (;; at++) {
		if (*at == '0')
			conversion->zeroes = 1;
		else if (*at == '+')
			conversion->plus = 1;
		else if (*at == '-')
			conversion->left = 1;
		else if (*at == ' ')
			conversion->space = 1;
		else
			break;
	}
	while (is_digit(*at)) {
		if (conversion->width < WIDEST)
			conversion->width = conversion->width * 10 + (*at - '0');
		at++;
	}
	return at;
}

/* What follows a p. */
always_inline const char *read_pointer(const char *at, struct conversion *conversion)
{
	conversion->kind = POINTER;
	if ((at[0] == 'k' || at[0] == 'u') && at[1] == 's') {
		conversion->kind = at[0] == 'k' ? TEXT : USER_TEXT;
		return at + 2;
	}
	if (at[0] == 'K' || at[0] == 'x')
		return at + 1;
	if (at[0] == 's' || at[0] == 'S' || at[0] == 'B') {
		conversion->kind = SYMBOL;
		return at + 1;
	}
	if ((at[0] == 'i' || at[0] == 'I') && (at[1] == '4' || at[1] == '6')) {
		conversion->kind = at[1] == '4' ? IPV4 : IPV6;
		conversion->plain = at[0] == 'I';
		return at + 2;
	}
	if (*at && !is_space(*at) && !is_punctuation(*at))
		conversion->kind = REFUSED;
	return at;
}

noinline const char *read_conversion(const char *at, struct conversion *conversion)
{
	*conversion = (struct conversion){ .kind = REFUSED };
	if (*at == '%') {
		conversion->kind = PERCENT;
		return at + 1;
	}
	at = read_flags(at, conversion);
	if (*at == 'p')
		return read_pointer(at + 1, conversion);
	if (*at == 's') {
		conversion->kind = TEXT;
		return at + 1;
	}
	if (*at == 'c') {
		conversion->kind = LETTER;
		return at + 1;
	}
	if (*at == 'l') {
		conversion->wide = 1;
		at += at[1] == 'l' ? 2 : 1;
	}
	if (*at == 'd' || *at == 'i')
		conversion->kind = SIGNED;
	else if (*at == 'u')
		conversion->kind = UNSIGNED;
	else if (*at == 'x')
		conversion->kind = HEX;
	else if (*at == 'X')
		conversion->kind = HEX_CAPITALS;
	return at + 1;
}
