/* SPDX-License-Identifier: GPL-2.0-only */
/* Helper functions of the kernel: a call of one carries its number (enum bpf_func_id). */
#ifndef __BPF_HELPER_DEFS_H__
#define __BPF_HELPER_DEFS_H__

struct task_struct;
struct socket;
struct file;
struct bpf_spin_lock;
struct bpf_timer;

static void *(*const bpf_map_lookup_elem)(void *map, const void *key)
	__attribute__((unused)) = (void *)1;
static long (*const bpf_map_update_elem)(void *map, const void *key, const void *value, __u64 flags)
	__attribute__((unused)) = (void *)2;
static long (*const bpf_map_delete_elem)(void *map, const void *key)
	__attribute__((unused)) = (void *)3;
static long (*const bpf_probe_read)(void *dst, __u32 size, const void *from)
	__attribute__((unused)) = (void *)4;
static __u64 (*const bpf_ktime_get_ns)(void) __attribute__((unused)) = (void *)5;
static long (*const bpf_trace_printk)(const char *fmt, __u32 fmt_size, ...)
	__attribute__((unused)) = (void *)6;
static __u32 (*const bpf_get_prandom_u32)(void) __attribute__((unused)) = (void *)7;
static __u32 (*const bpf_get_smp_processor_id)(void) __attribute__((unused)) = (void *)8;
static long (*const bpf_skb_store_bytes)(void *skb, __u32 offset, const void *from, __u32 len, __u64 flags)
	__attribute__((unused)) = (void *)9;
static long (*const bpf_l3_csum_replace)(void *skb, __u32 offset, __u64 from, __u64 to, __u64 size)
	__attribute__((unused)) = (void *)10;
static long (*const bpf_l4_csum_replace)(void *skb, __u32 offset, __u64 from, __u64 to, __u64 flags)
	__attribute__((unused)) = (void *)11;
static long (*const bpf_tail_call)(void *ctx, void *prog_array_map, __u32 index)
	__attribute__((unused)) = (void *)12;
static long (*const bpf_clone_redirect)(void *skb, __u32 ifindex, __u64 flags)
	__attribute__((unused)) = (void *)13;
static __u64 (*const bpf_get_current_pid_tgid)(void) __attribute__((unused)) = (void *)14;
static __u64 (*const bpf_get_current_uid_gid)(void) __attribute__((unused)) = (void *)15;
static long (*const bpf_get_current_comm)(void *buf, __u32 size_of_buf)
	__attribute__((unused)) = (void *)16;
static __u32 (*const bpf_get_cgroup_classid)(void *skb) __attribute__((unused)) = (void *)17;
static __u64 (*const bpf_perf_event_read)(void *map, __u64 flags)
	__attribute__((unused)) = (void *)22;
static long (*const bpf_redirect)(__u32 ifindex, __u64 flags)
	__attribute__((unused)) = (void *)23;
static long (*const bpf_perf_event_output)(void *ctx, void *map, __u64 flags, void *data, __u64 size)
	__attribute__((unused)) = (void *)25;
static long (*const bpf_skb_load_bytes)(const void *skb, __u32 offset, void *to, __u32 len)
	__attribute__((unused)) = (void *)26;
static long (*const bpf_get_stackid)(void *ctx, void *map, __u64 flags)
	__attribute__((unused)) = (void *)27;
static __s64 (*const bpf_csum_diff)(__be32 *from, __u32 from_size, __be32 *to, __u32 to_size, __wsum seed)
	__attribute__((unused)) = (void *)28;
static __u32 (*const bpf_get_hash_recalc)(void *skb) __attribute__((unused)) = (void *)34;
static __u64 (*const bpf_get_current_task)(void) __attribute__((unused)) = (void *)35;
static long (*const bpf_probe_write_user)(void *dst, const void *src, __u32 len)
	__attribute__((unused)) = (void *)36;
static long (*const bpf_current_task_under_cgroup)(void *map, __u32 index)
	__attribute__((unused)) = (void *)37;
