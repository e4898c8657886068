/* SPDX-License-Identifier: GPL-2.0-only */
/* What a trampoline calls before and after every program. */
#include "guest.h"
#include "migrate.h"

#if GUEST_KERNEL >= 700

#define NO_START_TIME 1ul

/* Whether locking is without calls, so that arguments stay in registers that calls lose. */
#if defined(__x86_64__)
#define LOCK_SPILLS 0
#else
#define LOCK_SPILLS 1
#endif

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

#if defined(__x86_64__)
always_inline void account(struct program **prog, struct task **task, u64 start)
{
	if (static_branch(bpf_stats_enabled_key) && start > NO_START_TIME) {
		u64 volatile begun = start;
		char *stats;
		u64 spent;

		spilled_across(*prog, spent = sched_clock());
		spent -= begun;
		stats = this_cpu_pointer(char, AT(char *, *prog, BPF_PROG_STATS));
		AT(u64, stats, BPF_PROG_STATS_CNT) += 1;
		AT(u64, stats, BPF_PROG_STATS_NSECS) += spent;
		*task = current_again();
	}
}

/* One word per CPU: the program runs already if it was not zero. */
always_inline _Bool claim(struct program *prog)
{
	return percpu_exchange_add32(AT(void *, prog, BPF_PROG_ACTIVE), 1) == 0;
}

always_inline void release(struct program *prog)
{
	percpu_dec32(AT(void *, prog, BPF_PROG_ACTIVE));
}

always_inline void lock_plain(struct task *task)
{
	migrate_disable_inline(task);
	rcu_read_lock();
}

always_inline void unlock_plain(struct task *task)
{
	rcu_read_unlock();
	migrate_enable_inline(task);
}
#else
noinline void __update_prog_stats(struct program *prog, u64 start)
{
	char *stats;
	u64 spent;

	if (start <= NO_START_TIME)
		return;
	spent = sched_clock() - start;
	stats = this_cpu_pointer(char, AT(char *, prog, BPF_PROG_STATS));
	atomic64_add(stats + BPF_PROG_STATS_CNT, 1);
	atomic64_add(stats + BPF_PROG_STATS_NSECS, spent);
}

always_inline void account(struct program **prog, struct task **task, u64 start)
{
	if (static_branch(bpf_stats_enabled_key)) {
		spilled_across(*prog, __update_prog_stats(*prog, start));
		*task = current_again();
	}
}

/*
 * One byte per CPU and context level: the program runs already, in this context or in one
 * that this context interrupted, if the four bytes are more than the mark of this level.
 */
always_inline _Bool claim(struct program *prog)
{
	s8 level = context_level();
	char *active;
	u32 marks;

	preempt_disable();
	active = this_cpu_pointer(char, AT(char *, prog, BPF_PROG_ACTIVE));
	ONCE(u8, active, level) = ONCE(u8, active, level) + 1;
	marks = ONCE(u32, active, 0);
	preempt_enable();
	return marks == 1ul << (level * 8);
}

always_inline void release(struct program *prog)
{
	s8 level = context_level();
	char *active;

	preempt_disable();
	active = this_cpu_pointer(char, AT(char *, prog, BPF_PROG_ACTIVE));
	ONCE(u8, active, level) = ONCE(u8, active, level) - 1;
	preempt_enable();
}

always_inline void lock_plain(struct task *task)
{
	rcu_read_lock();
}

always_inline void unlock_plain(struct task *task)
{
	rcu_read_unlock();
}
#endif

/* The caller keeps `prog` in a register that calls preserve, or (`spill`) does not. */
always_inline _Bool refuse_recursion(struct program *prog, _Bool spill)
{
	void (*detected)(struct program *);

	if (likely(claim(prog)))
		return 0;
	if (spill)
		spilled_across(prog, bpf_prog_inc_misses_counter(prog));
	else
		bpf_prog_inc_misses_counter(prog);
	detected = AT(void (*)(struct program *), AT(char *, prog, BPF_PROG_AUX),
		      BPF_PROG_AUX_RECURSION_DETECTED);
	if (detected)
		detected(prog);
	return 1;
}

