"""A running kernel as files, made from golden records: /proc/kallsyms text and a kcore."""

from __future__ import annotations

import json
import lzma
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tramposim.capture.kallsyms import parse_kallsyms
from tramposim.capture.kcore import CoreMemory
from tramposim.capture.records import BootRecord, Capture
from tramposim.capture.runtime import CapturedRuntime, find_runtime, read_runtime
from tramposim.capture.view import KernelView, LoadedMap, LoadedProgramInfo
from tramposim.kernel.prototype import model_prototype
from tramposim.spec import Prototype

MACHINES = {"x86_64": 62, "arm64": 183}
RES = LoadedMap(7, 2, "res", 4, 512 * 65, 1)
OPS_SIZE = 0x100


@dataclass
class Bytes:
    """A file in memory."""

    data: bytes

    def read_at(self, offset: int, size: int) -> bytes:
        return self.data[offset : offset + size]


def core_file(arch: str, blocks: dict[int, bytes]) -> bytes:
    """An ELF core with the blocks as segments, overlapping ones merged."""
    merged: list[tuple[int, bytearray]] = []
    for address in sorted(blocks):
        data = blocks[address]
        if merged and address <= merged[-1][0] + len(merged[-1][1]):
            start, buffer = merged[-1]
            at = address - start
            buffer[at : at + len(data)] = data
        else:
            merged.append((address, bytearray(data)))
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 4, MACHINES[arch], 1, 0, 64, 0, 0, 64, 56,
        len(merged), 0, 0, 0,
    )  # fmt: skip
    offset = 64 + 56 * len(merged)
    table, body = b"", b""
    for address, buffer in merged:
        place = offset + len(body)
        table += struct.pack("<IIQQQQQQ", 1, 7, place, address, 0, len(buffer), len(buffer), 4096)
        body += bytes(buffer)
    return header + table + body


@dataclass
class Running:
    """The kernel of one golden case, with the case's programs attached."""

    case: dict[str, Any]
    boot: BootRecord
    runtime: CapturedRuntime
    layouts: dict[str, Any]
    blocks: dict[int, bytes]
    kallsyms: str

    @property
    def core(self) -> bytes:
        return core_file(self.boot.arch, self.blocks)

    def view(self, core: bytes | None = None, kallsyms: str | None = None) -> KernelView:
        case = self.case
        programs = {
            program["ksyms"][0]: LoadedProgramInfo(
                number, 26, program["name"], bytes.fromhex(program["jited"]),
                tuple(program["ksyms"]), tuple(program["func_lens"]),
                bytes.fromhex(program["xlated"]), (RES.id,) if case["maps"] else (),
            )
            for number, program in enumerate(case["progs"], 1)
        }  # fmt: skip
        return KernelView(
            release=self.boot.uname["release"],
            symbols=parse_kallsyms((kallsyms or self.kallsyms).splitlines()),
            memory=CoreMemory(Bytes(core if core is not None else self.core)),
            layouts=self.layouts,
            prototype_of=self.prototype_of,
            programs=programs,
            maps={RES.id: RES},
            vulnerabilities={k: v for k, v in self.boot.vulnerabilities.items() if v},
        )

    def prototype_of(self, name: str) -> Prototype:
        model = self.case["model"]
        count = model["nr_args"]
        return model_prototype(
            name, model["ret_size"], model["ret_flags"],
            model["arg_size"][:count], model["arg_flags"][:count],
        )  # fmt: skip


