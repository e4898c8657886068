"""Maps: the guest's operations on them against a dictionary, and their layout and readers."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from support.guest import Guest

from tramposim.errors import InputError, UnsupportedError
from tramposim.machine.kerneldata import kernel_memory
from tramposim.machine.maps import PlacedMap, add_map, array_values, hash_entries, ring_records
from tramposim.machine.runtime import load_runtime
from tramposim.spec import Arch, Kernel, Map, MapFlag, MapType, Returns

ENOENT, E2BIG, EAGAIN, EEXIST, EINVAL = 2, 7, 11, 17, 22
ANY, NOEXIST, EXIST, F_LOCK = 0, 1, 2, 4


class MapGuest(Guest):
    """A guest with one map and room for a key and a value."""

    def __init__(
        self,
        arch: Arch,
        spec: Map,
        cpus: int = 1,
        seed: int = 0,
        kernel: Kernel | None = None,
    ) -> None:
        super().__init__(kernel or Kernel(arch), cpus)
        self.map: PlacedMap = add_map(self.memory, spec, seed=seed)
        self.key = self.memory.kmalloc(512, "key")
        self.value = self.memory.kmalloc(4096, "value")
        self.boot()

    def run(self, function: str, key: bytes, value: bytes | None = None, flags: int = 0) -> int:
        """Calls a map operation; returns its result as a signed number."""
        self.write_bytes(self.key, key)
        arguments = [self.map.address, self.key]
        if value is not None:
            self.write_bytes(self.value, value)
            arguments += [self.value, flags]
        result = self.call(function, *arguments)
        return result - (1 << 64) if result >> 63 and result > -4096 % (1 << 64) else result

    def lookup(self, function: str, key: bytes) -> bytes | None:
        address = self.run(function, key)
        return self.read_bytes(address, self.map.map.value_size) if address else None

    def entries(self, cpu: int | None = None) -> dict[bytes, bytes]:
        return dict(hash_entries(self.map, self.memory, self.read_bytes, cpu))


def expected_update(model: dict[bytes, bytes], key: bytes, flags: int, room: int) -> int:
    """The kernel's answer to an update (kernel documentation: map_hash, BPF_* flags)."""
    if flags not in (ANY, NOEXIST, EXIST):
        return -EINVAL
    if flags == NOEXIST and key in model:
        return -EEXIST
    if flags == EXIST and key not in model:
        return -ENOENT
    if key not in model and len(model) >= room:
        return -E2BIG
    return 0


SHAPES = [(4, 8), (8, 8), (5, 1), (12, 24), (16, 64), (13, 100), (40, 33), (7, 4)]


@pytest.mark.parametrize("arch", list(Arch))
@pytest.mark.parametrize(("key_size", "value_size"), SHAPES)
def test_hash_map_behaves_as_a_dictionary(arch: Arch, key_size: int, value_size: int) -> None:
    chance = random.Random(key_size * 1000 + value_size)
    room = 24
    spec = Map("h", MapType.HASH, key_size, value_size, room)
    guest = MapGuest(arch, spec, cpus=chance.choice((1, 3)), seed=chance.getrandbits(32))
    keys = [chance.randbytes(key_size) for _ in range(room + 8)]
    model: dict[bytes, bytes] = {}
    # A map of N entries also hands out the spare elements of its CPUs before it is full.
    for _ in range(150):
        guest.run_on(chance.choice(guest.cpus))
        key, value = chance.choice(keys), chance.randbytes(value_size)
        action = chance.random()
        if action < 0.5:
            flags = chance.choice((ANY, ANY, ANY, NOEXIST, EXIST, 3))
            expected = expected_update(model, key, flags, room)
            assert guest.run("htab_map_update_elem", key, value, flags) == expected
            if expected == 0:
                model[key] = value
        elif action < 0.75:
            expected = 0 if model.pop(key, None) is not None else -ENOENT
            assert guest.run("htab_map_delete_elem", key) == expected
        else:
            assert guest.lookup("htab_map_lookup_elem", key) == model.get(key)
    assert guest.entries() == model


