/* SPDX-License-Identifier: GPL-2.0-only */
/* Return addresses on the stack, along the chain of frame pointers. */
#ifndef GUEST_STACK_WALK_H
#define GUEST_STACK_WALK_H

#include "guest.h"

#define MAX_FRAMES 127
#define SKIP_MASK 0xfful
#define USER_STACK (1ul << 8)

/*
 * The function and everybody who called it, except the `skip` innermost, at most `room`:
 * `address` is where it will return to, `frame` its caller's frame pointer.
 */
extern u32 walk_stack(u64 *addresses, u32 room, u32 skip, u64 address, u64 frame);

#endif
