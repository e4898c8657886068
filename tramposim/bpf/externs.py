"""What an object expects of the kernel: `.ksyms` and `.kconfig` externs.

Kernel functions and variables are resolved when the program is loaded; `.kconfig` values
become a read-only array, laid out as libbpf does (bpf_object__resolve_externs).
"""

from __future__ import annotations

from dataclasses import dataclass

from tramposim.bpf.btf import Btf, Kind
from tramposim.bpf.elf import SHN_UNDEF, WEAK, ElfFile, Symbol
from tramposim.bpf.mapdefs import internal_map_name
from tramposim.errors import InputError, UnsupportedError
from tramposim.spec import Map, MapFlag, MapType

__all__ = ["Externs", "KernelSymbol", "find_externs", "version_code"]

KSYMS, KCONFIG = ".ksyms", ".kconfig"
_LINUX = {"LINUX_HAS_BPF_COOKIE": 1, "LINUX_HAS_SYSCALL_WRAPPER": 1}
"""Features that libbpf finds out about the running kernel, true of all simulated ones."""
_VERSION = "LINUX_KERNEL_VERSION"


@dataclass(frozen=True, slots=True)
class KernelSymbol:
    """A function or variable of the kernel; a weak one may be missing."""

    name: str
    function: bool
    weak: bool


@dataclass(frozen=True, slots=True)
class Externs:
    """An object's externs by name; `places` are byte offsets in the `.kconfig` map."""

    symbols: dict[str, KernelSymbol]
    places: dict[str, int]
    kconfig: Map | None


@dataclass(frozen=True, slots=True)
class _Option:
    """An extern in `.kconfig`: its size in bytes and value."""

    name: str
    size: int
    value: int


def version_code(version: str) -> int:
    """KERNEL_VERSION() of a version such as `7.2`, `7.2.13` or `7.3-rc7`."""
    numbers = version.split("-")[0].split(".")
    try:
        major, minor, patch = (int(text) for text in (*numbers, "0")[:3])
    except ValueError:
        raise UnsupportedError(f"kernel version {version!r}") from None
    return (major << 16) + (minor << 8) + min(patch, 255)


def find_externs(elf: ElfFile, btf: Btf | None, version: str, stem: str) -> Externs:
    """The externs of an object's symbol table, typed by its BTF.

    `stem` is the object's name, with which names of its maps begin. Raises `InputError` for
    one without BTF, `UnsupportedError` for a `.kconfig` value that is not known and not weak.
    """
    undefined = [s for s in elf.symbols if s.section == SHN_UNDEF and s.name]
    types = _types(btf) if btf is not None else {}
    symbols: dict[str, KernelSymbol] = {}
    options: list[_Option] = []
    for symbol in undefined:
        if symbol.name not in types or btf is None:
            raise InputError(
                f"symbol {symbol.name} is defined nowhere; declare kernel functions and "
                "variables with __ksym and compile with -g",
                elf.where,
            )
        section, number = types[symbol.name]
        kind = btf.get(number).kind
        weak = symbol.binding == WEAK
        if section == KSYMS:
            symbols[symbol.name] = KernelSymbol(symbol.name, kind == Kind.FUNC, weak)
        elif section == KCONFIG and kind == Kind.VAR:
            options.append(_option(symbol, btf.size(number), version, elf.where))
        else:
            raise UnsupportedError(f"{elf.where}: extern {symbol.name} in section {section}")
    options.sort(key=lambda option: (-option.size, option.name))
    places: dict[str, int] = {}
    content = b""
    for option in options:
        content += bytes(-len(content) % option.size)
        places[option.name] = len(content)
        content += option.value.to_bytes(option.size, "little")
    kconfig = None
    if content:
        flags = MapFlag.MMAPABLE | MapFlag.RDONLY_PROG
        name = internal_map_name(stem, KCONFIG)
        kconfig = Map(name, MapType.ARRAY, 4, len(content), 1, content=content, flags=flags)
    return Externs(symbols, places, kconfig)


def _types(btf: Btf) -> dict[str, tuple[str, int]]:
    """Section and type id of every variable and function that a data section of BTF lists."""
    found = {}
    for section in (KSYMS, KCONFIG):
        for number in btf.ids(section, Kind.DATASEC):
            for variable in btf.variables(btf.get(number)):
                found[btf.get(variable.type).name] = (section, variable.type)
    return found


def _option(symbol: Symbol, size: int, version: str, where: str) -> _Option:
    value = version_code(version) if symbol.name == _VERSION else _LINUX.get(symbol.name)
    if value is None and symbol.binding == WEAK:
        return _Option(symbol.name, max(size, 1), 0)
    if value is None:
        raise UnsupportedError(
            f"{where}: {symbol.name}: a simulated kernel has no configuration to ask; "
            "declare it __weak to read 0"
        )
    if size not in (1, 2, 4, 8) or value >> (8 * size):
        raise InputError(f"extern {symbol.name}: {value} does not fit its {size} bytes", where)
    return _Option(symbol.name, size, value)
