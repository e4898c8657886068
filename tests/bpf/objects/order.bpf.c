// SPDX-License-Identifier: GPL-2.0-only
/* Subprograms that libbpf links in another order than the source has them. */
#define SEC(name) __attribute__((section(name), used))
#define NOINLINE __attribute__((noinline))

int counter;
const volatile int scale = 3;

static NOINLINE int last(int value)
{
	counter += value;
	return value * scale;
}

static NOINLINE int middle(int value)
{
	return last(value + counter) - 1;
}

NOINLINE int first(int value)
{
	return middle(value) + last(value);
}

SEC("fentry/vfs_read")
int one(unsigned long long *ctx)
{
	return last(1) + first(2) + middle(3);
}

SEC("fexit/vfs_read")
int two(unsigned long long *ctx)
{
	return first(ctx[0]) + middle(4);
}

char _license[] SEC("license") = "GPL";
