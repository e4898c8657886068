"""Golden code in the forms in which tools dump it."""

import json
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def records(shared: Path, name: str) -> Iterator[dict[str, Any]]:
    with lzma.open(shared / "golden" / name) as stream:
        yield from map(json.loads, stream)


def record(shared: Path, name: str, record_id: str) -> dict[str, Any]:
    return next(r for r in records(shared, name) if r.get("id") == record_id)


def boot(shared: Path, name: str) -> dict[str, Any]:
    return next(records(shared, name))


def kallsyms(path: Path, symbols: dict[str, int | None]) -> Path:
    path.write_text("".join(f"{a:016x} T {n}\n" for n, a in symbols.items() if a is not None))
    return path


def instruction_sizes(arch: str, code: bytes) -> list[int]:
    import capstone

    if arch == "arm64":
        return [4] * (len(code) // 4)
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    return [size for _, size, _, _ in decoder.disasm_lite(code, 0)]


def bpftool_insns(arch: str, code: bytes, base: int = 0) -> list[dict[str, Any]]:
    """As disasm_print_insn of bpftool writes them with `opcodes`, for code that lay at `base`."""
    insns, at = [], 0
    for size in instruction_sizes(arch, code):
        operands: list[str | None] = [None]
        if base and size == 5 and code[at] == 0xE8:
            distance = int.from_bytes(code[at + 1 : at + 5], "little", signed=True)
            operands = [f"{(base + at + 5 + distance) % (1 << 64):#x}"]
        insns.append(
            {
                "pc": f"{at:#x}",
                "operation": "op",
                "operands": operands,
                "opcodes": [f"0x{byte:02x}" for byte in code[at : at + size]],
            }
        )
        at += size
    return insns


def jit_log(code: bytes, image: int, prefix: str = "") -> str:
    """As bpf_jit_dump prints it."""
    lines = [f"flen=3 proglen={len(code)} pass=6 image={image:016x} from=test pid=1"]
    for at in range(0, len(code), 16):
        lines.append(f"JIT code: {at:08x}: {code[at : at + 16].hex(' ')}")
    return "".join(f"{prefix}{line}\n" for line in lines)
