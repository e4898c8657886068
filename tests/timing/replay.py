"""Executes a captured x86_64 image with the captured functions of its kernel; gives the trace.

The calling loop and its arguments are those of the hardware measurements (the README beside
their data); pages of data are zero until the few words that the functions test are set.
"""

from __future__ import annotations

import json
import lzma
import struct
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import unicorn
from unicorn import x86_const

from tramposim.machine.trace import ACCESS, CodeRegion, Trace
from tramposim.spec import Arch

PHYSICAL = (1 << 52) - 1
PERCPU, TASK, STACK = 0xFFFF888100000000, 0xFFFF888200000000, 0xFFFFC90000008000
POINTERS = (0xFFFF888300000000, 0xFFFF888300001040, 0xFFFF888300002080)


@cache
def records(path: Path) -> list[dict[str, Any]]:
    with lzma.open(path, "rt") as file:
        return [json.loads(line) for line in file]


def _loop(target: int, at: int) -> bytes:
    """movabs rdi; movabs rsi; mov edx,3; mov ecx,4; movabs r8; mov r9d,6; call; dec r15; jnz."""
    code = (
        b"\x48\xbf" + struct.pack("<Q", POINTERS[0]) + b"\x48\xbe" + struct.pack("<Q", POINTERS[1])
    )
    code += b"\xba\x03\0\0\0\xb9\x04\0\0\0\x49\xb8" + struct.pack("<Q", POINTERS[2])
    code += b"\x41\xb9\x06\0\0\0"
    code += b"\xe8" + struct.pack("<i", target - (at + len(code) + 5)) + b"\x49\xff\xcf"
    return code + b"\x75" + struct.pack("<b", -(len(code) + 2))


def image_trace(directory: Path, variant: str, case: str, calls: int = 8) -> Trace:
    """Trace of `calls` calls of the function that record `case` of `variant` traces."""
    cases = records(directory / f"{variant}-trampolines.jsonl.xz")
    functions = [
        r for r in records(directory / f"{variant}-runtime.jsonl.xz") if r["rec"] == "func"
    ]
    boot, record = cases[0], next(r for r in cases if r.get("id") == case)
    enter = next(r["addr"] for r in functions if r["name"] == "__bpf_prog_enter_recur")
    shift = boot["symbols"]["__bpf_prog_enter_recur"] - enter
    code = {r["addr"] + shift: bytes.fromhex(r["bytes"]) for r in functions}
    code[record["image"]] = bytes.fromhex(record["img"])
    for program in record["progs"]:
        at = 0
        for address, size in zip(program["ksyms"], program["func_lens"], strict=True):
            code[address] = bytes.fromhex(program["jited"])[at : at + size]
            at += size
    function = record["func_addr"]
    body = bytes.fromhex(record["func_bytes_m16"])[16:]
    beyond = min((a for a in code if a > function), default=function + 80)
    code = {a: c for a, c in code.items() if not a <= function < a + len(c)}
    code[function] = body[: min(80, beyond - function)]
    loop = (record["image"] - 0x200000) & ~0xFFF
    code[loop] = _loop(function, loop)
    return _execute(code, _words(boot, record), loop, calls)


def _words(boot: dict[str, Any], record: dict[str, Any]) -> dict[int, bytes]:
    """The words of kernel data that must not be zero."""
    current = boot["symbols"]["const_current_task"]
    quads = {
        PERCPU + current: TASK,
        PERCPU + boot["symbols"]["this_cpu_off"]: PERCPU,
        TASK + 0x560: TASK + 0x570,
        STACK: 7,
        record["im"] + 0x270: 0x1000,
    }
    at = 0x2000
    for nodes in record["nodes"].values():
        for node in nodes:
            quads |= {
                node["p"] + 64: at,
                node["p"] + 56: at + 0x800,
                node["p"] + 72: node["bpf_func"],
            }
            at += 0x40
    words = {a & (1 << 64) - 1: struct.pack("<Q", value) for a, value in quads.items()}
    words[PERCPU + current + 0x18 & (1 << 64) - 1] = struct.pack("<I", 1 << 31)
    return words


def _execute(code: dict[int, bytes], words: dict[int, bytes], loop: int, calls: int) -> Trace:
    engine = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    pages: set[int] = set()

    def provide(address: int, size: int) -> None:
        for page in range((address & PHYSICAL) >> 12, ((address + size - 1 & PHYSICAL) >> 12) + 1):
            if page not in pages:
                pages.add(page)
                engine.mem_map(page << 12, 4096)

    for address, content in [*code.items(), *words.items()]:
        provide(address, len(content))
        engine.mem_write(address & PHYSICAL, content)
    pcs: list[int] = []
    accesses: list[tuple[int, int, int, int]] = []
    starts: list[int] = []

    def step(uc: Any, address: int, size: int, data: Any) -> None:
        if address == loop:
            starts.append(len(pcs))
            if len(starts) > calls + 2:
                uc.emu_stop()
                return
        pcs.append(address)
        assert len(pcs) < 100_000, "the execution went astray"

    def access(uc: Any, kind: int, address: int, size: int, value: int, data: Any) -> None:
        accesses.append((address, len(pcs) - 1, size, int(kind == unicorn.UC_MEM_WRITE)))

    def missing(uc: Any, kind: int, address: int, size: int, value: int, data: Any) -> bool:
        provide(address, size)
        return True

    engine.hook_add(unicorn.UC_HOOK_MEM_READ_UNMAPPED | unicorn.UC_HOOK_MEM_WRITE_UNMAPPED, missing)
    engine.hook_add(unicorn.UC_HOOK_CODE, step)
    engine.hook_add(unicorn.UC_HOOK_MEM_READ | unicorn.UC_HOOK_MEM_WRITE, access)
    engine.reg_write(x86_const.UC_X86_REG_RSP, STACK)
    engine.reg_write(x86_const.UC_X86_REG_R15, 1 << 40)
    engine.reg_write(x86_const.UC_X86_REG_GS_BASE, PERCPU)
    engine.emu_start(loop, 0)
    return Trace(
        Arch.X86_64,
        np.array(pcs, dtype=np.uint64),
        np.array(accesses, dtype=ACCESS),
        np.array(starts[2:], dtype=np.int64),
        tuple(CodeRegion(address, content) for address, content in code.items()),
    )
