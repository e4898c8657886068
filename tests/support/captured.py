"""The functions of a captured kernel in place of ours, to count what the kernel executes."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

from support.guest import Guest

from tramposim.machine.runtime import Region, Runtime
from tramposim.spec import Arch, Kernel

FILES = {Arch.X86_64: "x86_64-7.2.13-default", Arch.ARM64: "arm64-7.2.13-max"}


def records(shared: Path, arch: Arch, variant: str | None = None) -> list[dict]:
    name = f"{variant or FILES[arch]}-runtime.jsonl.xz"
    with lzma.open(shared / "golden" / name) as file:
        return [json.loads(line) for line in file]


class Captured(Guest):
    """A guest whose functions are the captured kernel's own, at their own addresses.

    Functions that were not captured are ours; data is laid out as for ours.
    """

    def __init__(self, kernel: Kernel, shared: Path, variant: str | None = None) -> None:
        boot, *functions = records(shared, kernel.arch, variant)
        addresses = {k: v for k, v in boot["symbols"].items() if not k.startswith("_s")}
        addresses |= {f["name"]: f["addr"] for f in functions if "." not in f["name"]}
        super().__init__(kernel, addresses=addresses)
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
        self.runtime = Runtime(
            kernel,
            self.runtime.structs,
            1,
            tuple(sorted([*ours, *regions.values()], key=lambda region: region.address)),
            self.runtime.symbols,
            frozenset(),
        )
