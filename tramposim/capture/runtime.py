"""The functions of a captured kernel's text: where they are recorded, and what they rely on.

A capture holds them itself as `func` records, or the file
`<arch>-<kernel>-<variant>-runtime.jsonl.xz` beside it does. The two may come from different
boots: functions then move by the distance of address randomisation, and what encodes an
address of the old boot absolutely is written anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from tramposim.capture.boot import boot_kernel, boot_symbols
from tramposim.capture.records import BootRecord, Capture, FuncRecord, decode_hex
from tramposim.errors import InputError
from tramposim.jit.trampoline import THUNKS
from tramposim.kernel.structs import Structs, structs
from tramposim.spec import Arch, Kernel, MapType, Returns

__all__ = ["CapturedFunction", "CapturedRuntime", "find_runtime", "read_runtime"]

_MASK = (1 << 64) - 1
_TEXT = 0xFFFFFFFF80000000
"""From here on x86_64 encodes addresses of the kernel as sign-extended 32-bit values."""
_PERCPU_LIMIT = 1 << 31
"""Below this lie per-CPU variables of kernels that link them from 0 on."""
_MAX_FUNCTION = 1 << 20
_MAP_STRUCTURES = frozenset(
    {"bpf_map", "bpf_map_ops", "bpf_array", "bpf_htab", "bucket", "htab_elem", "pcpu_freelist"}
)
_RECORDED_KINDS = (
    MapType.ARRAY,
    MapType.PERCPU_ARRAY,
    MapType.HASH,
    MapType.PERCPU_HASH,
)
"""Types of maps that consist of these structures alone."""
_USER_MASK = 16
"""Bytes from task_struct.cpus_ptr to cpus_mask: one pointer (user_cpus_ptr) lies between."""


@dataclass(frozen=True, slots=True)
class CapturedFunction:
    """A function of the kernel's text as it was executing: `code` at `address`.

    `before` are the bytes right before it, which call-depth accounting calls; they may be
    the end of another function.
    """

    name: str
    aliases: tuple[str, ...]
    address: int
    code: bytes
    before: bytes = b""


@dataclass(frozen=True, slots=True)
class CapturedRuntime:
    """All recorded functions of one boot.

    `symbols` are functions, variables and per-CPU variables by name; `called` are functions
    that these call, recorded or not; `structs` the layouts of
    this kernel's structures, where they are recorded, else those of the kernel that
    `kernel.structs` describes; `known_build` tells that it is that very kernel, whose
    unrecorded layouts hold, too, `maps_recorded` that those of hash maps and arrays are recorded.
    """

    path: Path
    kernel: Kernel
    functions: tuple[CapturedFunction, ...]
    symbols: Mapping[str, int]
    called: Mapping[str, int]
    structs: Structs
    known_build: bool
    maps_recorded: bool

    def lays_out(self, kind: MapType) -> bool:
        """Whether it is known how this kernel lays out maps of a type."""
        return self.known_build or (self.maps_recorded and kind in _RECORDED_KINDS)


def find_runtime(path: Path, boot: BootRecord, given: Path | None = None) -> Path:
    """The file with the functions of the kernel of the capture at `path`.

    Raises `InputError` that says where it was looked for.
    """
    if given is not None:
        return given
    if any(isinstance(record, FuncRecord) for _, record in Capture(path)):
        return path
    name = f"{boot.arch}-{boot.kernel}-{boot.variant}-runtime.jsonl"
    for beside in (path.with_name(f"{name}.xz"), path.with_name(name)):
        if beside.is_file():
            return beside
    raise InputError(
        f"holds no functions of its kernel, and there is no {name}.xz beside it; "
        "name the file with --runtime",
        str(path),
    )


def read_runtime(path: Path, boot: BootRecord) -> CapturedRuntime:
    """The functions in the file at `path`, at the addresses of the boot that `boot` records.

    Raises `InputError` for malformed records, functions of another kernel, or a boot whose
    symbols do not lie at one distance from them.
    """
    stored = _stored(path)
    where = str(path)
    if (stored.boot.arch, stored.boot.kernel) != (boot.arch, boot.kernel):
        raise InputError(
            f"functions of {stored.boot.arch} {stored.boot.kernel}, the capture is of "
            f"{boot.arch} {boot.kernel}",
            where,
        )
    kernel = boot_kernel(boot, where)
    if not boot.x86_return_thunk_symbols and kernel.returns is Returns.PLAIN:
        kernel = replace(kernel, returns=_returns(stored))
    known = {name: function.addr for function, _ in stored.functions for name in _names(function)}
    linked = {**boot_symbols(stored.boot), **_data(stored.functions), **known}
    shift = _shift(linked, boot_symbols(boot), where)
    moves = shift != 0 and kernel.arch is Arch.X86_64
    image = _image(stored)
    functions = tuple(
        CapturedFunction(
            function.name,
            tuple(function.aliases),
            function.addr + shift & _MASK,
            _moved(function, code, image, shift) if moves else code,
            _before(function, where),
        )
        for function, code in stored.functions
    )
    symbols = {name: _moved_symbol(address, shift) for name, address in linked.items()}
    layout, known_build = _structs(kernel.arch, stored, symbols)
    called = {name: address + shift & _MASK for name, address in stored.called.items()}
    return CapturedRuntime(
        path,
        kernel,
        functions,
        MappingProxyType(symbols),
        MappingProxyType(called),
        layout,
        known_build,
        {key.removesuffix("(subset)") for key in stored.boot.layouts} >= _MAP_STRUCTURES,
    )


@dataclass(frozen=True, slots=True)
class _Stored:
    """A file's functions with their code, as recorded."""

    boot: BootRecord
    functions: tuple[tuple[FuncRecord, bytes], ...]

    @property
    def called(self) -> dict[str, int]:
        """Functions that the recorded ones call, by name."""
        return {
            call["sym"]: call["target"]
            for function, _ in self.functions
            for call in function.calls
            if isinstance(call.get("sym"), str) and isinstance(call.get("target"), int)
        }


