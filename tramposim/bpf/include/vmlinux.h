/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Types of the kernel that traced functions have to do with, for programs written against a
 * vmlinux.h. Accesses to members of kernel structures are CO-RE relocations: where a member
 * lies is asked of the kernel's own types, so only names and types count here, not places.
 * Give the program its own vmlinux.h beside it for structures that are not here.
 */
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#include "bpf_types.h"

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
#endif

struct list_head {
	struct list_head *next, *prev;
};

struct hlist_node {
	struct hlist_node *next, **pprev;
};

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	__s64 counter;
} atomic64_t;

typedef struct {
	uid_t val;
} kuid_t;

typedef struct {
	gid_t val;
} kgid_t;

typedef struct {
	atomic_t refs;
} refcount_t;

struct kref {
	refcount_t refcount;
};

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct in6_addr {
	union {
		__u8 u6_addr8[16];
		__be16 u6_addr16[8];
		__be32 u6_addr32[4];
	} in6_u;
};

struct net_device {
	char name[16];
	int ifindex;
	unsigned int mtu;
	unsigned int flags;
	unsigned short type;
	possible_net_t nd_net;
};

struct sock_common {
	union {
		struct {
			__be32 skc_daddr;
			__be32 skc_rcv_saddr;
		};
	};
	union {
		struct {
			__be16 skc_dport;
			__u16 skc_num;
		};
	};
	unsigned short skc_family;
	volatile unsigned char skc_state;
	int skc_bound_dev_if;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	atomic64_t skc_cookie;
};

struct sock {
	struct sock_common __sk_common;
	__u16 sk_type;
	__u16 sk_protocol;
	__u32 sk_mark;
	int sk_rcvbuf;
	int sk_sndbuf;
	int sk_err;
};

struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	unsigned int len;
	unsigned int data_len;
	__u16 mac_len;
	__u16 hdr_len;
	__u16 queue_mapping;
	__u8 cloned : 1;
	__u8 pkt_type : 3;
	__u8 ip_summed : 2;
	__be16 protocol;
	__u16 transport_header;
	__u16 network_header;
	__u16 mac_header;
	__u32 hash;
	__u32 mark;
	__u32 priority;
	unsigned char *head;
	unsigned char *data;
	unsigned int truesize;
};

struct iov_iter {
	size_t count;
	unsigned long nr_segs;
};

struct msghdr {
	void *msg_name;
	int msg_namelen;
	struct iov_iter msg_iter;
	unsigned int msg_flags;
};

struct socket {
	short type;
	unsigned long flags;
	struct sock *sk;
};

struct qstr {
	union {
		struct {
			__u32 hash;
			__u32 len;
		};
		__u64 hash_len;
	};
	const unsigned char *name;
};

struct super_block {
	dev_t s_dev;
	unsigned long s_magic;
};

struct inode {
	umode_t i_mode;
	kuid_t i_uid;
	kgid_t i_gid;
	unsigned int i_flags;
	struct super_block *i_sb;
	unsigned long i_ino;
	dev_t i_rdev;
	loff_t i_size;
};

struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
	struct super_block *d_sb;
};

struct vfsmount {
	struct dentry *mnt_root;
	struct super_block *mnt_sb;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct file {
	struct path f_path;
	struct inode *f_inode;
	unsigned int f_flags;
	fmode_t f_mode;
	loff_t f_pos;
	void *private_data;
};

struct kiocb {
	struct file *ki_filp;
	loff_t ki_pos;
	int ki_flags;
};

struct filename {
	const char *name;
};

struct linux_binprm {
	const char *filename;
	const char *interp;
	struct file *file;
	int argc;
	int envc;
};

struct cred {
	kuid_t uid;
	kgid_t gid;
	kuid_t euid;
	kgid_t egid;
};

struct mm_struct {
	unsigned long start_code;
	unsigned long end_code;
	unsigned long total_vm;
	struct file *exe_file;
};

struct vm_area_struct {
	unsigned long vm_start;
	unsigned long vm_end;
	struct mm_struct *vm_mm;
	unsigned long vm_flags;
	struct file *vm_file;
};

struct nsproxy {
	struct net *net_ns;
};

struct task_struct {
	unsigned int __state;
	unsigned int flags;
	int on_cpu;
	int prio;
	int static_prio;
	int normal_prio;
	unsigned int policy;
	struct mm_struct *mm;
	int exit_code;
	pid_t pid;
	pid_t tgid;
	struct task_struct *real_parent;
	struct task_struct *parent;
	struct task_struct *group_leader;
	__u64 utime;
	__u64 stime;
	unsigned long nvcsw;
	unsigned long nivcsw;
	__u64 start_time;
	const struct cred *cred;
	const struct cred *real_cred;
	char comm[16];
	struct nsproxy *nsproxy;
};

struct page {
	unsigned long flags;
};

struct folio {
	struct page page;
};

struct gendisk {
	int major;
	int first_minor;
	char disk_name[32];
};

struct block_device {
	dev_t bd_dev;
	struct gendisk *bd_disk;
};

struct bio {
	struct block_device *bi_bdev;
	blk_opf_t bi_opf;
};

struct request {
	blk_opf_t cmd_flags;
	unsigned int __data_len;
	sector_t __sector;
	struct bio *bio;
	__u64 start_time_ns;
	__u64 io_start_time_ns;
};

struct rq {
	unsigned int nr_running;
	int cpu;
};

struct bpf_fentry_test_t {
	struct bpf_fentry_test_t *a;
};

struct work_struct {
	struct list_head entry;
};

struct timer_list {
	unsigned long expires;
	__u32 flags;
};

struct seq_file {
	char *buf;
	size_t size;
	size_t count;
	struct file *file;
	void *private;
};

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif

#ifndef BPF_NO_KFUNC_PROTOTYPES
extern bool bpf_session_is_return(void *ctx) __attribute__((weak, section(".ksyms")));
extern __u64 *bpf_session_cookie(void *ctx) __attribute__((weak, section(".ksyms")));

extern int bpf_fentry_test1(int a) __attribute__((weak, section(".ksyms")));
#endif

#endif