static long (*const bpf_skb_pull_data)(void *skb, __u32 len) __attribute__((unused)) = (void *)39;
static long (*const bpf_get_numa_node_id)(void) __attribute__((unused)) = (void *)42;
static long (*const bpf_xdp_adjust_head)(void *xdp_md, int delta)
	__attribute__((unused)) = (void *)44;
static long (*const bpf_probe_read_str)(void *dst, __u32 size, const void *from)
	__attribute__((unused)) = (void *)45;
static __u64 (*const bpf_get_socket_cookie)(void *ctx) __attribute__((unused)) = (void *)46;
static __u32 (*const bpf_get_socket_uid)(void *skb) __attribute__((unused)) = (void *)47;
static long (*const bpf_redirect_map)(void *map, __u64 key, __u64 flags)
	__attribute__((unused)) = (void *)51;
static long (*const bpf_xdp_adjust_meta)(void *xdp_md, int delta)
	__attribute__((unused)) = (void *)54;
static long (*const bpf_perf_event_read_value)(void *map, __u64 flags, void *buf, __u32 buf_size)
	__attribute__((unused)) = (void *)55;
static long (*const bpf_override_return)(void *regs, __u64 rc)
	__attribute__((unused)) = (void *)58;
static long (*const bpf_xdp_adjust_tail)(void *xdp_md, int delta)
	__attribute__((unused)) = (void *)65;
static long (*const bpf_get_stack)(void *ctx, void *buf, __u32 size, __u64 flags)
	__attribute__((unused)) = (void *)67;
static long (*const bpf_skb_load_bytes_relative)(const void *skb, __u32 offset, void *to, __u32 len, __u32 start)
	__attribute__((unused)) = (void *)68;
static __u64 (*const bpf_skb_cgroup_id)(void *skb) __attribute__((unused)) = (void *)79;
static __u64 (*const bpf_get_current_cgroup_id)(void) __attribute__((unused)) = (void *)80;
static void *(*const bpf_get_local_storage)(void *map, __u64 flags)
	__attribute__((unused)) = (void *)81;
static __u64 (*const bpf_skb_ancestor_cgroup_id)(void *skb, int ancestor_level)
	__attribute__((unused)) = (void *)83;
static long (*const bpf_map_push_elem)(void *map, const void *value, __u64 flags)
	__attribute__((unused)) = (void *)87;
static long (*const bpf_map_pop_elem)(void *map, void *value)
	__attribute__((unused)) = (void *)88;
static long (*const bpf_map_peek_elem)(void *map, void *value)
	__attribute__((unused)) = (void *)89;
static long (*const bpf_spin_lock)(struct bpf_spin_lock *lock)
	__attribute__((unused)) = (void *)93;
static long (*const bpf_spin_unlock)(struct bpf_spin_lock *lock)
	__attribute__((unused)) = (void *)94;
static long (*const bpf_strtol)(const char *buf, __SIZE_TYPE__ buf_len, __u64 flags, long *res)
	__attribute__((unused)) = (void *)105;
static long (*const bpf_strtoul)(const char *buf, __SIZE_TYPE__ buf_len, __u64 flags, unsigned long *res)
	__attribute__((unused)) = (void *)106;
static void *(*const bpf_sk_storage_get)(void *map, void *sk, void *value, __u64 flags)
	__attribute__((unused)) = (void *)107;
static long (*const bpf_sk_storage_delete)(void *map, void *sk)
	__attribute__((unused)) = (void *)108;
static long (*const bpf_send_signal)(__u32 sig) __attribute__((unused)) = (void *)109;
static long (*const bpf_skb_output)(void *ctx, void *map, __u64 flags, void *data, __u64 size)
	__attribute__((unused)) = (void *)111;
static long (*const bpf_probe_read_user)(void *dst, __u32 size, const void *from)
	__attribute__((unused)) = (void *)112;
static long (*const bpf_probe_read_kernel)(void *dst, __u32 size, const void *from)
	__attribute__((unused)) = (void *)113;
