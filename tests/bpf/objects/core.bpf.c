// SPDX-License-Identifier: GPL-2.0-only
/* core.o is this file compiled as README.md says; the kernel's types are made by the test. */
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define CORE __attribute__((preserve_access_index))

struct inner {
	u32 first;
	u32 last;
} CORE;

struct thing {
	int pid;
	struct inner parts[2];
	struct inner *next;
	unsigned flag : 3;
} CORE;

struct thing___old {
	int gone;
} CORE;

enum color { RED = 1, GREEN = 2 };

SEC("fentry/f")
u64 offsets(u64 *ctx)
{
	struct thing *t = (void *)ctx[0];

	return t->pid + t->parts[1].last + t->next->first;
}

SEC("fentry/f")
u64 questions(u64 *ctx)
{
	struct thing *t = (void *)0;
	struct thing___old *old = (void *)0;

	return __builtin_preserve_field_info(t->parts[1].last, 0) +
	       __builtin_preserve_field_info(t->pid, 2) * 1000 +
	       __builtin_preserve_field_info(old->gone, 2) * 10000 +
	       __builtin_preserve_type_info(*(struct thing *)0, 1) * 100000 +
	       __builtin_preserve_enum_value(*(enum color *)GREEN, 1) * 100000000;
}

SEC("fentry/f")
u64 bits(u64 *ctx)
{
	struct thing *t = (void *)0;

	return __builtin_preserve_field_info(t->flag, 4) * 100 +
	       __builtin_preserve_field_info(t->flag, 5);
}

SEC("fentry/f")
u64 missing(u64 *ctx)
{
	struct thing___old *old = (void *)ctx[0];

	return old->gone;
}

char _license[] SEC("license") = "Proprietary";
