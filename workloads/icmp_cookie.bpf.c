// SPDX-License-Identifier: GPL-2.0-only
/*
 * One fsession program on icmp_rcv whose session cookie carries a value from entry to exit.
 * Does what the second program of the public introduction of fsession does
 * (https://leonhwang-blogs.pages.dev/post/ebpf-talk-158-introduce-fsession); written anew.
 *
 *   tramposim run workloads/icmp_cookie.bpf.c --engine all
 *   tramposim compare workloads/icmp_cookie.bpf.c
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

SEC("fsession/icmp_rcv")
int BPF_PROG(icmp_cookie, struct sk_buff *skb, int ret)
{
	__u64 *cookie = bpf_session_cookie(ctx);

	if (!bpf_session_is_return(ctx)) {
		*cookie = 0xDEADBEEF;
		bpf_printk("icmp_rcv: entry, cookie set to 0x%llx", *cookie);
		return 0;
	}

	bpf_printk("icmp_rcv: exit, cookie is 0x%llx", *cookie);
	return 0;
}
