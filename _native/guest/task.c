/* SPDX-License-Identifier: GPL-2.0-only */
/* Helpers that say who runs and where. */
#include "guest.h"
#include "string.h"

traceable u64 bpf_get_current_pid_tgid(void)
{
	struct task *task = current();

	if (unlikely(!task))
		return -EINVAL;
	return (u64)AT(s32, task, TASK_STRUCT_TGID) << 32 | (s64)AT(s32, task, TASK_STRUCT_PID);
}

/* Ids as the initial user namespace has them, which are the numbers that are stored. */
traceable u64 bpf_get_current_uid_gid(void)
{
	struct task *task = current();
	char *credentials;

	if (unlikely(!task))
		return -EINVAL;
	credentials = AT(char *, task, TASK_STRUCT_CRED);
	return (u64)AT(u32, credentials, CRED_GID) << 32 | AT(u32, credentials, CRED_UID);
}

/* The name, cut to the buffer and padded with zeroes. */
traceable s64 bpf_get_current_comm(char *buffer, u32 size)
{
	struct task *task = current();

	if (unlikely(!task)) {
		memset(buffer, 0, size);
		return -EINVAL;
	}
	copy_text_padded(buffer, (char *)task + TASK_STRUCT_COMM, size);
	return 0;
}

traceable u64 bpf_get_current_task(void)
{
	return (u64)current();
}

traceable u64 bpf_get_current_task_btf(void)
{
	return (u64)current();
}

#if defined(__x86_64__)
traceable u64 bpf_get_smp_processor_id(void)
{
	s64 cpu;

	__asm__ __volatile__("movslq %%gs:cpu_number(%%rip), %0" : "=r"(cpu));
	return cpu;
}

traceable u64 bpf_get_numa_node_id(void)
{
	s64 node;

	__asm__ __volatile__("movslq %%gs:numa_node(%%rip), %0" : "=r"(node));
	return node;
}
#else
extern char numa_node[];

traceable u64 bpf_get_smp_processor_id(void)
{
	return ONCE(u32, current(), THREAD_INFO_CPU);
}

traceable u64 bpf_get_numa_node_id(void)
{
	s32 node;

	preempt_disable();
	node = ONCE(s32, this_cpu_pointer(char, numa_node), 0);
	preempt_enable_notrace();
	return (s64)node;
}
#endif