/* Trace RCU as SRCU-fast: a nesting count per task, a lock count per CPU on the outermost. */
extern char rcu_tasks_trace_srcu_struct[];

always_inline void trace_rcu_lock(struct task *task)
{
	s32 nesting = AT(s32, task, TASK_STRUCT_TRC_READER_NESTING);

	AT(s32, task, TASK_STRUCT_TRC_READER_NESTING) = nesting + 1;
	if (!nesting) {
		char *counters =
			ONCE(char *, rcu_tasks_trace_srcu_struct, SRCU_STRUCT_SRCU_CTRP);

		percpu_inc64(counters + SRCU_CTR_LOCKS);
		AT(char *, task, TASK_STRUCT_TRC_READER_SCP) = counters;
		full_barrier();
	}
}

always_inline void trace_rcu_unlock(struct task *task)
{
	char *counters = AT(char *, task, TASK_STRUCT_TRC_READER_SCP);

	if (--AT(s32, task, TASK_STRUCT_TRC_READER_NESTING) == 0) {
		full_barrier();
		percpu_inc64(counters + SRCU_CTR_UNLOCKS);
	}
}

u64 __bpf_prog_enter_recur(struct program *prog, struct run_context *context)
{
	struct task *task = current();

	lock_plain(task);
	install_run_context(task, context);
	if (unlikely(refuse_recursion(prog, LOCK_SPILLS)))
		return 0;
	return start_time();
}

void __bpf_prog_exit_recur(struct program *prog, u64 start, struct run_context *context)
{
	struct task *task = current();

	exit_saves();
	restore_run_context(task, context);
	account(&prog, &task, start);
	release(prog);
	unlock_plain(task);
}

u64 __bpf_prog_enter(struct program *prog, struct run_context *context)
{
	struct task *task = current();

	lock_plain(task);
	install_run_context(task, context);
	return start_time();
}

void __bpf_prog_exit(struct program *prog, u64 start, struct run_context *context)
{
	struct task *task = current();

	restore_run_context(task, context);
	account(&prog, &task, start);
	unlock_plain(task);
}

u64 __bpf_prog_enter_lsm_cgroup(struct program *prog, struct run_context *context)
{
	struct task *task = current();

	lock_plain(task);
	install_run_context(task, context);
	return NO_START_TIME;
}

void __bpf_prog_exit_lsm_cgroup(struct program *prog, u64 start, struct run_context *context)
{
	struct task *task = current();

	restore_run_context(task, context);
	unlock_plain(task);
}

u64 __bpf_prog_enter_sleepable_recur(struct program *prog, struct run_context *context)
{
	struct task *task = current();

	trace_rcu_lock(task);
	migrate_disable_inline(task);
	install_run_context(task, context);
	if (unlikely(refuse_recursion(prog, 1)))
		return 0;
	return start_time();
}

void __bpf_prog_exit_sleepable_recur(struct program *prog, u64 start, struct run_context *context)
{
	struct task *task = current();

	saved_before_7_2();
	restore_run_context(task, context);
	account(&prog, &task, start);
	release(prog);
	migrate_enable_inline(task);
	trace_rcu_unlock(task);
}

u64 __bpf_prog_enter_sleepable(struct program *prog, struct run_context *context)
{
	struct task *task = current();

	trace_rcu_lock(task);
	migrate_disable_inline(task);
	install_run_context(task, context);
	return start_time();
}

void __bpf_prog_exit_sleepable(struct program *prog, u64 start, struct run_context *context)
{
	struct task *task = current();

	saved_before_7_2();
	restore_run_context(task, context);
	account(&prog, &task, start);
	migrate_enable_inline(task);
	trace_rcu_unlock(task);
}

#endif
