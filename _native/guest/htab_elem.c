/* SPDX-License-Identifier: GPL-2.0-only */
/* Elements of hash maps: taking one and filling it in, giving one back. */
#include "htab.h"
#include "freelist.h"
#include "percpu.h"

extern void bpf_obj_cancel_fields(struct htab *htab, void *value);

/* Values without special fields need nothing. */
traceable direct void check_and_cancel_fields(struct htab *htab, struct elem *elem)
{
	if (usual_but_far(!has_record(htab)))
		return;
	cold_call(bpf_obj_cancel_fields);
}

/* A new key starts with zeroes on every other CPU. */
noinline void pcpu_init_value(struct htab *htab, char *pointer, const void *value, _Bool all_cpus)
{
	u32 size = (AT(u32, htab, BPF_MAP_VALUE_SIZE) + 7) & ~7u;
	u32 cpu, mine = this_cpu_number();

	if (unlikely(all_cpus))
		cold_call(guest_not_modelled);
	for_each_possible_cpu (cpu) {
		char *target = pointer + __per_cpu_offset[cpu];

		if (cpu == mine)
			copy_words(target, value, size);
		else
			zero_words(target, size);
	}
}

/*
 * A new element with key and value set: the CPU's spare one if it replaces `old` (which
 * becomes the spare), otherwise one from the free lists.
 */
direct struct elem *alloc_htab_elem(struct htab *htab, const void *key, const void *value,
				    u32 key_size, u32 hash, _Bool percpu, _Bool all_cpus,
				    struct elem *old MAP_FLAGS(u64 map_flags))
{
	u32 size = AT(u32, htab, BPF_MAP_VALUE_SIZE);
	_Bool ready = preallocated(htab);
	struct elem *elem;

	if (unlikely(!ready))
		cold_call(bpf_mem_cache_free);
	if (old) {
		struct elem **spare =
			this_cpu_pointer(struct elem *, AT(void *, htab, BPF_HTAB_EXTRA_ELEMS));

		elem = *spare;
		*spare = old;
	} else {
		struct free_node *node =
			__pcpu_freelist_pop((struct freelist *)((char *)htab + BPF_HTAB_FREELIST));

		if (unlikely(!node))
			return (struct elem *)-E2BIG;
		elem = (struct elem *)((char *)node - HTAB_ELEM_FNODE);
		count_element(htab);
	}
	memcpy(ELEM_KEY(elem), key, key_size);
	if (unlikely(percpu)) {
		pcpu_init_value(htab, *percpu_pointer(elem, key_size), value, all_cpus);
	} else if (unlikely(AT(u32, htab, BPF_MAP_MAP_TYPE) == MAP_TYPE_HASH_OF_MAPS)) {
		memcpy(ELEM_VALUE(elem, key_size), value, (size + 7) & ~7u);
	} else {
#if GUEST_KERNEL >= 700
		if (unlikely(map_flags & BPF_F_LOCK))
			cold_call(guest_not_modelled);
#endif
		if (unlikely(has_record(htab)))
			cold_call(bpf_obj_cancel_fields);
		memcpy(ELEM_VALUE(elem, key_size), value, size);
	}
	AT(u32, elem, HTAB_ELEM_HASH) = hash;
	return elem;
}

/* Back to this CPU's free list; maps in maps have a reference to drop first. */
traceable direct void free_htab_elem(struct htab *htab, struct elem *elem)
{
	void (*put)(struct htab *, void *, _Bool) =
		AT(void (*)(struct htab *, void *, _Bool), AT(char *, htab, BPF_MAP_OPS),
		   BPF_MAP_OPS_MAP_FD_PUT_PTR);

	if (put)
		put(htab, AT(void *, ELEM_VALUE(elem, AT(u32, htab, BPF_MAP_KEY_SIZE)), 0), 1);
	if (unlikely(!preallocated(htab)))
		cold_call(bpf_mem_cache_free);
	discount_element(htab);
	check_and_cancel_fields(htab, elem);
	pcpu_freelist_push((struct freelist *)((char *)htab + BPF_HTAB_FREELIST),
			   (struct free_node *)((char *)elem + HTAB_ELEM_FNODE));
}
