"""Functions of an object and their relocations, linked to whole programs as libbpf does.

A program is its function, followed by the subprograms that it reaches, each once, in the
order in which they are met depth first (libbpf's bpf_object__reloc_code). Relocation types:
Documentation/bpf/llvm_reloc.rst.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tramposim.bpf import insn as isa
from tramposim.bpf.elf import LOCAL, SHN_UNDEF, STT_FUNC, STT_SECTION, ElfFile, Rel, Section
from tramposim.bpf.externs import Externs
from tramposim.bpf.insn import Insn, Pseudo, decode
from tramposim.errors import InputError, UnsupportedError
from tramposim.spec import Map, Relocation

__all__ = ["Function", "Linked", "Linker", "object_functions"]

_CALL = isa.JMP | isa.CALL
_R_64_64, _R_64_32 = 1, 10
MAX_SUBPROGRAMS = 256
"""Functions of a program (BPF_MAX_SUBPROGS)."""
MAX_INSNS = 1_000_000
TEXT = ".text"


@dataclass(frozen=True, slots=True)
class Function:
    """A function of an object: `offset` in bytes in its section."""

    name: str
    section: Section
    offset: int
    insns: tuple[Insn, ...]
    failed: Mapping[int, str] = field(default_factory=dict)
    """Why instructions (by index) cannot be executed: relocations that failed."""


@dataclass(slots=True)
class Linked:
    """A program being linked; indices are of its instructions."""

    insns: list[Insn] = field(default_factory=list)
    maps: dict[str, Map] = field(default_factory=dict)
    relocations: list[tuple[int, Relocation, str]] = field(default_factory=list)
    kfuncs: list[tuple[int, str]] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    starts: dict[tuple[int, int], int] = field(default_factory=dict)
    """First instruction of each function, by its section's index and its offset."""


def object_functions(elf: ElfFile) -> dict[tuple[int, int], Function]:
    """Functions of all executable sections, by section index and offset, in their order.

    Raises `InputError` for one that is no whole number of instructions or lies outside.
    """
    found: dict[tuple[int, int], Function] = {}
    symbols = [s for s in elf.symbols if s.type == STT_FUNC and 0 < s.section < len(elf.sections)]
    for symbol in sorted(symbols, key=lambda s: (s.section, s.value)):
        section = elf.sections[symbol.section]
        if not section.executable:
            continue
        where = f"{elf.where}: section {section.name}: function {symbol.name}"
        if symbol.value % 8 or symbol.size % 8 or symbol.size == 0:
            raise InputError(f"{symbol.size} bytes at offset {symbol.value:#x}", where)
        if symbol.value + symbol.size > len(section.data):
            raise InputError(f"ends behind the section's {len(section.data)} bytes", where)
        key = (section.index, symbol.value)
        if key in found:
            continue
        if section.name != TEXT and symbol.binding == LOCAL:
            raise UnsupportedError(f"{where}: static programs are not supported, by libbpf neither")
        code = section.data[symbol.value : symbol.value + symbol.size]
        try:
            insns = tuple(decode(code))
        except InputError as error:
            raise InputError(str(error), where) from None
        found[key] = Function(symbol.name, section, symbol.value, insns)
    return found


