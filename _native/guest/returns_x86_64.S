/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What `jmp __x86_return_thunk` leads to under each mitigation of return prediction, and the
 * thunks of indirect branches. Every thunk has the net effect of a return (or of the
 * indirect branch); what differs is how the predictor sees it.
 */

/* Own section per thunk; \before: alignment that the effect depends on. */
.macro THUNK name before=16
	.section .text.\name, "ax", @progbits
	.balign \before, 0xcc
	.globl \name
	.type \name, @function
\name:
.endm

.macro END name
	.size \name, . - \name
.endm

/* Untrained return: the predictor has been made to see another instruction here. */
THUNK retbleed_return_thunk 64
	ret
	int3
	lfence
	jmp retbleed_return_thunk
END retbleed_return_thunk

/* Return in the upper half of a line, where its target cannot be injected. */
THUNK its_return_thunk 32
	ret
	int3
END its_return_thunk

/* Safe return: a call to the return, so that the return is always mispredicted to a stop. */
THUNK srso_safe_ret 32
	lea 8(%rsp), %rsp
	ret
	int3
	int3
	lfence
	call srso_safe_ret
	ud2
END srso_safe_ret

THUNK srso_return_thunk 32
	call srso_safe_ret
	ud2
END srso_return_thunk

THUNK srso_alias_safe_ret 1
	lea 8(%rsp), %rsp
	ret
	int3
END srso_alias_safe_ret

THUNK srso_alias_return_thunk 1
	call srso_alias_safe_ret
	ud2
END srso_alias_return_thunk

/*
 * Call depth tracking: every call shifts ones into __x86_call_depth from the top, every
 * return shifts one step out; when none is left, sixteen calls refill the return stack.
 */
THUNK call_depth_return_thunk 16
	shlq $5, %gs:__x86_call_depth(%rip)
	jz 1f
	ret
	int3
1:
	.rept 16
	call 2f
	int3
2:
	.endr
	add $(8 * 16), %rsp
	movq $-1, %gs:__x86_call_depth(%rip)
	ret
	int3
END call_depth_return_thunk

/* A branch to \register that the indirect predictor does not see. */
.macro RETPOLINE register
	call 1f
	int3
1:	mov %\register, (%rsp)
.endm

#define REGISTERS rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15

/* Arrays of thunks, 32 bytes apart, in the order of the registers' numbers. */
	.section .text.__x86_indirect_thunk_array, "ax", @progbits
	.balign 32, 0xcc
	.globl __x86_indirect_thunk_array
__x86_indirect_thunk_array:
	.irp register, REGISTERS
	.balign 32, 0xcc
	.globl __x86_indirect_thunk_\register
	.type __x86_indirect_thunk_\register, @function
__x86_indirect_thunk_\register:
	RETPOLINE \register
	jmp __x86_return_thunk
	END __x86_indirect_thunk_\register
	.endr

/* With call depth tracking: a call accounts for itself, a jump does not. */
	.section .text.__x86_indirect_call_thunk_array, "ax", @progbits
	.balign 32, 0xcc
	.globl __x86_indirect_call_thunk_array
__x86_indirect_call_thunk_array:
	.irp register, REGISTERS
	.balign 32, 0xcc
	.globl __x86_indirect_call_thunk_\register
	.type __x86_indirect_call_thunk_\register, @function
__x86_indirect_call_thunk_\register:
	sarq $5, %gs:__x86_call_depth(%rip)
	RETPOLINE \register
	ret
	int3
	END __x86_indirect_call_thunk_\register
	.endr

	.section .text.__x86_indirect_jump_thunk_array, "ax", @progbits
	.balign 32, 0xcc
	.globl __x86_indirect_jump_thunk_array
__x86_indirect_jump_thunk_array:
	.irp register, REGISTERS
	.balign 32, 0xcc
	.globl __x86_indirect_jump_thunk_\register
	.type __x86_indirect_jump_thunk_\register, @function
__x86_indirect_jump_thunk_\register:
	RETPOLINE \register
	ret
	int3
	END __x86_indirect_jump_thunk_\register
	.endr

/* Indirect branches in the upper half of a line. */
	.section .text.__x86_indirect_its_thunk_array, "ax", @progbits
	.balign 64, 0xcc
	.skip 32, 0xcc
	.globl __x86_indirect_its_thunk_array
__x86_indirect_its_thunk_array:
	.irp register, REGISTERS
	.globl __x86_indirect_its_thunk_\register
	.type __x86_indirect_its_thunk_\register, @function
__x86_indirect_its_thunk_\register:
	jmp *%\register
	int3
	END __x86_indirect_its_thunk_\register
	.balign 64, 0xcc
	.skip 32, 0xcc
	.endr
