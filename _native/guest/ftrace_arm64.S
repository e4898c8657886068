/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The way from a traced function's patched entry to its trampoline when the trampoline is
 * out of branch range: the entry calls ftrace_caller, which finds the ftrace_ops of the
 * function in the literal eight bytes before it and jumps to the ops' direct_call.
 */
#include "layout.h"

	.section .text.ftrace_caller, "ax", %progbits
	.balign 8
	.globl ftrace_caller
	.type ftrace_caller, %function
ftrace_caller:
	bti	c
	/* x30 is function + 8, or + 12 behind a landing pad; the literal is 8-byte aligned. */
	and	x11, x30, #~7
	ldur	x11, [x11, #-16]
	ldr	x17, [x11, #FTRACE_OPS_DIRECT_CALL]
	cbnz	x17, 1f
	/*
	 * No direct call: callbacks on the function would be run from here, behind saved
	 * registers. Nothing is attached that way, but the space keeps its distance.
	 */
	.fill	37, 4, 0
1:	br	x17
	.size ftrace_caller, . - ftrace_caller

/*
 * The target of a direct_call that does nothing: back to the traced function (x30) with the
 * return address of its caller (x9) restored.
 */
	.section .text.ftrace_stub_direct_tramp, "ax", %progbits
	.balign 8
	.globl ftrace_stub_direct_tramp
	.type ftrace_stub_direct_tramp, %function
ftrace_stub_direct_tramp:
	bti	c
	mov	x10, x30
	mov	x30, x9
	ret	x10
	.size ftrace_stub_direct_tramp, . - ftrace_stub_direct_tramp