VARIANTS = [
    Kernel(Arch.ARM64, lse=False, pac=False),
    Kernel(Arch.ARM64, version="6.12", lse=False),
    Kernel(Arch.X86_64, version="6.12", retpoline=False),
    Kernel(Arch.X86_64, returns=Returns.SRSO),
    Kernel(Arch.X86_64, returns=Returns.ITS, retpoline=False),
    Kernel(Arch.X86_64, returns=Returns.STUFFING),
]


@pytest.mark.parametrize("kernel", VARIANTS, ids=lambda k: f"{k.arch}-{k.version}-{k.returns}")
@pytest.mark.parametrize("type_", [MapType.HASH, MapType.LRU_HASH])
def test_hash_maps_work_in_every_variant(kernel: Kernel, type_: MapType) -> None:
    guest = MapGuest(kernel.arch, Map("h", type_, 7, 12, 16), cpus=2, kernel=kernel)
    operation = "htab_lru_map_" if type_ is MapType.LRU_HASH else "htab_map_"
    model = {bytes([n] * 7): bytes([n] * 12) for n in range(6)}
    for key, value in model.items():
        assert guest.run(f"{operation}update_elem", key, bytes(12), NOEXIST) == 0
        assert guest.run(f"{operation}update_elem", key, value, EXIST) == 0
        assert guest.lookup("bpf_map_lookup_elem", key) == value
    gone = bytes([3] * 7)
    assert guest.run("bpf_map_delete_elem", gone) == 0
    del model[gone]
    assert guest.entries() == model


@pytest.mark.parametrize("arch", list(Arch))
def test_percpu_hash_keeps_values_apart(arch: Arch) -> None:
    guest = MapGuest(arch, Map("p", MapType.PERCPU_HASH, 8, 16, 8), cpus=2)
    key, first, second = bytes(8), b"a" * 16, b"b" * 16
    guest.run_on(guest.cpus[1])
    assert guest.run("htab_percpu_map_update_elem", key, first) == 0
    assert guest.entries(0) == {key: bytes(16)}
    assert guest.entries(1) == {key: first}
    guest.run_on(guest.cpus[0])
    assert guest.run("htab_percpu_map_update_elem", key, second, EXIST) == 0
    assert guest.lookup("htab_percpu_map_lookup_elem", key) == second
    assert guest.entries(1) == {key: first}
    with pytest.raises(InputError, match="name a CPU"):
        guest.entries()
    assert guest.run("htab_map_delete_elem", key) == 0
    assert guest.entries(0) == {}


@pytest.mark.parametrize("arch", list(Arch))
@pytest.mark.parametrize("cpus", [1, 2])
def test_lru_hash_forgets_only_what_is_old(arch: Arch, cpus: int) -> None:
    chance = random.Random(cpus)
    room = 64
    guest = MapGuest(arch, Map("l", MapType.LRU_HASH, 8, 16, room), cpus=cpus, seed=7)
    hot = [f"hot {n}".ljust(8).encode() for n in range(4)]
    last: dict[bytes, bytes] = {}
    for step in range(160):
        guest.run_on(chance.choice(guest.cpus))
        key = hot[step] if step < len(hot) else step.to_bytes(8, "little")
        last[key] = chance.randbytes(16)
        assert guest.run("htab_lru_map_update_elem", key, last[key]) == 0
        assert guest.lookup("htab_lru_map_lookup_elem", key) == last[key]
        for used in hot:
            if used in last:
                assert guest.lookup("htab_lru_map_lookup_elem", used) == last[used]
    entries = guest.entries()
    assert room // 4 < len(entries) <= room
    assert all(last[key] == value for key, value in entries.items())
    assert guest.lookup("htab_lru_map_lookup_elem", (5).to_bytes(8, "little")) is None
    assert guest.run("htab_lru_map_update_elem", hot[0], bytes(16), NOEXIST) == -EEXIST
    assert guest.run("htab_lru_map_update_elem", b"no such!", bytes(16), EXIST) == -ENOENT
    assert guest.run("htab_lru_map_update_elem", hot[0], bytes(16), EXIST) == 0
    for key in list(guest.entries()):
        assert guest.run("htab_lru_map_delete_elem", key) == 0
        assert guest.run("htab_lru_map_delete_elem", key) == -ENOENT
    assert guest.entries() == {}


