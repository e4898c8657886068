// SPDX-License-Identifier: GPL-2.0-only
/*
 * One fsession program on icmp_rcv: it runs at entry and at exit, and bpf_session_is_return()
 * tells which. Does what the first program of the public introduction of fsession does
 * (https://leonhwang-blogs.pages.dev/post/ebpf-talk-158-introduce-fsession); written anew.
 *
 *   tramposim run workloads/icmp_session.bpf.c --engine all
 *   tramposim compare workloads/icmp_session.bpf.c
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

SEC("fsession/icmp_rcv")
int BPF_PROG(icmp_session, struct sk_buff *skb, int ret)
{
	if (bpf_session_is_return(ctx))
		bpf_printk("icmp_rcv: exit, returned %d", ret);
	else
		bpf_printk("icmp_rcv: entry");

	return 0;
}
