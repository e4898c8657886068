"""CO-RE relocations: offsets, sizes, type ids and constants of the kernel that loads a program.

Values and what they change in an instruction follow libbpf (relo_core.c). A field, type or
constant that the kernel lacks gives 0 where the program asks whether it exists; any other use
of it becomes a call that no kernel accepts, which does no harm in code that is never reached.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tramposim.bpf import insn as isa
from tramposim.bpf.btf import COMPOSITES, ENUMS, Btf, Kind
from tramposim.bpf.btfext import CoreRelocation
from tramposim.bpf.corespec import Spec, essential_name, match_field, parse_field
from tramposim.bpf.insn import Insn
from tramposim.errors import InputError, UnsupportedError

__all__ = ["BAD_RELOCATION", "apply_core"]

BAD_RELOCATION = 0xBAD2310
"""Helper number that libbpf calls where a relocation failed."""

(
    BYTE_OFFSET,
    BYTE_SIZE,
    EXISTS,
    SIGNED,
    LSHIFT,
    RSHIFT,
    TYPE_ID_LOCAL,
    TYPE_ID_TARGET,
    TYPE_EXISTS,
    TYPE_SIZE,
    ENUMVAL_EXISTS,
    ENUMVAL_VALUE,
    TYPE_MATCHES,
) = range(13)
_NAMES_TEXT = """
byte_off byte_sz field_exists signed lshift_u64 rshift_u64 local_type_id target_type_id
type_exists type_size enumval_exists enumval_value type_matches
"""
_NAMES = tuple(_NAMES_TEXT.split())
_FIELD = (BYTE_OFFSET, BYTE_SIZE, EXISTS, SIGNED, LSHIFT, RSHIFT)
_ASKING = (EXISTS, TYPE_EXISTS, ENUMVAL_EXISTS)
_MEMORY_SIZES = {size: bits for bits, size in isa.SIZES.items()}
_MAX_OFFSET = (1 << 15) - 1


def apply_core(
    insns: Sequence[Insn],
    relocations: Mapping[int, Sequence[CoreRelocation]],
    local: Btf,
    kernel: Btf | None,
    where: str,
) -> tuple[tuple[Insn, ...], dict[int, str]]:
    """Instructions with their relocations (by index) applied for the types of a kernel.

    Also returns what the kernel lacks, by the index of the instruction. Raises `InputError`
    for what is malformed, `UnsupportedError` without a kernel's types; both name the
    relocation.
    """
    changed = list(insns)
    failed: dict[int, str] = {}
    for index, several in relocations.items():
        for relocation in several:
            place = f"{where}: instruction {index}: CO-RE relocation {_title(relocation, local)}"
            if not 0 <= index < len(changed):
                raise InputError("no such instruction", place)
            if not _apply(changed, index, relocation, local, kernel, place):
                failed[index] = f"the kernel lacks {_title(relocation, local)}"
                _poison(changed, index)
    return tuple(changed), failed


def _poison(insns: list[Insn], index: int) -> None:
    bad = Insn(isa.JMP | isa.CALL, imm=BAD_RELOCATION)
    if insns[index].opcode == isa.LD_IMM64:
        insns[index + 1] = bad
    insns[index] = bad


def _title(relocation: CoreRelocation, local: Btf) -> str:
    number = relocation.kind
    kind = _NAMES[number] if number < len(_NAMES) else f"of kind {number}"
    found = local.resolved(relocation.type)
    words = {Kind.STRUCT: "struct ", Kind.UNION: "union ", Kind.ENUM: "enum "}
    name = words.get(found.kind, "") + (found.name or "(anonymous)") if found else "void"
    return f"{kind} of {name} ({relocation.access})"


def _apply(
    insns: list[Insn],
    index: int,
    relocation: CoreRelocation,
    local: Btf,
    kernel: Btf | None,
    where: str,
) -> bool:
    """Apply a relocation; False if the kernel lacks what it is about."""
    kind = relocation.kind
    if kind >= len(_NAMES) or kind == TYPE_MATCHES:
        raise UnsupportedError(f"{where}: not supported")
    if kind == TYPE_ID_LOCAL:
        _patch(insns, index, relocation.type, None, where)
        return True
    if kernel is None:
        raise UnsupportedError(f"{where}: needs the kernel's types; give --btf FILE")
    if kind in _FIELD:
        values = _field_values(relocation, local, kernel, where)
    elif kind in (ENUMVAL_EXISTS, ENUMVAL_VALUE):
        values = _constants(relocation, local, kernel, where)
    else:
        values = _types(relocation, local, kernel)
    found = list(dict.fromkeys(values))
    if len(found) > 1 and kind != TYPE_ID_TARGET:
        raise UnsupportedError(f"{where}: the kernel has several such types, which differ")
    if not found and kind not in _ASKING:
        return False
    _patch(insns, index, *(found[0] if found else (0, None)), where)
    return True


def _candidates(local: Btf, number: int, kernel: Btf) -> Iterator[int]:
    """Types of the kernel with the name and kind of an object's type."""
    found = local.get(number)
    kinds = ENUMS if found.kind in ENUMS else (found.kind,)
    yield from kernel.ids(essential_name(found.name), *kinds)