class Linker:
    """Links programs of one object.

    `prepare` changes a function before it is linked; `maps` are those of `.maps` by offset,
    `data` those of global variables by section.
    """

    def __init__(
        self,
        elf: ElfFile,
        functions: Mapping[tuple[int, int], Function],
        prepare: Callable[[Function], Function],
        maps: Mapping[int, Map],
        data: Mapping[int, Map],
        externs: Externs,
    ) -> None:
        self.elf = elf
        self.functions = functions
        self.prepare = prepare
        self.maps = maps
        self.data = data
        self.externs = externs
        self._relocations = {
            index: {rel.offset: rel for rel in elf.relocations.get(index, ())}
            for index in {function.section.index for function in functions.values()}
        }

    def link(self, main: Function) -> Linked:
        """The program that `main` begins.

        Raises `InputError` for a malformed relocation, `UnsupportedError` for one of a kind
        that is not known.
        """
        linked = Linked()
        self._append(linked, main)
        return linked

    def _append(self, linked: Linked, function: Function) -> int:
        """Append a function unless it is there; returns its first instruction's index."""
        key = (function.section.index, function.offset)
        if key in linked.starts:
            return linked.starts[key]
        function = self.prepare(function)
        start = linked.starts[key] = len(linked.insns)
        if len(linked.starts) > MAX_SUBPROGRAMS:
            raise InputError(f"more than {MAX_SUBPROGRAMS} subprograms", self.elf.where)
        if start + len(function.insns) > MAX_INSNS:
            raise InputError(f"more than {MAX_INSNS:,} instructions", self.elf.where)
        linked.insns += function.insns
        linked.failed |= {start + at: why for at, why in function.failed.items()}
        table = self._relocations[function.section.index]
        index = 0
        while index < len(function.insns):
            insn = function.insns[index]
            rel = table.get(function.offset + 8 * index)
            if rel is not None and index not in function.failed:
                self._relocate(linked, function, index, start + index, rel)
            elif insn.opcode == _CALL and insn.src == Pseudo.CALL:
                target = function.offset + 8 * (index + 1 + insn.imm)
                callee = self._function(function, index, function.section.index, target)
                at = self._append(linked, callee)
                linked.insns[start + index] = _direct(insn, at - (start + index) - 1)
            index += 2 if insn.opcode == isa.LD_IMM64 else 1
        return start

    def _where(self, function: Function, index: int) -> str:
        offset = function.offset + 8 * index
        return f"{self.elf.where}: section {function.section.name}, offset {offset:#x}"

    def _function(self, function: Function, index: int, section: int, offset: int) -> Function:
        """The function that an instruction calls or takes the address of."""
        target = self.functions.get((section, offset))
        if target is None:
            name = self.elf.sections[section].name if section < len(self.elf.sections) else ""
            raise InputError(
                f"no function begins at offset {offset:#x} of section {name or section}",
                self._where(function, index),
            )
        return target

    def _relocate(self, linked: Linked, function: Function, index: int, at: int, rel: Rel) -> None:
        """Apply one relocation to instruction `index` of a function, `at` in the program."""
        where = self._where(function, index)
        insn = function.insns[index]
        symbol = self.elf.symbol(rel.symbol, function.section.name, rel.offset)
        if rel.type not in (_R_64_64, _R_64_32):
            raise UnsupportedError(f"{where}: relocation of type {rel.type}")
        if insn.opcode not in (_CALL, isa.LD_IMM64):
            raise InputError(
                f"relocation of instruction {insn.opcode:#04x}, which is no call and no "
                "64-bit load",
                where,
            )
        if symbol.section == SHN_UNDEF:
            self._extern(linked, insn, at, symbol.name, where)
            return
        if symbol.section >= len(self.elf.sections):
            raise UnsupportedError(f"{where}: symbol {symbol.name} in section {symbol.section:#x}")
        section = self.elf.sections[symbol.section]
        if section.executable:
            addend = 8 * (insn.imm + 1) if insn.opcode == _CALL else insn.imm
            offset = symbol.value + addend
            callee = self._function(function, index, section.index, offset)
            distance = self._append(linked, callee) - at - 1
            if insn.opcode == _CALL:
                linked.insns[at] = _direct(insn, distance)
            else:
                linked.insns[at] = Insn(isa.LD_IMM64, insn.dst, Pseudo.FUNC, 0, distance)
            return
        if insn.opcode == _CALL:
            raise InputError(f"a call into section {section.name}, which is not code", where)
        if section.name == ".maps":
            if symbol.type == STT_SECTION or symbol.value not in self.maps:
                raise InputError(f"{symbol.name} is no map", where)
            self._map(linked, insn, at, self.maps[symbol.value], None)
        elif section.index in self.data:
            self._data(linked, insn, at, section, symbol.value + insn.imm, where)
        else:
            raise UnsupportedError(
                f"{where}: address of {symbol.name or 'something'} in section {section.name}"
            )

    def _data(
        self, linked: Linked, insn: Insn, at: int, section: Section, offset: int, where: str
    ) -> None:
        target = self.data[section.index]
        if not 0 <= offset < target.value_size:
            raise InputError(
                f"address of byte {offset} of section {section.name}, which has "
                f"{target.value_size}",
                where,
            )
        if self.elf.relocations.get(section.index):
            raise UnsupportedError(
                f"{where}: section {section.name} holds addresses, which libbpf does not fill in"
            )
        self._map(linked, insn, at, target, offset)

    def _map(self, linked: Linked, insn: Insn, at: int, target: Map, offset: int | None) -> None:
        """A load of a map's address, or of that of a byte of its value."""
        present = linked.maps.setdefault(target.name, target)
        if present is not target:
            raise InputError(f"two maps are called {target.name!r}", self.elf.where)
        kind = Relocation.MAP if offset is None else Relocation.MAP_VALUE
        pseudo = Pseudo.MAP_FD if offset is None else Pseudo.MAP_VALUE
        linked.insns[at] = Insn(isa.LD_IMM64, insn.dst, pseudo)
        linked.insns[at + 1] = Insn(0, imm=offset or 0)
        linked.relocations.append((at, kind, target.name))

    def _extern(self, linked: Linked, insn: Insn, at: int, name: str, where: str) -> None:
        if insn.opcode == isa.LD_IMM64 and name in self.externs.places:
            assert self.externs.kconfig is not None
            place = self.externs.places[name]
            self._map(linked, insn, at, self.externs.kconfig, place)
            return
        symbol = self.externs.symbols.get(name)
        if symbol is None:
            raise InputError(f"extern {name or 'without a name'} is not declared", where)
        if insn.opcode == _CALL:
            if not symbol.function:
                raise InputError(f"a call of {name}, which is no function", where)
            linked.insns[at] = Insn(_CALL, 0, Pseudo.KFUNC)
            linked.kfuncs.append((at, name))
            return
        kind = Relocation.WEAK_SYMBOL if symbol.weak else Relocation.SYMBOL
        linked.insns[at] = Insn(isa.LD_IMM64, insn.dst, Pseudo.BTF_ID)
        linked.insns[at + 1] = Insn(0)
        linked.relocations.append((at, kind, name))


def _direct(insn: Insn, distance: int) -> Insn:
    return Insn(insn.opcode, insn.dst, Pseudo.CALL, 0, distance)
