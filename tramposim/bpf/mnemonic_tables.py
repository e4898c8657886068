"""Mnemonics of eBPF and what instructions they stand for, in both directions."""

from __future__ import annotations

from dataclasses import dataclass

from tramposim.bpf import insn as isa
from tramposim.bpf.insn import ALU_NAMES, ATOMIC_NAMES, JMP_NAMES, Insn, Pseudo

__all__ = ["ENTRIES", "PSEUDO_LOADS", "Entry", "name_of"]

_SIZES = {isa.B: "b", isa.H: "h", isa.W: "w", isa.DW: "dw"}
_WIDTHS = ((isa.ALU64, ""), (isa.ALU, "32"))
_SIGNED = {isa.DIV: "sdiv", isa.MOD: "smod"}

PSEUDO_LOADS = {
    "map_by_fd": int(Pseudo.MAP_FD),
    "map_val(map_by_fd": int(Pseudo.MAP_VALUE),
    "var_addr": int(Pseudo.BTF_ID),
    "code_addr": int(Pseudo.FUNC),
    "map_by_idx": int(Pseudo.MAP_IDX),
    "map_val(map_by_idx": int(Pseudo.MAP_IDX_VALUE),
}
"""Functions of RFC 9669 (section 5.4) and the source register that stands for each."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An instruction form: its opcode, what its operands are, and fixed fields (None: any).

    Operand kinds: `dst`, `src`, `imm`, `[dst]` and `[src]` (address with offset), `near` and
    `far` (jump targets in offset and imm), `space to`, `space from`.
    """

    opcode: int
    operands: tuple[str, ...] = ()
    offset: int | None = None
    imm: int | None = None


def _arithmetic() -> dict[str, tuple[Entry, ...]]:
    table: dict[str, tuple[Entry, ...]] = {}
    for cls, suffix in _WIDTHS:
        for op, name in ALU_NAMES.items():
            offsets = [(name, 0)] + ([(_SIGNED[op], 1)] if op in _SIGNED else [])
            for mnemonic, offset in offsets:
                table[mnemonic + suffix] = (
                    Entry(cls | op, ("dst", "imm"), offset),
                    Entry(cls | op | isa.X, ("dst", "src"), offset),
                )
        table["neg" + suffix] = (Entry(cls | isa.NEG, ("dst",)),)
        bits = suffix or "64"
        for extended in (8, 16, 32)[: 3 if cls == isa.ALU64 else 2]:
            move = Entry(cls | isa.MOV | isa.X, ("dst", "src"), extended)
            table[f"movsx{extended}{bits}"] = (move,)
    for width in (16, 32, 64):
        for name, opcode in (
            ("le", isa.ALU | isa.END),
            ("be", isa.ALU | isa.END | isa.X),
            ("swap", isa.ALU64 | isa.END),
        ):
            table[f"{name}{width}"] = (Entry(opcode, ("dst",), imm=width),)
    special = isa.ALU64 | isa.MOV | isa.X
    table["mov_percpu"] = (Entry(special, ("dst", "src"), isa.PERCPU_MOV),)
    cast = ("dst", "src", "space to", "space from")
    table["addr_space_cast"] = (Entry(special, cast, isa.ADDR_SPACE_CAST),)
    return table


