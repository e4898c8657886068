"""A compiled function as an image whose parts are its eBPF instructions."""

from __future__ import annotations

from collections.abc import Mapping

from tramposim.bpf import insn as isa
from tramposim.bpf.disasm import format_insn
from tramposim.bpf.insn import Insn, Pseudo, decode
from tramposim.bpf.loaded import LoadedFunction
from tramposim.jit.environment import JitEnvironment
from tramposim.jit.program import CompiledFunction
from tramposim.kernel.image import Image, Part

__all__ = ["function_image"]


def function_image(
    env: JitEnvironment,
    function: LoadedFunction,
    compiled: CompiledFunction,
    names: Mapping[int, str] | None = None,
) -> Image:
    """The function's code with one part per eBPF instruction, after and before its frame.

    `names` are addresses worth naming besides kernel symbols (maps, other functions).
    """
    symbols = {address: name for name, address in env.symbols.items()} | dict(names or {})
    insns = decode(function.insns)
    parts = [Part("prologue", 0, compiled.ends[0])]
    start = compiled.ends[0]
    index = 0
    while index < len(insns):
        insn = insns[index]
        wide = insn.opcode == isa.LD_IMM64
        upper = insns[index + 1].imm if wide else 0
        text = f"{index}: {_text(insn, upper, env, symbols)}"
        index += 2 if wide else 1
        if compiled.ends[index] > start:
            parts.append(Part(text, start, compiled.ends[index]))
        start = compiled.ends[index]
    parts.append(Part("epilogue", start, len(compiled.code)))
    return Image(
        env.kernel.arch,
        compiled.address,
        compiled.code,
        len(compiled.code),
        tuple(part for part in parts if part.start < part.end),
        symbols,
        function_lengths=(len(compiled.code),),
    )


def _text(insn: Insn, upper: int, env: JitEnvironment, symbols: Mapping[int, str]) -> str:
    """The instruction with the function that it calls, or the object that it loads, named."""
    text = format_insn(insn, upper)
    mask = (1 << 64) - 1
    if insn.opcode == isa.JMP | isa.CALL and insn.src != Pseudo.CALL:
        base = env.symbols.get("__bpf_call_base")
        name = symbols.get((base + insn.imm) & mask) if base is not None else None
        return f"call {name}" if name else text
    if insn.opcode == isa.LD_IMM64:
        name = symbols.get((upper << 32 | insn.imm & 0xFFFFFFFF) & mask)
        return f"{text}  ; {name}" if name else text
    return text
