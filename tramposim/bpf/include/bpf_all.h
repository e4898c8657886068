/* SPDX-License-Identifier: GPL-2.0-only */
/* All headers in one, and a licence, for programs that include no more than this. */
#ifndef __BPF_ALL_H_
#define __BPF_ALL_H_

#include <vmlinux.h>
#include "bpf/bpf_helpers.h"
#include "bpf/bpf_tracing.h"
#include "bpf/bpf_core_read.h"
#include "bpf/bpf_endian.h"

#define ctx_ptr(ctx, member) ((void *)(unsigned long)(ctx)->member)

char _license[] SEC("license") = "GPL";

#endif
