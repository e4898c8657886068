"""`bpftool -j prog dump jited PROG opcodes`: machine code in JSON.

One program is an array: of instructions (`pc`, `operation`, `operands`, `opcodes`), or, when
the kernel names its functions, of objects with `name` and `insns`. Several programs are an
array of objects that hold one such array as `insns` each. Form: tools/bpf/bpftool,
prog_dump (prog.c) and disasm_print_insn (jit_disasm.c).

`pc` counts from 0, but the disassembler is told where the function lies, so that the operand
of a direct call is its true target: from it follows the function's address.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from tramposim.capture.dump import MAX_CODE, Dump, DumpedFunction
from tramposim.errors import InputError

__all__ = ["parse_bpftool"]

_CALL_REL32, _BL = 0xE8, 0x94
_MASK = (1 << 64) - 1


def parse_bpftool(content: bytes, where: str) -> tuple[Dump, ...]:
    """The programs of a dump; raises `InputError` for anything that is none."""
    try:
        document = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(f"not JSON: {error}", where) from None
    if isinstance(document, dict) and isinstance(document.get("error"), str):
        raise InputError(f"bpftool reports: {document['error']}", where)
    if not isinstance(document, list) or not document:
        raise InputError("not an array, as `bpftool -j prog dump jited` writes", where)
    if all(isinstance(item, dict) and "id" in item and "insns" in item for item in document):
        return tuple(
            Dump(str(item.get("name") or item["id"]), tuple(_functions(item["insns"], where)))
            for item in document
        )
    functions = tuple(_functions(document, where))
    return (Dump(functions[0].name or "program", functions),)


def _functions(items: Any, where: str) -> Iterator[DumpedFunction]:
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise InputError("instructions are no array of objects", where)
    if not items:
        raise InputError("a program without instructions (was it compiled?)", where)
    if all("insns" in item for item in items):
        for item in items:
            name = item.get("name", "")
            insns = item["insns"]
            if not isinstance(name, str) or not isinstance(insns, list):
                raise InputError("a function without name or instructions", where)
            yield DumpedFunction(name, _code(insns, where), _address(insns))
    else:
        yield DumpedFunction("", _code(items, where), _address(items))


def _address(insns: list[dict[str, Any]]) -> int | None:
    """The function's address, from its first direct call; None if its operand is no target."""
    for insn in insns:
        code = bytes(int(byte, 16) for byte in insn["opcodes"])
        operands = insn.get("operands")
        try:
            target = int(str(operands[0]).lstrip("#"), 16) if isinstance(operands, list) else 0
        except (ValueError, IndexError):
            continue
        if len(code) == 5 and code[0] == _CALL_REL32:
            distance = 5 + int.from_bytes(code[1:], "little", signed=True)
        elif len(code) == 4 and code[3] & 0xFC == _BL:
            distance = (int.from_bytes(code, "little") & 0x3FFFFFF) * 4
            distance -= (distance >> 27) << 28
        else:
            continue
        address = target - int(insn["pc"], 16) - distance & _MASK
        return address or None
    return None


def _code(insns: list[Any], where: str) -> bytes:
    code = bytearray()
    for insn in insns:
        pc = insn.get("pc") if isinstance(insn, dict) else None
        opcodes = insn.get("opcodes") if isinstance(insn, dict) else None
        if not isinstance(opcodes, list):
            raise InputError("no opcodes: dump with `prog dump jited PROG opcodes`", where)
        try:
            at, data = int(str(pc), 16), bytes(int(str(byte), 16) for byte in opcodes)
        except (TypeError, ValueError):
            raise InputError(f"pc {pc!r} with opcodes {str(opcodes)[:60]}", where) from None
        if at != len(code) or not data:
            raise InputError(f"an instruction at {at:#x} behind {len(code):#x} bytes", where)
        code += data
        if len(code) > MAX_CODE:
            raise InputError(f"more than {MAX_CODE >> 20} MiB of code", where)
    if not code:
        raise InputError("a function without instructions", where)
    return bytes(code)
