/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a trampoline calls before and after every program, on kernels before 7.0: pinning the
 * task, RCU and statistics are calls, and recursion is one word per CPU on both architectures.
 */
#include "guest.h"

#if GUEST_KERNEL < 700

#define NO_START_TIME 1ul

extern void migrate_disable(void);
extern void migrate_enable(void);
extern void rcu_read_unlock_trace_special(struct task *task);

always_inline u64 start_time(void)
{
	u64 start = NO_START_TIME;

	if (static_branch(bpf_stats_enabled_key)) {
		start = sched_clock();
		if (unlikely(!start))
			start = NO_START_TIME;
	}
	return start;
}

noinline void count_run(struct program *prog, u64 start)
{
	char *stats;
	u64 spent;

	if (start <= NO_START_TIME)
		return;
	spent = sched_clock() - start;
	stats = this_cpu_pointer(char, AT(char *, prog, BPF_PROG_STATS));
#if defined(__x86_64__)
	AT(u64, stats, BPF_PROG_STATS_CNT) += 1;
	AT(u64, stats, BPF_PROG_STATS_NSECS) += spent;
#else
	atomic64_add(stats + BPF_PROG_STATS_CNT, 1);
	atomic64_add(stats + BPF_PROG_STATS_NSECS, spent);
#endif
}

/* A call that returns at once while statistics are off. */
direct void update_prog_stats(struct program *prog, u64 start)
{
	if (static_branch(bpf_stats_enabled_key))
		__attribute__((musttail)) return count_run(prog, start);
}

always_inline void install_run_context(struct task *task, struct run_context *context)
{
	struct run_context *outer = AT(struct run_context *, task, TASK_STRUCT_BPF_CTX);

	AT(struct run_context *, task, TASK_STRUCT_BPF_CTX) = context;
	AT(struct run_context *, context, BPF_TRAMP_RUN_CTX_SAVED_RUN_CTX) = outer;
}

always_inline void restore_run_context(struct task *task, struct run_context *context)
{
	AT(struct run_context *, task, TASK_STRUCT_BPF_CTX) =
		AT(struct run_context *, context, BPF_TRAMP_RUN_CTX_SAVED_RUN_CTX);
}

always_inline _Bool refuse_recursion(struct program *prog)
{
#if defined(__x86_64__)
	if (likely(percpu_exchange_add32(AT(void *, prog, BPF_PROG_ACTIVE), 1) == 0))
		return 0;
#else
	if (likely(percpu_add_return32(AT(void *, prog, BPF_PROG_ACTIVE), 1) == 1))
		return 0;
#endif
	bpf_prog_inc_misses_counter(prog);
	return 1;
}

always_inline void release(struct program *prog)
{
#if defined(__x86_64__)
	percpu_dec32(AT(void *, prog, BPF_PROG_ACTIVE));
#else
	percpu_add_return32(AT(void *, prog, BPF_PROG_ACTIVE), -1);
#endif
}

always_inline void trace_rcu_lock(struct task *task)
{
	ONCE(u32, task, TASK_STRUCT_TRC_READER_NESTING) =
		ONCE(u32, task, TASK_STRUCT_TRC_READER_NESTING) + 1;
	barrier();
}

/* While the count is taken back it is negative, so that an interrupt does not finish early. */
always_inline void trace_rcu_unlock(struct task *task)
{
	u32 nesting = ONCE(u32, task, TASK_STRUCT_TRC_READER_NESTING) - 1;
	u32 special;

	barrier();
	ONCE(u32, task, TASK_STRUCT_TRC_READER_NESTING) = nesting + 0x80000000u;
	special = ONCE(u32, task, TASK_STRUCT_TRC_READER_SPECIAL);
	if (unlikely(special && !nesting))
		cold_call(rcu_read_unlock_trace_special);
	ONCE(u32, task, TASK_STRUCT_TRC_READER_NESTING) = nesting;
}

u64 __bpf_prog_enter_recur(struct program *prog, struct run_context *context)
{
	rcu_read_lock();
	migrate_disable();
	install_run_context(current_again(), context);
	if (unlikely(refuse_recursion(prog)))
		return 0;
	return start_time();
}

void __bpf_prog_exit_recur(struct program *prog, u64 start, struct run_context *context)
{
	restore_run_context(current(), context);
	update_prog_stats(prog, start);
	release(prog);
	migrate_enable();
	rcu_read_unlock();
}

u64 __bpf_prog_enter(struct program *prog, struct run_context *context)
{
	rcu_read_lock();
	migrate_disable();
	install_run_context(current_again(), context);
	return start_time();
}

void __bpf_prog_exit(struct program *prog, u64 start, struct run_context *context)
{
	restore_run_context(current(), context);
	update_prog_stats(prog, start);
	migrate_enable();
	rcu_read_unlock();
}

u64 __bpf_prog_enter_lsm_cgroup(struct program *prog, struct run_context *context)
{
	rcu_read_lock();
	migrate_disable();
	install_run_context(current_again(), context);
	return NO_START_TIME;
}

void __bpf_prog_exit_lsm_cgroup(struct program *prog, u64 start, struct run_context *context)
{
	restore_run_context(current(), context);
	migrate_enable();
	rcu_read_unlock();
}

u64 __bpf_prog_enter_sleepable_recur(struct program *prog, struct run_context *context)
{
	struct task *task = current();

	trace_rcu_lock(task);
	migrate_disable();
	install_run_context(task, context);
	if (unlikely(refuse_recursion(prog)))
		return 0;
	return start_time();
}

void __bpf_prog_exit_sleepable_recur(struct program *prog, u64 start, struct run_context *context)
{
	struct task *task = current();

	restore_run_context(task, context);
	update_prog_stats(prog, start);
	release(prog);
	migrate_enable();
	trace_rcu_unlock(task);
}

u64 __bpf_prog_enter_sleepable(struct program *prog, struct run_context *context)
{
	struct task *task = current();

	trace_rcu_lock(task);
	migrate_disable();
	install_run_context(task, context);
	return start_time();
}

void __bpf_prog_exit_sleepable(struct program *prog, u64 start, struct run_context *context)
{
	struct task *task = current();

	restore_run_context(task, context);
	update_prog_stats(prog, start);
	migrate_enable();
	trace_rcu_unlock(task);
}

#endif
