// SPDX-License-Identifier: GPL-2.0-only
/* linked.o is this file compiled as tests/bpf/objects/README.md says. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

char _license[] SEC("license") = "GPL";

extern int LINUX_KERNEL_VERSION __kconfig;
extern int CONFIG_NOT_THERE __kconfig __weak;
extern const void no_such_symbol __ksym __weak;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, u32);
	__type(value, u64);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 5000);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(map_flags, 0);
	__uint(key_size, 4);
	__uint(value_size, 24);
	__uint(max_entries, 3);
} percpu SEC(".maps");

const volatile int scale = 3;
int table[4] = { 10, 20, 30, 40 };
u64 calls;
u64 unused_in_custom SEC(".data.custom") = 7;

static __noinline int scaled(int value)
{
	return value * scale;
}

__noinline int sum(int count)
{
	int total = 0;

	for (int i = 0; i < 4; i++)
		total += i < count ? table[i] : 0;
	return scaled(total);
}

/* r0 = scale * (10 + 20 + 30) + scale * 5 + 1 = 196 */
SEC("fentry/bpf_fentry_test1")
int BPF_PROG(main_program, int a)
{
	calls++;
	return sum(3) + scaled(5) + (unused_in_custom == 7);
}

SEC("fsession/bpf_fentry_test1")
int BPF_PROG(session, int a, int ret)
{
	u64 *cookie = bpf_session_cookie(ctx);
	u32 key = 9;

	if (bpf_session_is_return(ctx)) {
		bpf_printk("cookie %llx, returned %d", *cookie, ret);
		bpf_map_update_elem(&counts, &key, cookie, BPF_ANY);
		return 0;
	}
	*cookie = 0xDEADBEEF;
	return 0;
}

SEC("fexit.s/vfs_read")
int BPF_PROG(configured)
{
	if (&no_such_symbol)
		return 1;
	return LINUX_KERNEL_VERSION + CONFIG_NOT_THERE;
}

SEC("lsm/file_open")
int BPF_PROG(hook, struct file *file, int ret)
{
	void *room = bpf_ringbuf_reserve(&ring, 16, 0);
	u32 key = 2;
	u64 *slot;

	if (room)
		bpf_ringbuf_submit(room, 0);
	slot = bpf_map_lookup_elem(&percpu, &key);
	if (slot)
		slot[2] = 1;
	return ret;
}

SEC("?fentry/nothing")
int BPF_PROG(unasked)
{
	return (long)&no_such_symbol;
}

SEC("xdp")
int context(struct xdp_md *ctx)
{
	return *(u64 *)0x10;
}
