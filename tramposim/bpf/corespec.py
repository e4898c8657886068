"""What a CO-RE relocation refers to, in the object's types and in a kernel's.

An access string such as `0:2:1` walks from a root type through members and array elements;
the same walk by member names is looked for in the kernel's types (libbpf's relo_core.c:
bpf_core_parse_spec, bpf_core_spec_match).
"""

from __future__ import annotations

from dataclasses import dataclass

from tramposim.bpf.btf import COMPOSITES, ENUMS, Btf, BtfType, Kind, Member
from tramposim.errors import InputError

__all__ = ["Spec", "compatible", "essential_name", "match_field", "parse_field"]

_MAX_DEPTH = 64
_FLAVOR = "___"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a walk: the member taken, or the index of an array's element."""

    member: Member | None
    index: int = 0


@dataclass(frozen=True, slots=True)
class Spec:
    """A field found: root type, steps, bits from the root's start, type of the field."""

    root: int
    steps: tuple[Step, ...]
    bit_offset: int
    type: int

    @property
    def member(self) -> Member | None:
        """The member that the walk ends with (None: an array's element or the root)."""
        return self.steps[-1].member if self.steps else None


def essential_name(name: str) -> str:
    """A type's name without the flavor that programs may append (`task_struct___old`)."""
    head, flavor, tail = name.rpartition(_FLAVOR)
    return head if flavor and head and tail and not head.endswith("_") else name


def _numbers(access: str, where: str) -> list[int]:
    parts = access.split(":")
    if not all(part.isdigit() and len(part) < 10 for part in parts) or len(parts) > _MAX_DEPTH:
        raise InputError(f"access string {access!r}", where)
    return [int(part) for part in parts]


def parse_field(btf: Btf, root: int, access: str, where: str) -> Spec:
    """Walk an access string through the object's types."""
    first, *rest = _numbers(access, where)
    number = btf.skip(root)
    steps = [Step(None, first)]
    bits = first * btf.size(number) * 8
    for position in rest:
        owner = btf.resolved(number)
        if owner is not None and owner.kind in COMPOSITES:
            members = list(btf.members(owner))
            if position >= len(members):
                raise InputError(f"access string {access!r}: no member {position}", where)
            member = members[position]
            bits += member.offset
            if member.name:
                steps.append(Step(member))
            number = btf.skip(member.type)
        elif owner is not None and owner.kind == Kind.ARRAY:
            number = btf.skip(btf.array(owner)[0])
            steps.append(Step(None, position))
            bits += position * btf.size(number) * 8
        else:
            raise InputError(f"access string {access!r}: no such field", where)
    return Spec(root, tuple(steps), bits, number)


def match_field(local: Btf, spec: Spec, target: Btf, candidate: int) -> Spec | None:
    """The same field in the kernel's type `candidate`, if it has it."""
    number = target.skip(candidate)
    bits = 0
    steps: list[Step] = []
    for position, step in enumerate(spec.steps):
        if step.member is not None:
            owner = target.resolved(number)
            if owner is None or owner.kind not in COMPOSITES:
                return None
            found = _find_member(target, owner, step.member.name, set(), 0)
            if found is None or not compatible(local, step.member.type, target, found.type):
                return None
            bits += found.offset
            steps.append(Step(found))
            number = target.skip(found.type)
        else:
            if position:
                owner = target.resolved(number)
                if owner is None or owner.kind != Kind.ARRAY:
                    return None
                number, count = target.array(owner)
                flexible = count == 0
                if step.index >= count and not flexible:
                    return None
            steps.append(step)
            bits += step.index * target.size(number) * 8 if step.index else 0
    return Spec(candidate, tuple(steps), bits, number)


def _find_member(btf: Btf, owner: BtfType, name: str, seen: set[int], depth: int) -> Member | None:
    """A member by name, also inside of anonymous members; its offset from the outermost.

    `seen` are types that do not have it.
    """
    if depth > _MAX_DEPTH:
        raise InputError("types nest too deeply", btf.where)
    for member in btf.members(owner):
        if member.name == name:
            return member
        inner = btf.resolved(member.type) if not member.name else None
        if inner is not None and inner.kind in COMPOSITES and member.type not in seen:
            seen.add(member.type)
            found = _find_member(btf, inner, name, seen, depth + 1)
            if found is not None:
                return Member(name, found.type, member.offset + found.offset, found.bits)
    return None


def compatible(local: Btf, a: int, target: Btf, b: int) -> bool:
    """Whether a field of type `a` may become one of type `b` (bpf_core_fields_are_compat)."""
    for _ in range(_MAX_DEPTH):
        first, second = local.resolved(a), target.resolved(b)
        if first is None or second is None:
            return False
        if first.kind in COMPOSITES and second.kind in COMPOSITES:
            return True
        if (first.kind in ENUMS and second.kind in ENUMS) or first.kind == second.kind == Kind.FWD:
            names = essential_name(first.name), essential_name(second.name)
            return "" in names or names[0] == names[1]
        if first.kind != second.kind:
            return False
        if first.kind != Kind.ARRAY:
            return first.kind in (Kind.PTR, Kind.FLOAT, Kind.INT)
        a, b = local.array(first)[0], target.array(second)[0]
    return False