@pytest.mark.parametrize("arch", list(Arch))
@pytest.mark.parametrize("type_", [MapType.ARRAY, MapType.PERCPU_ARRAY])
def test_arrays(arch: Arch, type_: MapType) -> None:
    guest = MapGuest(arch, Map("a", type_, 4, 24, 10), cpus=2)
    guest.run_on(guest.cpus[1])
    lookup = "percpu_" * (type_ is MapType.PERCPU_ARRAY) + "array_map_lookup_elem"
    value = bytes(range(24))
    assert guest.run("array_map_update_elem", (9).to_bytes(4, "little"), value) == 0
    assert guest.lookup(lookup, (9).to_bytes(4, "little")) == value
    assert guest.lookup(lookup, (3).to_bytes(4, "little")) == bytes(24)
    assert guest.lookup(lookup, (10).to_bytes(4, "little")) is None
    assert guest.run("array_map_update_elem", (10).to_bytes(4, "little"), value) == -E2BIG
    assert guest.run("array_map_update_elem", bytes(4), value, NOEXIST) == -EEXIST
    assert guest.run("array_map_delete_elem", bytes(4)) == -EINVAL
    own = list(array_values(guest.map, guest.read_bytes, 1))
    assert own == [bytes(24)] * 9 + [value]
    other = list(array_values(guest.map, guest.read_bytes, 0))
    assert other == (own if type_ is MapType.ARRAY else [bytes(24)] * 10)


@pytest.mark.parametrize("arch", list(Arch))
def test_helpers_reach_the_operations_of_the_map(arch: Arch) -> None:
    guest = MapGuest(arch, Map("h", MapType.HASH, 8, 8, 4))
    key, value = b"8 bytes!", b"a value."
    assert guest.run("bpf_map_update_elem", key, value) == 0
    assert guest.lookup("bpf_map_lookup_elem", key) == value
    assert guest.run("bpf_map_delete_elem", key) == 0
    assert guest.lookup("bpf_map_lookup_elem", key) is None


@pytest.mark.parametrize("arch", list(Arch))
@pytest.mark.parametrize("lse", [True, False])
def test_ring_buffer_keeps_order_and_refuses_when_full(arch: Arch, lse: bool) -> None:
    guest = MapGuest(arch, Map("r", MapType.RINGBUF, 0, 0, 4096), kernel=Kernel(arch, lse=lse))
    layout, ring = guest.memory.structs, guest.map.values

    def records() -> list[bytes]:
        return list(ring_records(guest.map, guest.memory, guest.read_bytes))

    def output(data: bytes, flags: int = 0) -> int:
        guest.write_bytes(guest.value, data)
        result = guest.call("bpf_ringbuf_output", guest.map.address, guest.value, len(data), flags)
        return result - (1 << 64) if result >> 63 else result

    first = guest.call("bpf_ringbuf_reserve", guest.map.address, 24, 0)
    assert output(b"second") == 0
    assert records() == []
    guest.write_bytes(first, b"f" * 24)
    guest.call("bpf_ringbuf_submit", first, 0)
    dropped = guest.call("bpf_ringbuf_reserve", guest.map.address, 8, 0)
    guest.call("bpf_ringbuf_discard", dropped, 0)
    assert records() == [b"f" * 24, b"second"]
    produced = guest.read(ring + layout.offset("bpf_ringbuf.producer_pos"))
    assert produced == 32 + 16 + 16
    assert output(bytes(4096)) == -EAGAIN
    assert output(bytes(4000)) == 0
    assert output(bytes(60)) == -EAGAIN
    guest.write(ring + layout.offset("bpf_ringbuf.consumer_pos"), produced)
    across = bytes(range(60))
    assert output(across) == 0
    assert records() == [bytes(4000), across]
    assert output(b"x", flags=4) == -EINVAL
    assert guest.call("bpf_ringbuf_reserve", guest.map.address, 8, 1) == 0