def running(shared: Path, file: str, record: str) -> Running:
    path = shared / "golden" / f"{file}.jsonl.xz"
    with lzma.open(path, "rt") as lines:
        case = next(r for r in map(json.loads, lines) if r.get("id") == record)
    boot = Capture(path).boot
    runtime_path = find_runtime(path, boot)
    runtime = read_runtime(runtime_path, boot)
    layouts = {k.removesuffix("(subset)"): v for k, v in Capture(runtime_path).boot.layouts.items()}
    direct_call = runtime.structs.offsets.get("ftrace_ops.direct_call", 0)
    member = {"name": "direct_call", "off": direct_call, "bit": None, "bits": None, "size": 8}
    layouts["ftrace_ops"] = {"size": OPS_SIZE, "members": [member]}
    map_id = {"name": "id", "off": 0x5C, "bit": None, "bits": None, "size": 4}
    layouts["bpf_map"] = {"size": 0x120, "members": [map_id]}
    blocks = {f.address - len(f.before): f.before for f in runtime.functions if f.before}
    blocks |= {f.address: f.code for f in runtime.functions}
    traced = bytes.fromhex(case["func_bytes_m16"])
    untraced = blocks.get(case["func_addr"], b"")
    blocks |= _objects(case, layouts)
    # What the runtime file has of the function and those behind it is as before attaching.
    end = case["func_addr"] + len(traced) - 16
    for address in [a for a in blocks if case["func_addr"] <= a < end]:
        if address + len(blocks[address]) <= end:
            del blocks[address]
    thunk = boot.symbols.get("x86_return_thunk")
    if thunk is not None and boot.x86_return_thunk_value is not None:
        blocks[thunk] = struct.pack("<Q", boot.x86_return_thunk_value)
    blocks[case["func_addr"]] = traced[16:] + untraced[len(traced) - 16 :]
    symbols = {**runtime.symbols, **{k: v for k, v in boot.symbols.items() if v is not None}}
    symbols |= {name: address for name, address in runtime.called.items() if "+" not in name}
    listed = [(address, "T", name) for name, address in symbols.items()]
    listed += [(f.address + len(f.code), "t", f"end_of_{f.name}") for f in runtime.functions]
    listed.append((case["func_addr"], "T", case["target"]))
    listed.append((case["image"], "t", f"bpf_trampoline_{case['id']}\t[bpf]"))
    for program in case["progs"]:
        listed += [(a, "t", f"bpf_prog_{program['name']}\t[bpf]") for a in program["ksyms"]]
    text = "".join(f"{address:016x} {kind} {name}\n" for address, kind, name in sorted(listed))
    return Running(case, boot, runtime, layouts, blocks, text)


def _objects(case: dict[str, Any], layouts: dict[str, Any]) -> dict[int, bytes]:
    blocks = {
        case["image"]: bytes.fromhex(case["img"]) + bytes.fromhex(case["img_tail"]),
        case["func_addr"] - 16: bytes.fromhex(case["func_bytes_m16"]),
    }
    size = _offset(layouts, "bpf_tramp_image", "size")
    im = bytearray(layouts["bpf_tramp_image"]["size"])
    struct.pack_into("<I", im, size, case["im_size"])
    blocks[case["im"]] = bytes(im)
    for program in case["progs"]:
        main = program["main"]
        insns = bytes.fromhex(main["insnsi"])
        blocks[main["p"]] = bytes.fromhex(main["prog_bytes"]) + insns
        aux = bytearray(layouts["bpf_prog_aux"]["size"])
        for member in layouts["bpf_prog_aux"]["members"]:
            if member["name"] in main["aux_fields"] and member["size"] in (1, 2, 4, 8):
                value = main["aux_fields"][member["name"]]
                aux[member["off"] : member["off"] + member["size"]] = value.to_bytes(
                    member["size"], "little"
                )
        blocks[main["aux_addr"]] = bytes(aux)
    for placed in case["maps"]:
        header = bytearray(0x120)
        struct.pack_into("<I", header, 0x5C, RES.id)
        blocks[placed["addr"]] = bytes(header)
    if "site_ops" in case:
        ops = bytearray(OPS_SIZE)
        struct.pack_into("<Q", ops, _offset(layouts, "ftrace_ops", "direct_call"), case["image"])
        blocks[case["site_ops"]] = bytes(ops)
    return blocks


def _offset(layouts: dict[str, Any], structure: str, member: str) -> int:
    return next(m["off"] for m in layouts[structure]["members"] if m["name"] == member)
