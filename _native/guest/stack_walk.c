/* SPDX-License-Identifier: GPL-2.0-only */
#include "stack_walk.h"

#if defined(__x86_64__)
/* Registers that entry from user space saved, at the top of a stack. */
#define ENTRY_FRAME 168
#define without_signature(address) (address)
#else
#define ENTRY_FRAME 336
/* Signed return addresses carry the signature where kernel addresses have ones. */
#define without_signature(address) ((address) | 0xfffful << 48)
#endif

#define THREAD_SIZE 0x4000ul

noinline u32 walk_stack(u64 *addresses, u32 room, u32 skip, u64 address, u64 frame)
{
	u64 bottom = AT(u64, current(), TASK_STRUCT_STACK);
	u64 top = bottom + THREAD_SIZE - ENTRY_FRAME;
	u32 found = 0;

	while (found < room) {
		if (skip)
			skip--;
		else
			addresses[found++] = without_signature(address);
		if (frame < bottom || frame + 16 > top || frame & 7)
			break;
		address = AT(u64, frame, 8);
		if (!address)
			break;
		/* Outer frames lie above inner ones. */
		if (AT(u64, frame, 0) <= frame)
			frame = 0;
		else
			frame = AT(u64, frame, 0);
	}
	return found;
}