def _memory() -> dict[str, tuple[Entry, ...]]:
    table: dict[str, tuple[Entry, ...]] = {
        "lddw": (Entry(isa.LD_IMM64, ("dst", "imm64")),),
        "nospec": (Entry(isa.ST | isa.ATOMIC),),
    }
    for size, letter in _SIZES.items():
        for prefix, loads, signed in (
            ("", isa.MEM, isa.MEMSX),
            ("probe ", isa.PROBE_MEM, isa.PROBE_MEMSX),
            ("arena ", isa.PROBE_MEM32, isa.PROBE_MEM32SX),
        ):
            table[f"{prefix}ldx{letter}"] = (Entry(isa.LDX | loads | size, ("dst", "[src]")),)
            if size != isa.DW:
                entry = Entry(isa.LDX | signed | size, ("dst", "[src]"))
                table[f"{prefix}ldxs{letter}"] = (entry,)
        for prefix, mode in (("", isa.MEM), ("arena ", isa.PROBE_MEM32)):
            table[f"{prefix}st{letter}"] = (Entry(isa.ST | mode | size, ("[dst]", "imm")),)
            table[f"{prefix}stx{letter}"] = (Entry(isa.STX | mode | size, ("[dst]", "src")),)
        for prefix, mode in (("", isa.ATOMIC), ("arena ", isa.PROBE_ATOMIC)):
            opcode = isa.STX | mode | size
            acquire = Entry(opcode, ("dst", "[src]"), imm=isa.LOAD_ACQ)
            release = Entry(opcode, ("[dst]", "src"), imm=isa.STORE_REL)
            table[f"{prefix}ldacq{letter}"] = (acquire,)
            table[f"{prefix}strel{letter}"] = (release,)
        if size != isa.DW:
            table[f"ldabs{letter}"] = (Entry(isa.LD | isa.ABS | size, ("imm",)),)
            table[f"ldind{letter}"] = (Entry(isa.LD | isa.IND | size, ("src", "imm")),)
    return table


def _atomics() -> dict[str, tuple[Entry, ...]]:
    table: dict[str, tuple[Entry, ...]] = {}
    names = {name: op for op, name in ATOMIC_NAMES.items()}
    names |= {f"fetch {name}": op | isa.FETCH for op, name in ATOMIC_NAMES.items()}
    names |= {"xchg": isa.XCHG, "cmpxchg": isa.CMPXCHG}
    for prefix, mode in (("", isa.ATOMIC), ("arena ", isa.PROBE_ATOMIC)):
        for size, suffix in ((isa.DW, ""), (isa.W, "32")):
            for name, imm in names.items():
                entry = Entry(isa.STX | mode | size, ("[dst]", "src"), imm=imm)
                table[f"{prefix}lock {name}{suffix}"] = (entry,)
    return table


def _jumps() -> dict[str, tuple[Entry, ...]]:
    table: dict[str, tuple[Entry, ...]] = {
        "ja": (Entry(isa.JMP | isa.JA, ("near",)),),
        "ja32": (Entry(isa.JMP32 | isa.JA, ("far",)),),
        "gotox": (Entry(isa.JMP | isa.JA | isa.X, ("dst",)),),
        "may_goto": (Entry(isa.MAY_GOTO, ("near",)),),
        "exit": (Entry(isa.JMP | isa.EXIT),),
        "tail_call": (Entry(isa.JMP | isa.TAIL_CALL, ("imm",)),),
    }
    for cls, suffix in ((isa.JMP, ""), (isa.JMP32, "32")):
        for op, name in JMP_NAMES.items():
            table[name + suffix] = (
                Entry(cls | op, ("dst", "imm", "near")),
                Entry(cls | op | isa.X, ("dst", "src", "near")),
            )
    return table


ENTRIES = _arithmetic() | _memory() | _atomics() | _jumps()
"""Forms of each mnemonic: the one with an immediate first, the one with a register second."""
ENTRIES |= {f"bswap{width}": ENTRIES[f"swap{width}"] for width in (16, 32, 64)}

_NAMES: dict[int, list[tuple[str, Entry]]] = {}
for _name, _forms in ENTRIES.items():
    for _entry in _forms:
        _NAMES.setdefault(_entry.opcode, []).append((_name, _entry))


def name_of(insn: Insn) -> str | None:
    """Mnemonic of an instruction without reserved fields; None if eBPF has no such."""
    for name, entry in _NAMES.get(insn.opcode, ()):
        if entry.offset is not None and entry.offset != insn.offset:
            continue
        if entry.imm is None or entry.imm == insn.imm:
            return name
    return None
