"""The guest runtime of a kernel: its functions linked at kernel-like addresses.

The committed objects (`tramposim/_native/guest`, built from `_native/guest`) hold what the
kernel's functions around a trampoline do. Loading one does what booting does to a kernel's
text: static branches become nops or jumps, return sites become `ret` or a jump to the return
thunk of the mitigation, retpolines become plain indirect branches where they are off, call
depth accounting is written before called functions, `lock` prefixes go on a single CPU, and
arm64's traceable functions get their patched entry. Then it is relocated.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from tramposim.errors import BuildError, InputError, UnsupportedError
from tramposim.kernel.structs import Structs, structs
from tramposim.kernel.versions import PADDED_FUNCTIONS, rules_for
from tramposim.machine.elf import ElfObject, Symbol, read_object
from tramposim.machine.placement import place
from tramposim.machine.relocate import apply_relocation
from tramposim.spec import Arch, Kernel, Returns

__all__ = ["NR_CPUS", "RETURN_THUNKS", "Region", "Runtime", "load_runtime"]

RETURN_THUNKS: Mapping[Returns, str] = MappingProxyType(
    {
        Returns.UNTRAINED: "retbleed_return_thunk",
        Returns.SRSO: "srso_return_thunk",
        Returns.SRSO_ALIAS: "srso_alias_return_thunk",
        Returns.ITS: "its_return_thunk",
        Returns.STUFFING: "call_depth_return_thunk",
    }
)
"""The thunk that x86_return_thunk points to, by mitigation (`facts` of captured boots)."""

NR_CPUS: Mapping[Arch, int] = MappingProxyType({Arch.X86_64: 8192, Arch.ARM64: 512})
"""Most CPUs of the captured kernels (CONFIG_NR_CPUS; the bound that their code checks)."""

_OBJECTS = Path(__file__).parent.parent / "_native" / "guest"

_RETURN = "__x86_return_thunk"
_INDIRECT = "__x86_indirect_thunk_"
_REGISTERS = [
    "rax",
    "rcx",
    "rdx",
    "rbx",
    "rsp",
    "rbp",
    "rsi",
    "rdi",
    "r8",
    "r9",
    "r10",
    "r11",
    "r12",
    "r13",
    "r14",
    "r15",
]
_ACCOUNTING = 9
"""Bytes of `sar $5, %gs:__x86_call_depth` that stand right before an accounted function."""

_MOV_X9_X30 = 0xAA1E03E9
_NOPS = {2: b"\x66\x90", 5: b"\x0f\x1f\x44\x00\x00"}
_ARM64_NOP = 0xD503201F


@dataclass(frozen=True, slots=True)
class Region:
    """Bytes to map at a virtual address before anything runs."""

    address: int
    data: bytes
    name: str
    executable: bool


@dataclass(frozen=True, slots=True)
class Runtime:
    """The linked runtime.

    `regions` are its functions, one each, in address order; `symbols` maps every function,
    global and per-CPU variable (address as linked; add the CPU's offset) to its address;
    `accounted` are the functions with call depth accounting before them, to which a JIT
    emits plain calls. `exceptions` is the exception table: an access that may fault -> where
    execution goes on if it does.
    """

    kernel: Kernel
    structs: Structs
    cpus: int
    regions: tuple[Region, ...]
    symbols: Mapping[str, int]
    accounted: frozenset[str]
    exceptions: Mapping[int, int] = field(default_factory=dict)

    def address(self, name: str) -> int:
        """Address of a symbol; raises `UnsupportedError` if the runtime does not have it."""
        try:
            return self.symbols[name]
        except KeyError:
            raise UnsupportedError(
                f"the guest runtime has no {name} on {self.kernel.arch}"
            ) from None


_BUILDS = {"6.12": "-6.12", "7.0": "-7.0", "7.1": "-7.0"}
"""Series of kernels that are built in another way than 7.2 and later -> suffix of the object."""

_CLOCK_BY_POINTER = ("6.12", "7.0")
"""Series whose x86_64 kernels call the clock source's function instead of reading the TSC."""


def _variant(kernel: Kernel) -> str:
    suffix = _BUILDS.get(rules_for(kernel).series, "")
    if kernel.arch is Arch.X86_64:
        return f"x86_64{suffix}"
    return f"arm64-{'lse' if kernel.lse else 'llsc'}{'-pac' if kernel.pac else ''}{suffix}"


@lru_cache(maxsize=8)
def _object(variant: str) -> ElfObject:
    try:
        blob = (_OBJECTS / f"{variant}.o").read_bytes()
    except OSError as error:
        raise BuildError(
            f"the guest runtime's object {variant}.o is missing; run _native/guest/build.py"
        ) from error
    return read_object(blob, f"{variant}.o")


class _Loader:
    """One load: the object's code sections as patched copies, at their addresses."""

    def __init__(self, kernel: Kernel, addresses: Mapping[str, int], cpus: int) -> None:
        self.kernel = kernel
        self.cpus = cpus
        self.structs = structs(kernel.arch)
        self.elf = _object(_variant(kernel))
        self.placement = place(self.elf, self.structs, addresses)
        self.symbols = dict(self.placement.symbols)
        self.code = {
            index: bytearray(self.elf.sections[index].data) for index in self.placement.sections
        }
        self.accounted: set[str] = set()
        self.accounted_addresses: set[int] = set()

    def load(self) -> Runtime:
        self._static_branches()
        if self.kernel.arch is Arch.ARM64:
            self._patched_entries()
        else:
            self._lock_prefixes()
            if self.kernel.returns is Returns.STUFFING:
                self._choose_accounted()
        for index, code in self.code.items():
            self._relocate(index, code)
        regions = [*self._functions(), *self._stubs()]
        return Runtime(
            self.kernel,
            self.structs,
            self.cpus,
            tuple(sorted(regions, key=lambda region: region.address)),
            MappingProxyType(self.symbols),
            frozenset(self.accounted),
            MappingProxyType(self._exceptions()),
        )

    def _table(self, name: str, width: int) -> list[tuple[tuple[Symbol, int], ...]]:
        """Rows of `width` relocated pointers: (symbol, addend) each, of all such sections."""
        rows = []
        for section in self.elf.sections:
            if section.name == name:
                targets = [(self.elf.symbols[r.symbol], r.addend) for r in section.relocations]
                rows += [tuple(targets[i : i + width]) for i in range(0, len(targets), width)]
        return rows

    def _site(self, target: tuple[Symbol, int]) -> tuple[bytearray, int]:
        symbol, addend = target
        if symbol.section not in self.code:
            raise BuildError(f"patch table names {symbol.name}, which is not code")
        return self.code[symbol.section], symbol.value + addend

    def _exceptions(self) -> dict[int, int]:
        return {
            self._placed(access): self._placed(target)
            for access, target in self._table(".exceptions", 2)
        }

    def _placed(self, target: tuple[Symbol, int]) -> int:
        symbol, addend = target
        if symbol.section is None or symbol.section not in self.placement.sections:
            raise BuildError(f"exception table names {symbol.name}, which is not code")
        return self.placement.sections[symbol.section] + symbol.value + addend

    def _static_branches(self) -> None:
        by_pointer = rules_for(self.kernel).series in _CLOCK_BY_POINTER
        on = {"bpf_stats_enabled_key": self.kernel.stats, "guest_clock_not_tsc": by_pointer}
        for site, (key, _) in self._table(".static_branches", 2):
            if on[key.name]:
                continue
            code, at = self._site(site)
            if self.kernel.arch is Arch.ARM64:
                struct.pack_into("<I", code, at, _ARM64_NOP)
            else:
                nop = _NOPS[2 if code[at] == 0xEB else 5]
                code[at : at + len(nop)] = nop

    def _patched_entries(self) -> None:
        for (site,) in self._table("__patchable_function_entries", 1):
            code, at = self._site(site)
            struct.pack_into("<I", code, at, _MOV_X9_X30)

    def _lock_prefixes(self) -> None:
        if self.cpus == 1 and not self.kernel.smp:
            for (site,) in self._table(".lock_prefixes", 1):
                code, at = self._site(site)
                code[at] = 0x3E

    def _choose_accounted(self) -> None:
        """Accounting stands before every function that the runtime or the kernel calls directly."""
        for index in self.code:
            for rela in self.elf.sections[index].relocations:
                symbol = self.elf.symbols[rela.symbol]
                called = rela.type == 4 and self.code[index][rela.offset - 1] == 0xE8
                if called and symbol.function and symbol.section is not None:
                    self.accounted.add(symbol.name)
        self.accounted |= {s.name for s in self.elf.symbols} & PADDED_FUNCTIONS
        self.accounted -= {n for n in self.accounted if "thunk" in n or n.startswith("srso")}
        self.accounted_addresses = {self.symbols[name] for name in self.accounted}

    def _relocate(self, index: int, code: bytearray) -> None:
        section = self.elf.sections[index]
        base = self.placement.sections[index]
        for rela in section.relocations:
            symbol = self.elf.symbols[rela.symbol]
            place_ = base + rela.offset
            if symbol.name == _RETURN:
                self._patch_return(code, rela.offset, place_)
                continue
            if symbol.name.startswith(_INDIRECT) and symbol.name[len(_INDIRECT) :] in _REGISTERS:
                self._patch_indirect(code, rela.offset, place_, symbol.name[len(_INDIRECT) :])
                continue
            if symbol.section is None:
                value = self.symbols[symbol.name]
            else:
                value = self.placement.sections[symbol.section] + symbol.value
            if value in self.accounted_addresses and code[rela.offset - 1] == 0xE8:
                value -= _ACCOUNTING
            apply_relocation(
                self.kernel.arch, code, rela.offset, place_, rela.type, value + rela.addend
            )

    def _patch_return(self, code: bytearray, at: int, address: int) -> None:
        """`jmp __x86_return_thunk` (displacement at `at`) as the mitigation wants it.

        ITS leaves a return alone where it lies in the second half of a 64-byte line.
        """
        if code[at - 1] != 0xE9:
            raise BuildError(f"return site at {address - 1:#x} is not a jump")
        returns = self.kernel.returns
        plain = returns is Returns.PLAIN or (returns is Returns.ITS and (address - 1) & 0x20)
        if plain:
            code[at - 1 : at + 4] = b"\xc3\xcc\xcc\xcc\xcc"
        else:
            target = self.symbols[RETURN_THUNKS[returns]]
            struct.pack_into("<i", code, at, target - (address + 4))

    def _patch_indirect(self, code: bytearray, at: int, address: int, register: str) -> None:
        """A call of or jump to a retpoline (displacement at `at`)."""
        call = code[at - 1] == 0xE8
        if self.kernel.retpoline:
            kind = ""
            if self.kernel.returns is Returns.STUFFING:
                kind = "call_" if call else "jump_"
        elif self.kernel.returns is Returns.ITS and not (address - 1) & 0x20:
            kind = "its_"
        else:
            number = _REGISTERS.index(register)
            prefix = b"\x41" if number > 7 else b""
            branch = prefix + bytes([0xFF, (0xD0 if call else 0xE0) | number & 7])
            fill = (
                b"\x90"
                if len(branch) == 4
                else b"\x0f\x1f\x00"
                if len(branch) == 2
                else b"\x66\x90"
            )
            code[at - 1 : at + 4] = branch + (fill if call else b"\xcc" * (5 - len(branch)))
            return
        target = self.symbols[f"__x86_indirect_{kind}thunk_{register}"]
        struct.pack_into("<i", code, at, target - (address + 4))

    def _functions(self) -> list[Region]:
        regions = []
        for index, code in self.code.items():
            address = self.placement.sections[index]
            data = bytes(code)
            if address in self.accounted_addresses:
                depth = self.symbols["__x86_call_depth"] - address
                data = b"\x65\x48\xc1\x3d" + struct.pack("<i", depth) + b"\x05" + data
                address -= _ACCOUNTING
            name = self.elf.sections[index].name.removeprefix(".text.")
            regions.append(Region(address, data, name, True))
        return regions

    def _stubs(self) -> list[Region]:
        """Jumps from where a function was asked for to where it had to go."""
        regions = []
        for name, (address, target) in self.placement.stubs.items():
            distance = target - address
            if self.kernel.arch is Arch.ARM64:
                jump = struct.pack("<I", 0x14000000 | (distance >> 2 & 0x3FFFFFF))
            else:
                jump = b"\xe9" + struct.pack("<i", distance - 5)
            regions.append(Region(address, jump, name, True))
        return regions


@lru_cache(maxsize=64)
def _load(kernel: Kernel, addresses: tuple[tuple[str, int], ...], cpus: int) -> Runtime:
    return _Loader(kernel, dict(addresses), cpus).load()


def load_runtime(
    kernel: Kernel, addresses: Mapping[str, int] | None = None, cpus: int = 1
) -> Runtime:
    """The runtime of `kernel` on a machine with `cpus` CPUs.

    `addresses` (symbol -> address) puts symbols where captured code expects them; what it
    does not name lies as in the kernel that the offsets were read from. On one CPU `lock`
    prefixes are patched away, as a kernel that boots on one does, unless the kernel is `smp`.
    Raises `InputError` for a bad CPU count, `BuildError` if the addresses are too far apart for
    the code.
    """
    if not 1 <= cpus <= NR_CPUS[kernel.arch]:
        raise InputError(f"{cpus} CPUs; an {kernel.arch} kernel has 1 to {NR_CPUS[kernel.arch]}")
    return _load(kernel, tuple(sorted((addresses or {}).items())), cpus)