def _stored(path: Path) -> _Stored:
    """The functions of a file, read once as long as it does not change."""
    try:
        state = path.stat()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", str(path)) from None
    return _read(path, (state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=4)
def _read(path: Path, state: tuple[int, int]) -> _Stored:
    capture = Capture(path)
    functions = []
    for where, record in capture:
        if not isinstance(record, FuncRecord):
            continue
        code = decode_hex(record.bytes, f"{record.name}: bytes", where)
        if not 0 < record.addr <= _MASK - _MAX_FUNCTION or len(code) > _MAX_FUNCTION:
            raise InputError(f"{record.name}: {len(code)} bytes at {record.addr:#x}", where)
        functions.append((record, code))
    if not functions:
        raise InputError("holds no functions of a kernel (records of rec 'func')", str(path))
    return _Stored(capture.boot, tuple(functions))


def _before(function: FuncRecord, where: str) -> bytes:
    return decode_hex(function.pre16 or "", f"{function.name}: pre16", where)


def _returns(stored: _Stored) -> Returns:
    """How the functions return, by the thunk that most of them jump to."""
    jumps = Counter(
        call.get("sym")
        for function, _ in stored.functions
        for call in function.calls
        if call.get("insn") == "jmp"
    )
    counts = {returns: jumps[thunk] for returns, thunk in THUNKS.items()}
    most = max(counts, key=lambda returns: counts[returns])
    return most if counts[most] else Returns.PLAIN


def _names(function: FuncRecord) -> Iterator[str]:
    yield function.name
    yield from function.aliases


def _shift(known: Mapping[str, int], symbols: Mapping[str, int], where: str) -> int:
    """How far the boot's text lies from the functions' own boot."""
    shifts = {
        symbols[name] - address
        for name, address in known.items()
        if name in symbols and address >= _PERCPU_LIMIT
    }
    if len(shifts) != 1:
        found = ", ".join(f"{shift:#x}" for shift in sorted(shifts)[:3])
        raise InputError(
            "the functions are not of the capture's kernel: "
            + (f"its symbols lie {found} from theirs" if shifts else "no symbol is in both"),
            where,
        )
    return shifts.pop()


def _moved_symbol(address: int, shift: int) -> int:
    """Addresses of the kernel image move; those that count from 0 (per-CPU) do not."""
    return address + shift & _MASK if address >= _PERCPU_LIMIT else address


def _moved(function: FuncRecord, code: bytes, image: range, shift: int) -> bytes:
    """x86_64 code for another place of the kernel `image`.

    Operands that are absolute addresses in the image move with it; those that are relative to
    the code but whose target counts from 0 (per-CPU variables before 6.15) are adjusted.
    arm64 code has neither: its addresses are relative to its own page.
    """
    import capstone

    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)  # type: ignore[no-untyped-call]
    decoder.detail = True
    decoder.skipdata = True
    moved = bytearray(code)
    for insn in decoder.disasm(code, function.addr):  # type: ignore[no-untyped-call]
        if insn.id == 0:
            continue
        start = insn.address - function.addr
        operands = insn.encoding
        if operands.disp_size == 4:
            place = start + operands.disp_offset
            value = _sign_extended(moved[place : place + 4])
            relative = insn.modrm & 0xC7 == 0x05
            if relative and (insn.address + insn.size + value) & _MASK < _PERCPU_LIMIT:
                _put(moved, place, value - shift)
            elif not relative and value & _MASK in image:
                _put(moved, place, value + shift)
        if operands.imm_size == 4 and not _is_branch(insn.opcode):
            place = start + operands.imm_offset
            value = _sign_extended(moved[place : place + 4])
            if value & _MASK in image and insn.rex & 8:
                _put(moved, place, value + shift)
    return bytes(moved)


