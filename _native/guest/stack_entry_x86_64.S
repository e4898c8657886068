/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Helpers that walk the stack begin where the program called them: at the return address, with
 * the program's frame pointer, both of which C code would not see.
 */
.macro ENTRY name body
	.section .text.\name, "ax", @progbits
	.balign 16
	.globl \name
	.type \name, @function
\name:
	endbr64
	nopl	(%rax,%rax)
	movq	(%rsp), %r8
	movq	%rbp, %r9
	jmp	\body
	.size \name, . - \name
.endm

ENTRY bpf_get_stack_raw_tp guest_get_stack
ENTRY bpf_get_stackid_raw_tp guest_get_stackid
