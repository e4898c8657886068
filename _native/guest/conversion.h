/* SPDX-License-Identifier: GPL-2.0-only */
/* Reading one conversion of a format. */
#ifndef GUEST_CONVERSION_H
#define GUEST_CONVERSION_H

#include "guest.h"

enum conversion_kind {
	PERCENT,
	SIGNED,
	UNSIGNED,
	HEX,
	HEX_CAPITALS,
	POINTER,
	SYMBOL,
	IPV4,
	IPV6,
	TEXT,
	USER_TEXT,
	LETTER,
	REFUSED
};

struct conversion {
	enum conversion_kind kind;
	_Bool left, plus, space, zeroes, wide;
	/* Addresses of networks: separated by dots or colons without leading zeroes, or filled up. */
	_Bool plain;
	u32 width;
};

/* Reads what stands behind a percent sign; returns the place behind it. */
extern const char *read_conversion(const char *at, struct conversion *conversion);

#endif
