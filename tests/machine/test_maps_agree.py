"""Random operations on the guest's maps and on the interpreter's: the same answers."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from support.guest import Guest

from tramposim.bpf.maps import make_map
from tramposim.bpf.memory import Memory
from tramposim.machine.maps import add_map, array_values, hash_entries
from tramposim.spec import Arch, Kernel, Map, MapType

MAPS = [
    Map("hash", MapType.HASH, 8, 8, 8),
    Map("odd", MapType.HASH, 5, 13, 4),
    Map("percpu", MapType.PERCPU_HASH, 4, 16, 6),
    Map("array", MapType.ARRAY, 4, 12, 5),
    Map("counts", MapType.PERCPU_ARRAY, 4, 8, 5),
    Map("roomy", MapType.LRU_HASH, 8, 8, 64),
]
KERNELS = [Kernel(arch, version=v) for arch in Arch for v in ("6.12", "7.0", "7.2")]


def keys_of(spec: Map, chance: random.Random) -> list[bytes]:
    """More keys than a hash has room for, so that buckets are shared and the map is full."""
    if spec.type in (MapType.ARRAY, MapType.PERCPU_ARRAY):
        return [number.to_bytes(4, "little") for number in range(spec.max_entries + 2)]
    return [chance.randbytes(spec.key_size) for _ in range(min(spec.max_entries, 12) + 4)]


def operations(spec: Map, seed: int) -> Iterator[tuple[str, bytes, bytes, int]]:
    chance = random.Random(seed)
    keys = keys_of(spec, chance)
    for _ in range(120):
        name = chance.choices(["update", "lookup", "delete"], [4, 3, 2])[0]
        flags = chance.choice([0, 0, 0, 1, 2, 3])
        yield name, chance.choice(keys), chance.randbytes(spec.value_size), flags


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: f"{k.arch}-{k.version}")
@pytest.mark.parametrize("spec", MAPS, ids=lambda m: m.name)
def test_the_interpreters_maps_answer_as_the_guests(kernel: Kernel, spec: Map) -> None:
    guest = Guest(kernel)
    placed = add_map(guest.memory, spec, seed=5)
    key_at, value_at = guest.memory.kmalloc(64, "key"), guest.memory.kmalloc(64, "value")
    guest.boot()
    memory = Memory()
    model = make_map(spec, memory)
    for number, (name, key, value, flags) in enumerate(operations(spec, seed=3)):
        guest.write_bytes(key_at, key)
        guest.write_bytes(value_at, value)
        where = f"operation {number}, {name}"
        if name == "lookup":
            found = guest.call("bpf_map_lookup_elem", placed.address, key_at)
            expected = model.lookup(key)
            assert bool(found) == bool(expected), where
            if found:
                content = guest.read_bytes(found, spec.value_size)
                assert content == memory.read(expected, spec.value_size), where
        elif name == "update":
            result = guest.signed("bpf_map_update_elem", placed.address, key_at, value_at, flags)
            assert result == model.update(key, value, flags), where
        else:
            result = guest.signed("bpf_map_delete_elem", placed.address, key_at)
            assert result == model.delete(key), where
    cpu = 0 if placed.percpu else None
    if spec.type in (MapType.ARRAY, MapType.PERCPU_ARRAY):
        contents = list(array_values(placed, guest.read_bytes, cpu))
        assert contents == [value for _, value in model.items()]
    else:
        entries = dict(hash_entries(placed, guest.memory, guest.read_bytes, cpu))
        assert entries == dict(model.items())
