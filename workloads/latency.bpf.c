// SPDX-License-Identifier: GPL-2.0-only
/*
 * Latency histogram of vfs_read, twice: as a pair of programs that pass the start time through
 * a hash map keyed by thread, and as one fsession program that passes it in its cookie.
 *
 *   tramposim compare workloads/latency.bpf.c
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define BUCKETS 64
#define BUCKET_SHIFT 6 /* 64 ns wide; the last bucket takes everything longer */

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u64);
} starts SEC(".maps");

__u64 histogram[BUCKETS];

static __always_inline void count(__u64 start)
{
	__u64 bucket = (bpf_ktime_get_ns() - start) >> BUCKET_SHIFT;

	if (bucket >= BUCKETS)
		bucket = BUCKETS - 1;
	__sync_fetch_and_add(&histogram[bucket], 1);
}

SEC("fentry/vfs_read")
int BPF_PROG(hash_entry)
{
	__u64 thread = bpf_get_current_pid_tgid();
	__u64 now = bpf_ktime_get_ns();

	bpf_map_update_elem(&starts, &thread, &now, BPF_ANY);
	return 0;
}

SEC("fexit/vfs_read")
int BPF_PROG(hash_exit)
{
	__u64 thread = bpf_get_current_pid_tgid();
	__u64 *start = bpf_map_lookup_elem(&starts, &thread);

	if (!start)
		return 0;
	count(*start);
	bpf_map_delete_elem(&starts, &thread);
	return 0;
}

SEC("fsession/vfs_read")
int BPF_PROG(cookie)
{
	__u64 *start = bpf_session_cookie(ctx);

	if (!bpf_session_is_return(ctx))
		*start = bpf_ktime_get_ns();
	else
		count(*start);
	return 0;
}
