/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What compiled programs call when a may_goto's count is used up: x9 holds the offset of the
 * count from the program's frame (x25) and returns the new count; the other registers of
 * programs are preserved.
 */
#if GUEST_KERNEL >= 700
	.section .text.arch_bpf_timed_may_goto, "ax", %progbits
	.balign 8
	.globl arch_bpf_timed_may_goto
	.type arch_bpf_timed_may_goto, %function
arch_bpf_timed_may_goto:
	bti	c
	stp	x29, x30, [sp, #-64]!
	mov	x29, sp
	stp	x8, x0, [sp, #16]
	stp	x1, x2, [sp, #32]
	stp	x3, x4, [sp, #48]
	add	x0, x9, x25
	bl	bpf_check_timed_may_goto
	mov	x9, x0
	ldp	x8, x0, [sp, #16]
	ldp	x1, x2, [sp, #32]
	ldp	x3, x4, [sp, #48]
	ldp	x29, x30, [sp], #64
	ret
	.size arch_bpf_timed_may_goto, . - arch_bpf_timed_may_goto
#endif
