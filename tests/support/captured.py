"""The functions of a captured kernel in place of ours, to count what the kernel executes."""

from __future__ import annotations

import json
import lzma
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

from support.guest import Guest

from tramposim.kernel.structs import structs
from tramposim.machine.kerneldata import kernel_memory
from tramposim.machine.runtime import Region
from tramposim.spec import Arch, Kernel

FILES = {
    (Arch.X86_64, "6.12"): "x86_64-6.12.107-default",
    (Arch.X86_64, "7.0"): "x86_64-7.0.13-default",
    (Arch.X86_64, "7.1"): "x86_64-7.1.13-default",
    (Arch.X86_64, "7.2"): "x86_64-7.2.13-default",
    (Arch.X86_64, "7.3"): "x86_64-7.3-rc7-default",
    (Arch.ARM64, "6.12"): "arm64-6.12.107-max",
    (Arch.ARM64, "7.0"): "arm64-7.0.13-max",
    (Arch.ARM64, "7.1"): "arm64-7.1.13-max",
    (Arch.ARM64, "7.2"): "arm64-7.2.13-max",
    (Arch.ARM64, "7.3"): "arm64-7.3-rc7-max",
}

_MAP_7_0 = {
    "bpf_map.ops": 0x20,
    "bpf_map.map_type": 0x38,
    "bpf_map.key_size": 0x3C,
    "bpf_map.value_size": 0x40,
    "bpf_map.max_entries": 0x44,
    "bpf_map.map_flags": 0x50,
    "bpf_map.record": 0x58,
}
PRIVATE = {
    "6.12": {
        "bpf_map.ops": 0,
        "bpf_map.map_type": 0x18,
        "bpf_map.key_size": 0x1C,
        "bpf_map.value_size": 0x20,
        "bpf_map.max_entries": 0x24,
        "bpf_map.map_flags": 0x30,
        "bpf_map.record": 0x38,
        "bpf_map.elem_count": 0xE8,
        "bpf_htab.buckets": 0x178,
        "bpf_htab.n_buckets": 0x2F8,
        "bpf_htab.hashrnd": 0x300,
    },
    "7.0": _MAP_7_0,
    "7.1": {},
    "7.2": {},
    "7.3": {**_MAP_7_0, "bpf_map.elem_count": 0x100, "bpf_htab.buckets": 0x1B8},
}
"""Offsets of structures that BTF records do not show, from the operands of the live text."""


BEYOND = 0x3000000
"""Bytes from the start of text that lie behind everything that a kernel has."""


@cache
def records(shared: Path, arch: Arch, version: str = "7.2") -> list[dict]:
    name = f"{FILES[arch, version]}-runtime.jsonl.xz"
    with lzma.open(shared / "golden" / name) as file:
        return [json.loads(line) for line in file]


def offsets(boot: dict, version: str) -> dict[str, int]:
    """Where that kernel's structures differ from those that the guest is built for."""
    found = dict(PRIVATE[version])
    for structure, layout in boot["layouts"].items():
        for member in layout["members"]:
            name = f"{structure.removesuffix('(subset)')}.{member['name']}"
            found[name] = member["off"]
    if "task_struct.cpus_ptr" in found:
        found["task_struct.cpus_mask"] = found["task_struct.cpus_ptr"] + 16
    return found


def words_loaded(function: dict) -> list[int]:
    """Addresses that an arm64 function loads 32-bit words from: page, part, offset."""
    bases: dict[str, int] = {}
    found = []
    for reference in function["refs"]:
        insn = reference["insn"]
        if part := re.fullmatch(r"add (x[0-9]+), \1, #.*", insn):
            bases[part[1]] = reference["addr"]
        elif load := re.fullmatch(r"ldr w[0-9]+, \[(x[0-9]+), #(0x[0-9a-f]+|[0-9]+)\]", insn):
            found += [bases[load[1]] + int(load[2], 0)] if load[1] in bases else []
    return found


def places(boot: dict, functions: list[dict]) -> dict[str, int]:
    """Addresses of functions and variables, as the symbols and operands of the live text say."""
    found = {k: v for k, v in boot["symbols"].items() if not k.startswith("_s")}
    found |= {f["name"]: f["addr"] for f in functions if "." not in f["name"]}
    x86 = boot["arch"] == "x86_64"
    for function in functions:
        for reference in function["refs"]:
            symbol = reference["sym"]
            # arm64 names variables by a page and a part of the offset, too.
            if symbol and "+" not in symbol and (x86 or symbol == "runqueues"):
                found.setdefault(symbol, reference["addr"])
        if function["name"] == "ktime_get_mono_fast_ns" and not x86:
            found["tk_fast_mono"] = words_loaded(function)[0]
    if not x86 and not boot["kernel"].startswith("7.2"):
        # Variables that only our own functions use: anywhere in reach.
        for name, offset in structs(Arch.ARM64).data.items():
            found.setdefault(name, boot["symbols"]["_stext"] + BEYOND + offset)
    if "pcpu_hot" in found:
        hot = found["pcpu_hot"]
        found |= {"current_task": hot, "__preempt_count": hot + 8, "cpu_number": hot + 12}
    if "current_task" in found:
        found.setdefault("const_current_task", found["current_task"])
    return found


class Captured(Guest):
    """A guest whose functions are the captured kernel's own, at their own addresses.

    Functions that were not captured are ours, with the structures of 7.2; data is laid out as
    that kernel has it.
    """

    def __init__(self, kernel: Kernel, shared: Path) -> None:
        boot, *functions = records(shared, kernel.arch, kernel.version)
        super().__init__(kernel, addresses=places(boot, functions))
        layout = self.runtime.structs
        own = offsets(boot, kernel.version)
        known = {k: own.get(k, v) for k, v in layout.offsets.items()}
        regions = {
            f["addr"]: Region(f["addr"], bytes.fromhex(f["bytes"]), f["name"], True)
            for f in functions
        }
        spans = [(r.address, r.address + len(r.data)) for r in regions.values()]
        ours = [
            region
            for region in self.runtime.regions
            if not any(
                a < region.address + len(region.data) and region.address < b for a, b in spans
            )
        ]
        self.runtime = replace(
            self.runtime,
            structs=replace(layout, offsets=MappingProxyType(known)),
            regions=tuple(sorted([*ours, *regions.values()], key=lambda r: r.address)),
            accounted=frozenset(),
        )
        self.memory, self.cpus = kernel_memory(self.runtime)
