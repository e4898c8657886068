/* SPDX-License-Identifier: GPL-2.0-only */
/* Kernel functions that programs call by name to guard sections of theirs. */
#include "guest.h"

void bpf_rcu_read_lock(void)
{
	needs_frame();
	rcu_read_lock();
}

void bpf_rcu_read_unlock(void)
{
	needs_frame();
	rcu_read_unlock();
}

void bpf_preempt_disable(void)
{
	preempt_disable();
}

void bpf_preempt_enable(void)
{
	needs_frame();
	preempt_enable();
}