static long (*const bpf_probe_read_user_str)(void *dst, __u32 size, const void *from)
	__attribute__((unused)) = (void *)114;
static long (*const bpf_probe_read_kernel_str)(void *dst, __u32 size, const void *from)
	__attribute__((unused)) = (void *)115;
static long (*const bpf_send_signal_thread)(__u32 sig) __attribute__((unused)) = (void *)117;
static __u64 (*const bpf_jiffies64)(void) __attribute__((unused)) = (void *)118;
static long (*const bpf_read_branch_records)(void *ctx, void *buf, __u32 size, __u64 flags)
	__attribute__((unused)) = (void *)119;
static long (*const bpf_get_ns_current_pid_tgid)(__u64 dev, __u64 ino, void *nsdata, __u32 size)
	__attribute__((unused)) = (void *)120;
static long (*const bpf_xdp_output)(void *ctx, void *map, __u64 flags, void *data, __u64 size)
	__attribute__((unused)) = (void *)121;
static __u64 (*const bpf_get_netns_cookie)(void *ctx) __attribute__((unused)) = (void *)122;
static __u64 (*const bpf_get_current_ancestor_cgroup_id)(int ancestor_level)
	__attribute__((unused)) = (void *)123;
static __u64 (*const bpf_ktime_get_boot_ns)(void) __attribute__((unused)) = (void *)125;
static long (*const bpf_seq_printf)(void *m, const char *fmt, __u32 fmt_size, const void *data, __u32 data_len)
	__attribute__((unused)) = (void *)126;
static long (*const bpf_seq_write)(void *m, const void *data, __u32 len)
	__attribute__((unused)) = (void *)127;
static long (*const bpf_ringbuf_output)(void *ringbuf, void *data, __u64 size, __u64 flags)
	__attribute__((unused)) = (void *)130;
static void *(*const bpf_ringbuf_reserve)(void *ringbuf, __u64 size, __u64 flags)
	__attribute__((unused)) = (void *)131;
static void (*const bpf_ringbuf_submit)(void *data, __u64 flags)
	__attribute__((unused)) = (void *)132;
static void (*const bpf_ringbuf_discard)(void *data, __u64 flags)
	__attribute__((unused)) = (void *)133;
static __u64 (*const bpf_ringbuf_query)(void *ringbuf, __u64 flags)
	__attribute__((unused)) = (void *)134;
static void *(*const bpf_skc_to_tcp_sock)(void *sk) __attribute__((unused)) = (void *)137;
static void *(*const bpf_skc_to_udp6_sock)(void *sk) __attribute__((unused)) = (void *)140;
static long (*const bpf_get_task_stack)(void *task, void *buf, __u32 size, __u64 flags)
	__attribute__((unused)) = (void *)141;
static void *(*const bpf_inode_storage_get)(void *map, void *inode, void *value, __u64 flags)
	__attribute__((unused)) = (void *)145;
static int (*const bpf_inode_storage_delete)(void *map, void *inode)
	__attribute__((unused)) = (void *)146;
static long (*const bpf_d_path)(void *path, char *buf, __u32 sz)
	__attribute__((unused)) = (void *)147;
static long (*const bpf_copy_from_user)(void *dst, __u32 size, const void *user_ptr)
	__attribute__((unused)) = (void *)148;
static void *(*const bpf_per_cpu_ptr)(const void *percpu_ptr, __u32 cpu)
	__attribute__((unused)) = (void *)153;
static void *(*const bpf_this_cpu_ptr)(const void *percpu_ptr)
	__attribute__((unused)) = (void *)154;
static void *(*const bpf_task_storage_get)(void *map, void *task, void *value, __u64 flags)
	__attribute__((unused)) = (void *)156;
static long (*const bpf_task_storage_delete)(void *map, void *task)
	__attribute__((unused)) = (void *)157;
static struct task_struct *(*const bpf_get_current_task_btf)(void)
	__attribute__((unused)) = (void *)158;
static __u64 (*const bpf_ktime_get_coarse_ns)(void) __attribute__((unused)) = (void *)160;
static struct socket *(*const bpf_sock_from_file)(struct file *file)
	__attribute__((unused)) = (void *)162;