def _root(local: Btf, number: int) -> int:
    """The type that a relocation is about, qualifiers aside."""
    for _ in range(64):
        found = local.get(number)
        if found.kind not in (Kind.CONST, Kind.VOLATILE, Kind.RESTRICT, Kind.TYPE_TAG):
            return number
        number = found.value
    raise InputError(f"BTF type {number} refers to itself", local.where)


def _field_values(
    relocation: CoreRelocation, local: Btf, kernel: Btf, where: str
) -> Iterator[tuple[int, int | None]]:
    """Value and size of the field (None if a bit field) in each of the kernel's types."""
    root = local.skip(relocation.type)
    spec = parse_field(local, root, relocation.access, where)
    for candidate in _candidates(local, root, kernel):
        match = match_field(local, spec, kernel, candidate)
        if match is not None:
            yield _field_value(kernel, match, relocation.kind, where)


def _field_value(btf: Btf, spec: Spec, kind: int, where: str) -> tuple[int, int | None]:
    if kind == EXISTS:
        return 1, None
    member = spec.member
    bits = member.bits if member is not None else 0
    size = btf.size(spec.type)
    start = spec.bit_offset // 8
    if bits:
        start = start // size * size
        while spec.bit_offset + bits - 8 * start > 8 * size:
            size *= 2
            if size > 8:
                raise UnsupportedError(f"{where}: a bit field that no load reads at once")
            start = spec.bit_offset // 8 // size * size
    width = bits or 8 * size
    if kind == BYTE_OFFSET:
        return start, None if bits else size
    if kind == BYTE_SIZE:
        return size, None
    if kind == SIGNED:
        found = btf.resolved(spec.type)
        assert found is not None
        number = found.kind == Kind.INT and btf.integer(found)[1]
        return int(number or (found.kind in ENUMS and found.flag)), None
    if kind == LSHIFT:
        return 64 - (spec.bit_offset + width - 8 * start), None
    return 64 - width, None


def _constants(
    relocation: CoreRelocation, local: Btf, kernel: Btf, where: str
) -> Iterator[tuple[int, None]]:
    root = local.skip(relocation.type)
    owner = local.get(root)
    if owner.kind not in ENUMS or not relocation.access.isdigit():
        raise InputError("of what is no enumeration", where)
    names = [essential_name(e.name) for e in local.enumerators(owner)]
    if int(relocation.access) >= len(names):
        raise InputError(f"no constant {relocation.access}", where)
    name = names[int(relocation.access)]
    for candidate in _candidates(local, root, kernel):
        for constant in kernel.enumerators(kernel.get(candidate)):
            if essential_name(constant.name) == name:
                yield (1 if relocation.kind == ENUMVAL_EXISTS else constant.value), None
                break


def _types(relocation: CoreRelocation, local: Btf, kernel: Btf) -> Iterator[tuple[int, None]]:
    root = _root(local, relocation.type)
    for candidate in _candidates(local, root, kernel):
        if not _same_shape(local, root, kernel, candidate):
            continue
        if relocation.kind == TYPE_EXISTS:
            yield 1, None
        elif relocation.kind == TYPE_ID_TARGET:
            yield candidate, None
        else:
            yield kernel.size(candidate), None


def _same_shape(local: Btf, a: int, kernel: Btf, b: int) -> bool:
    """Whether two types are of one kind behind typedefs and pointers (names are not asked)."""
    for _ in range(64):
        first, second = local.resolved(a), kernel.resolved(b)
        if first is None or second is None:
            return first is second
        if first.kind in ENUMS and second.kind in ENUMS:
            return True
        if first.kind != second.kind:
            return False
        if first.kind in COMPOSITES or first.kind not in (Kind.PTR, Kind.ARRAY):
            return True
        pointer = first.kind == Kind.PTR
        a = first.value if pointer else local.array(first)[0]
        b = second.value if pointer else kernel.array(second)[0]
    return False


def _patch(insns: list[Insn], index: int, value: int, size: int | None, where: str) -> None:
    """Put a value into an instruction; `size` is that of the memory accessed, if known."""
    insn = insns[index]
    if insn.opcode == isa.LD_IMM64:
        low, high = value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF
        insns[index] = Insn(insn.opcode, insn.dst, insn.src, insn.offset, _signed(low))
        insns[index + 1] = Insn(0, imm=_signed(high))
    elif insn.cls in (isa.ALU, isa.ALU64) and not insn.from_register:
        if not -(1 << 31) <= value < 1 << 32:
            raise InputError(f"value {value} does not fit the instruction", where)
        insns[index] = Insn(
            insn.opcode, insn.dst, insn.src, insn.offset, _signed(value & 0xFFFFFFFF)
        )
    elif insn.cls in (isa.LDX, isa.ST, isa.STX):
        if not 0 <= value <= _MAX_OFFSET:
            raise InputError(f"offset {value} does not fit the instruction", where)
        opcode = insn.opcode
        if size is not None and size != insn.size and insn.mode in (isa.MEM, isa.MEMSX):
            if size not in _MEMORY_SIZES:
                raise UnsupportedError(f"{where}: an access of {size} bytes")
            opcode = opcode & ~0x18 | _MEMORY_SIZES[size]
        insns[index] = Insn(opcode, insn.dst, insn.src, value, insn.imm)
    else:
        raise InputError(f"of instruction {insn.opcode:#04x}, which takes no value", where)


def _signed(word: int) -> int:
    return word - (1 << 32) if word >= 1 << 31 else word
