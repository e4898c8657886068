"""The first program of an ELF object, also of one that no loader of libbpf's kind would take."""

from __future__ import annotations

from tramposim.bpf.elf import EM_BPF, read_elf
from tramposim.bpf.insn import decode
from tramposim.bpf.link import TEXT
from tramposim.bpf.object import load_object
from tramposim.errors import InputError
from tramposim.spec import ProgKind, Program

__all__ = ["first_program"]


def first_program(content: bytes, where: str) -> Program:
    """The program of the first program section, or all of `.text` if there is no other.

    A section without relocations is taken as it is, whatever its name. Raises `InputError`
    for an object without instructions, and what `load_object` raises.
    """
    elf = read_elf(content, where)
    if elf.machine != EM_BPF:
        raise InputError("an ELF file, but no BPF object", where)
    sections = [s for s in elf.sections if s.executable and s.data]
    mains = [s for s in sections if s.name != TEXT] or sections
    if not mains:
        raise InputError("has no instructions", where)
    if elf.relocations.get(mains[0].index):
        return load_object(content, where)[0]
    decode(mains[0].data)
    return Program(mains[0].name, ProgKind.SOCKET, mains[0].data)