def _is_branch(opcode: list[int]) -> bool:
    """call, jmp, jcc with a relative 32-bit target."""
    return opcode[0] in (0xE8, 0xE9) or (opcode[0] == 0x0F and opcode[1] & 0xF0 == 0x80)


def _sign_extended(data: bytes | bytearray) -> int:
    return int.from_bytes(data, "little", signed=True)


def _put(code: bytearray, at: int, value: int) -> None:
    code[at : at + 4] = (value & 0xFFFFFFFF).to_bytes(4, "little")


def _image(stored: _Stored) -> range:
    """Addresses of the kernel's image: from its text to behind its per-CPU variables or data."""
    symbols = [*boot_symbols(stored.boot).values(), *(f.addr for f, _ in stored.functions)]
    inside = [address for address in symbols if address >= _TEXT]
    return range(min(inside, default=0), max(inside, default=0) + _MAX_FUNCTION)


def _data(functions: tuple[tuple[FuncRecord, bytes], ...]) -> dict[str, int]:
    """Variables that the functions name, by the references that say where they begin."""
    found: dict[str, int] = {}
    for function, _ in functions:
        for reference in function.refs:
            name, address = reference.get("sym"), reference.get("addr")
            if isinstance(name, str) and isinstance(address, int) and "+" not in name:
                found[name] = address
    return found


def _structs(arch: Arch, stored: _Stored, symbols: dict[str, int]) -> tuple[Structs, bool]:
    """The layouts of this kernel, and whether it is the build that `structs` describes."""
    known = structs(arch)
    stext = symbols.get("_stext", 0)
    places = {name: stext + offset for name, (offset, _) in known.text.items()}
    common = [name for name in places if name in symbols]
    known_build = bool(common) and all(symbols[name] == places[name] for name in common)
    offsets, sizes = dict(known.offsets), dict(known.sizes)
    for key, layout in stored.boot.layouts.items():
        name = key.removesuffix("(subset)")
        if not isinstance(layout, dict):
            continue
        if isinstance(layout.get("size"), int):
            sizes[name] = layout["size"]
        for member in layout.get("members", ()):
            place, bit = member.get("off"), member.get("bit")
            if isinstance(place, int) and not bit:
                offsets[f"{name}.{member.get('name')}"] = place
    offsets["bpf_prog.insnsi"] = sizes["bpf_prog"]
    offsets["task_struct.cpus_mask"] = offsets["task_struct.cpus_ptr"] + _USER_MASK
    if arch is Arch.ARM64:
        offsets["ftrace_ops.direct_call"] = (
            _direct_call(stored) or offsets["ftrace_ops.direct_call"]
        )
    _per_cpu(arch, symbols, known, stext if known_build else None)
    start = symbols["__per_cpu_start"]
    layout = replace(
        known,
        stext=stext,
        offsets=MappingProxyType(offsets),
        sizes=MappingProxyType(sizes),
        percpu_size=symbols.get("__per_cpu_end", start + known.percpu_size) - start,
    )
    return layout, known_build


def _direct_call(stored: _Stored) -> int | None:
    """Where ftrace_caller finds ftrace_ops.direct_call: its `ldr x17, [x11, #offset]`."""
    for function, code in stored.functions:
        if function.name == "ftrace_caller":
            for at in range(0, len(code) - 3, 4):
                word = int.from_bytes(code[at : at + 4], "little")
                if word & 0xFFC003FF == 0xF9400000 | 11 << 5 | 17:
                    return (word >> 10 & 0xFFF) * 8
    return None


def _per_cpu(arch: Arch, symbols: dict[str, int], known: Structs, stext: int | None) -> None:
    """Adds variables that this kernel keeps elsewhere, or whose place follows from the build.

    Before 6.15 x86_64 kept the hot ones together in struct pcpu_hot: the current task, and
    behind it preempt_count, cpu_number and call_depth.
    """
    hot = symbols.get("pcpu_hot")
    if arch is Arch.X86_64 and hot is not None:
        for name, offset in _PCPU_HOT.items():
            symbols.setdefault(name, hot + offset)
    if stext is not None:
        start = stext + known.percpu_start
        symbols.setdefault("__per_cpu_start", start)
        for name, offset in known.data.items():
            symbols.setdefault(name, stext + offset)
        for name, offset in known.percpu.items():
            symbols.setdefault(name, symbols["__per_cpu_start"] + offset)
    if "__per_cpu_start" not in symbols:
        raise InputError("the boot record has no symbol __per_cpu_start")


_PCPU_HOT = MappingProxyType(
    {
        "current_task": 0,
        "const_current_task": 0,
        "__preempt_count": 8,
        "cpu_number": 12,
        "__x86_call_depth": 16,
    }
)
"""Offsets in struct pcpu_hot, as the operands of captured 6.12 functions show them."""
