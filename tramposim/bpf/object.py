"""Programs of an ELF object as clang writes it for libbpf."""

from __future__ import annotations

import logging
from pathlib import Path

from tramposim.bpf.btf import Btf, parse_btf
from tramposim.bpf.btfext import BtfExt, parse_btf_ext
from tramposim.bpf.core import apply_core
from tramposim.bpf.elf import EM_BPF, ET_REL, ElfFile, read_elf
from tramposim.bpf.externs import find_externs
from tramposim.bpf.insn import encode
from tramposim.bpf.license import check_license
from tramposim.bpf.link import TEXT, Function, Linked, Linker, object_functions
from tramposim.bpf.mapdefs import data_maps, declared_maps
from tramposim.bpf.secnames import ProgramSection, program_section
from tramposim.errors import InputError, UnsupportedError
from tramposim.spec import Arch, Kernel, Program

__all__ = ["load_object"]

_log = logging.getLogger(__name__)
DEFAULT_VERSION = Kernel(Arch.X86_64).version
"""Kernel version that programs see if none is named."""


def load_object(
    content: bytes, where: str, kernel_btf: Btf | None = None, version: str = DEFAULT_VERSION
) -> tuple[Program, ...]:
    """The programs of an object, linked, in the order of their sections.

    `where` is the file's name; `kernel_btf` are the types that CO-RE relocations are applied
    for; `version` is what LINUX_KERNEL_VERSION gives. Programs whose section begins with `?`,
    which libbpf loads only when asked to, are left out; so are programs of other types beside
    some that are simulated, with a warning that names them (`logging`). Raises `InputError`
    naming section and offset for a malformed object, `UnsupportedError` for what is not
    simulated, `AttachError` for what the kernel refuses.
    """
    elf = read_elf(content, where)
    if elf.type != ET_REL or elf.machine != EM_BPF:
        raise InputError(
            "an ELF file, but no BPF object; compile with clang -target bpf -O2 -g -c", where
        )
    return _Object(elf, kernel_btf, version).programs()


class _Object:
    def __init__(self, elf: ElfFile, kernel_btf: Btf | None, version: str) -> None:
        self.elf = elf
        self.kernel_btf = kernel_btf
        self.btf: Btf | None = None
        self.ext = BtfExt()
        section, extension = elf.section(".BTF"), elf.section(".BTF.ext")
        if section is not None:
            self.btf = parse_btf(section.data, f"{elf.where}: section .BTF")
            if extension is not None:
                place = f"{elf.where}: section .BTF.ext"
                self.ext = parse_btf_ext(extension.data, self.btf, place)
        self.functions = object_functions(elf)
        stem = Path(elf.where).name.split(".")[0]
        self.linker = Linker(
            elf,
            self.functions,
            self.prepared,
            declared_maps(elf, self.btf),
            data_maps(elf, stem, self.btf),
            find_externs(elf, self.btf, version, stem),
        )

    def programs(self) -> tuple[Program, ...]:
        mains = [f for f in self.functions.values() if f.section.name != TEXT]
        if not mains:
            raise InputError("has no programs; put them in sections with SEC()", self.elf.where)
        loaded: list[tuple[Function, ProgramSection]] = []
        others: dict[str, UnsupportedError] = {}
        for main in mains:
            try:
                section = program_section(main.section.name, self.elf.where)
            except UnsupportedError as other:
                others[f"{main.name} ({main.section.name})"] = other
                continue
            if section.autoload:
                loaded.append((main, section))
        if not loaded and others:
            raise next(iter(others.values()))
        if not loaded:
            raise InputError("all of its programs are in sections with '?'", self.elf.where)
        if others:
            _log.warning(
                "%s: left out, of types that are not simulated: %s",
                self.elf.where,
                ", ".join(others),
            )
        return tuple(self._program(main, section) for main, section in loaded)

    @property
    def license(self) -> str:
        section = self.elf.section("license")
        return section.data.split(b"\0")[0].decode(errors="replace") if section else ""

    def prepared(self, function: Function) -> Function:
        """A function with its CO-RE relocations applied."""
        table = self.ext.core.get(function.section.name, {})
        size = 8 * len(function.insns)
        mine = {
            (offset - function.offset) // 8: relocations
            for offset, relocations in table.items()
            if 0 <= offset - function.offset < size
        }
        if not mine or self.btf is None:
            return function
        where = f"{self.elf.where}: {function.name}"
        insns, failed = apply_core(function.insns, mine, self.btf, self.kernel_btf, where)
        return Function(function.name, function.section, function.offset, insns, failed)

    def _program(self, main: Function, section: ProgramSection) -> Program:
        linked = self.linker.link(main)
        check_license(self.license, linked.insns, f"{self.elf.where}: {main.name}")
        return Program(
            name=main.name,
            kind=section.kind,
            insns=encode(linked.insns),
            maps=tuple(linked.maps.values()),
            relocations=tuple(linked.relocations),
            kfuncs=tuple(linked.kfuncs),
            sleepable=section.sleepable,
            target=section.target,
            lines=self._lines(linked),
        )

    def _lines(self, linked: Linked) -> tuple[tuple[int, str], ...]:
        """Source lines by instruction of the linked program."""
        found: dict[int, str] = {}
        for key, start in linked.starts.items():
            function = self.functions[key]
            table = self.ext.lines.get(function.section.name, {})
            for offset, text in table.items():
                index, rest = divmod(offset - function.offset, 8)
                if 0 <= index < len(function.insns) and rest == 0:
                    found[start + index] = text
        for index, why in linked.failed.items():
            at = max((i for i in found if i <= index), default=None)
            found[index] = f"{found[at]}; {why}" if at is not None else why
        return tuple(sorted(found.items()))
