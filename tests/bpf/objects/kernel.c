// SPDX-License-Identifier: GPL-2.0-only
/* Types of a made-up kernel: fields of core.bpf.c lie elsewhere; kernel.o holds their BTF. */
struct filler {
	long words[8];
};

struct inner {
	short before;
	unsigned int first;
	unsigned long last;
};

struct thing {
	struct filler filler;
	union {
		struct {
			struct inner *next;
			struct inner parts[3];
		};
		long other;
	};
	unsigned char flag : 5;
	long pid;
};

enum color { BLUE, RED, GREEN = 5 };

struct small {
	int a, b;
};

__attribute__((noinline)) int f(struct thing *t, enum color c, struct small s, signed char x)
{
	return t->flag + c + s.a + x;
}