@pytest.mark.parametrize("arch", list(Arch))
def test_reading_memory_and_random_numbers(arch: Arch) -> None:
    guest = MapGuest(arch, Map("a", MapType.ARRAY, 4, 8, 1))
    text = bytes(range(1, 32))
    guest.write_bytes(guest.value, text)
    assert guest.call("bpf_probe_read_kernel", guest.key, 31, guest.value) == 0
    assert guest.read_bytes(guest.key, 32) == text + b"\0"
    assert guest.call("bpf_probe_read_kernel", guest.key, 31, 0x1000) == (1 << 64) - 34
    assert guest.read_bytes(guest.key, 32) == bytes(32)
    numbers = {guest.call("bpf_user_rnd_u32") for _ in range(20)}
    assert len(numbers) == 20
    assert max(numbers) < 1 << 32


def specs() -> Iterator[tuple[Map, str]]:
    yield Map("m", MapType.ARRAY, 8, 8, 1), "key_size of an array"
    yield Map("m", MapType.HASH, 0, 8, 1), "key_size is 0"
    yield Map("m", MapType.HASH, 513, 8, 1), "key_size is 513"
    yield Map("m", MapType.HASH, 8, 0, 1), "value_size is 0"
    yield Map("m", MapType.HASH, 8, 8, 0), "max_entries is 0"
    yield Map("m", MapType.ARRAY, 4, 1 << 20, 1 << 20), "at most"
    yield Map("m", MapType.RINGBUF, 0, 0, 5000), "power of two"
    yield Map("m", MapType.RINGBUF, 4, 0, 4096), "of a ring buffer are 0"


@pytest.mark.parametrize(("spec", "message"), list(specs()))
def test_bad_sizes_are_refused(spec: Map, message: str) -> None:
    memory, _ = kernel_memory(load_runtime(Kernel(Arch.X86_64)))
    with pytest.raises(InputError, match=message):
        add_map(memory, spec)


def test_map_lies_where_it_is_asked_for() -> None:
    memory, _ = kernel_memory(load_runtime(Kernel(Arch.ARM64)))
    address = 0xFFFF0000D0000100
    assert add_map(memory, Map("m", MapType.ARRAY, 4, 8, 4), address).address == address
    with pytest.raises(InputError, match="overlaps"):
        add_map(memory, Map("n", MapType.ARRAY, 4, 8, 4), address + 8)


@pytest.mark.parametrize("arch", list(Arch))
def test_global_data_begins_a_page_and_has_its_content(arch: Arch) -> None:
    memory, _ = kernel_memory(load_runtime(Kernel(arch)))
    content = bytes(range(1, 31))
    data = Map("d", MapType.ARRAY, 4, 40, 1, content=content, flags=MapFlag.MMAPABLE)
    placed = add_map(memory, data)
    assert placed.values % 4096 == 0
    assert placed.values == placed.address + memory.structs.offset("bpf_array.value")
    assert memory.read(placed.values, 40) == content + bytes(10)
    several = add_map(memory, Map("a", MapType.ARRAY, 4, 12, 3, content=content))
    assert list(array_values(several, memory.read)) == [
        content[:12],
        content[12:24],
        content[24:] + bytes(6),
    ]


def test_flags_that_change_how_a_map_works_are_refused() -> None:
    memory, _ = kernel_memory(load_runtime(Kernel(Arch.X86_64)))
    with pytest.raises(UnsupportedError, match="without preallocated elements"):
        add_map(memory, Map("h", MapType.HASH, 4, 8, 4, flags=MapFlag.NO_PREALLOC))
    with pytest.raises(InputError, match="cannot be mapped"):
        add_map(memory, Map("h", MapType.HASH, 4, 8, 4, flags=MapFlag.MMAPABLE))
