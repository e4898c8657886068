/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What compiled programs call when a may_goto's count is used up: r10 holds the offset of the
 * count from the frame pointer and returns the new count; every other register is preserved.
 */
#if GUEST_KERNEL >= 700
	.section .text.arch_bpf_timed_may_goto, "ax", @progbits
	.balign 16
	.globl arch_bpf_timed_may_goto
	.type arch_bpf_timed_may_goto, @function
arch_bpf_timed_may_goto:
	leaq	(%rbp,%r10), %r10
	pushq	%rbp
	movq	%rsp, %rbp
	pushq	%rax
	pushq	%rdi
	pushq	%rsi
	pushq	%rdx
	pushq	%rcx
	pushq	%r8
	movq	%r10, %rdi
	call	bpf_check_timed_may_goto
	movq	%rax, %r10
	popq	%r8
	popq	%rcx
	popq	%rdx
	popq	%rsi
	popq	%rdi
	popq	%rax
	leave
	jmp	__x86_return_thunk
	.size arch_bpf_timed_may_goto, . - arch_bpf_timed_may_goto
#endif