static long (*const bpf_for_each_map_elem)(void *map, void *callback_fn, void *callback_ctx, __u64 flags)
	__attribute__((unused)) = (void *)164;
static long (*const bpf_snprintf)(char *str, __u32 str_size, const char *fmt, __u64 *data, __u32 data_len)
	__attribute__((unused)) = (void *)165;
static long (*const bpf_timer_init)(struct bpf_timer *timer, void *map, __u64 flags)
	__attribute__((unused)) = (void *)169;
static long (*const bpf_timer_set_callback)(struct bpf_timer *timer, void *callback_fn)
	__attribute__((unused)) = (void *)170;
static long (*const bpf_timer_start)(struct bpf_timer *timer, __u64 nsecs, __u64 flags)
	__attribute__((unused)) = (void *)171;
static long (*const bpf_timer_cancel)(struct bpf_timer *timer)
	__attribute__((unused)) = (void *)172;
static __u64 (*const bpf_get_func_ip)(void *ctx) __attribute__((unused)) = (void *)173;
static __u64 (*const bpf_get_attach_cookie)(void *ctx) __attribute__((unused)) = (void *)174;
static long (*const bpf_task_pt_regs)(struct task_struct *task)
	__attribute__((unused)) = (void *)175;
static long (*const bpf_get_branch_snapshot)(void *entries, __u32 size, __u64 flags)
	__attribute__((unused)) = (void *)176;
static long (*const bpf_trace_vprintk)(const char *fmt, __u32 fmt_size, const void *data, __u32 data_len)
	__attribute__((unused)) = (void *)177;
static long (*const bpf_kallsyms_lookup_name)(const char *name, int name_sz, int flags, __u64 *res)
	__attribute__((unused)) = (void *)179;
static long (*const bpf_find_vma)(struct task_struct *task, __u64 addr, void *fn, void *ctx, __u64 flags)
	__attribute__((unused)) = (void *)180;
static long (*const bpf_loop)(__u32 nr_loops, void *callback_fn, void *callback_ctx, __u64 flags)
	__attribute__((unused)) = (void *)181;
static long (*const bpf_strncmp)(const char *s1, __u32 s1_sz, const char *s2)
	__attribute__((unused)) = (void *)182;
static long (*const bpf_get_func_arg)(void *ctx, __u32 n, __u64 *value)
	__attribute__((unused)) = (void *)183;
static long (*const bpf_get_func_ret)(void *ctx, __u64 *value)
	__attribute__((unused)) = (void *)184;
static long (*const bpf_get_func_arg_cnt)(void *ctx) __attribute__((unused)) = (void *)185;
static int (*const bpf_get_retval)(void) __attribute__((unused)) = (void *)186;
static int (*const bpf_set_retval)(int retval) __attribute__((unused)) = (void *)187;
static __u64 (*const bpf_xdp_get_buff_len)(void *xdp_md) __attribute__((unused)) = (void *)188;
static long (*const bpf_xdp_load_bytes)(void *xdp_md, __u32 offset, void *buf, __u32 len)
	__attribute__((unused)) = (void *)189;
static long (*const bpf_copy_from_user_task)(void *dst, __u32 size, const void *p, struct task_struct *t, __u64 f)
	__attribute__((unused)) = (void *)191;
static void *(*const bpf_kptr_xchg)(void *dst, void *ptr) __attribute__((unused)) = (void *)194;
static void *(*const bpf_map_lookup_percpu_elem)(void *map, const void *key, __u32 cpu)
	__attribute__((unused)) = (void *)195;
static __u64 (*const bpf_ktime_get_tai_ns)(void) __attribute__((unused)) = (void *)208;
static void *(*const bpf_cgrp_storage_get)(void *map, void *cgroup, void *value, __u64 flags)
	__attribute__((unused)) = (void *)210;
static long (*const bpf_cgrp_storage_delete)(void *map, void *cgroup)
	__attribute__((unused)) = (void *)211;

#endif
