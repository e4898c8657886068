"""Mutants that provably do what the original does.

A mutant is excluded from a mutation test only for one of these reasons, all decided by data
flow over the whole code, never by looking at the mutant:

- `unreachable`: control cannot reach the instruction from any entry.
- `same`: the changed bytes decode to the same instruction, or one no-operation to another.
- `dead`: original and mutant write registers and flags only, on none of which a store, load,
  branch, call or result depends on any path (what a function returns, and what it must
  preserve, is read at its end; a call reads the argument registers). Loads count as such only
  if the mutant loads nothing, or from where the original does.
- `independent`: exchanged instructions of which neither writes what the other touches, in
  registers that are read later, in flags, or in memory.
- `constant`: both put the same constant into the same register.
- `unread counter`: arm64's first word of the tail call counter, in a program of one function
  that neither tail calls nor loads from x26.
- `larger frame`: x86_64's frame grows by a multiple of 16 bytes; nothing is addressed from rsp.
- `same condition`: x86_64 conditions that are equal after `test r, r`, which clears carry and
  overflow.
- `computes the same`: the basic block around it, followed symbolically, leaves the same
  values in all registers that are read later, stores the same and ends the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from tramposim.spec import Arch
from tramposim.study.codeflow import CodeFlow, convention_of
from tramposim.study.effects import Effect, constant_of, effect_of, full_name, is_part
from tramposim.study.mutants import Decoded, Mutant, decode_code
from tramposim.study.symbolic import meaning_of
from tramposim.study.terms import Terms

__all__ = ["reason_of"]


def reason_of(flow: CodeFlow, mutant: Mutant) -> str:
    """Why a mutant is equivalent, empty if that is not proved."""
    number = flow.index.get(mutant.offset)
    if number is None:
        return "unreachable"
    count = 2 if mutant.kind == "swap" else 1
    if all(n not in flow.reachable for n in range(number, number + count)):
        return "unreachable"
    new = decode_code(flow.arch, mutant.new, flow.address + mutant.offset)
    if sum(len(one.code) for one in new) != len(mutant.new):
        return ""
    if mutant.kind == "swap":
        both = flow.decoded[number : number + 2]
        if _dead_beside_call(flow, number):
            return "dead"
        effects = [flow.effects[n] for n in (number, number + 1)]
        if not any(effect.loads for effect in effects) and _dead(effects, flow.live[number + 1]):
            return "dead"
        if any(map(_no_operation, both)) or _independent(flow, number):
            return "independent"
        return "computes the same" if _same_block(flow, mutant, new, number) else ""
    old = flow.decoded[number]
    if len(new) == 1 and _text(new[0]) == _text(old):
        return "same"
    if (
        len(new) == 1
        and number + 1 < len(flow.decoded)
        and _compares_alike(old, new[0], flow.decoded[number + 1])
    ):
        return "same condition"
    if _no_operation(old) and all(_no_operation(one) for one in new):
        return "same"
    if len(new) == 1 and constant_of(old) and constant_of(old) == constant_of(new[0]):
        return "constant"
    if len(new) == 1 and _unread_counter(flow, old, new[0]):
        return "unread counter"
    if len(new) == 1 and _larger_frame(flow, old, new[0]):
        return "larger frame"
    if len(new) == 1 and number and _same_condition(flow.decoded[number - 1], old, new[0]):
        return "same condition"
    effects = [flow.effects[number], *(effect_of(flow.arch, one) for one in new)]
    if _dead(effects, flow.live[number]):
        return "dead"
    return "computes the same" if _same_block(flow, mutant, new, number) else ""


def _same_block(flow: CodeFlow, mutant: Mutant, new: Sequence[Decoded], number: int) -> bool:
    """Whether the basic block with the mutant in it means what it meant."""
    count = 2 if mutant.kind == "swap" else 1
    first, last = flow.block(number)
    if flow.block(number + count - 1) != (first, last):
        return False
    inside = range(number, number + count)
    if any(flow.effects[n].control or flow.effects[n].special for n in inside):
        return False
    if any(effect_of(flow.arch, one).control for one in new):
        return False
    old = flow.decoded[first:last]
    changed = [*flow.decoded[first:number], *new, *flow.decoded[number + count : last]]

    def full(name: str | None) -> str:
        return full_name(flow.arch, name)

    known = flow.constants[first]
    terms = Terms()
    meanings = [
        meaning_of(flow.arch, block, full, is_part, known, terms) for block in (old, changed)
    ]
    if meanings[0] is None or meanings[1] is None:
        return False
    one, two = meanings[0], meanings[1]
    same_memory = one.memory == two.memory and one.effects == two.effects
    return same_memory and all(one.register(r) == two.register(r) for r in flow.before[last])


def _dead_beside_call(flow: CodeFlow, number: int) -> bool:
    """Whether one of two instructions is a call and the other's results are never read."""
    for call, other in ((number, number + 1), (number + 1, number)):
        if not flow.calls(call) or flow.effects[other].control:
            continue
        effect = flow.effects[other]
        _, read, _ = convention_of(flow.arch, flow.passes_arguments)
        used = read | flow.effects[call].reads
        harmless = not (effect.special or effect.stores or effect.loads)
        if harmless and not effect.writes & (flow.live[number + 1] | used):
            return True
    return False


def _unread_counter(flow: CodeFlow, old: Decoded, new: Decoded) -> bool:
    """`stp xzr, x26, [sp, #-16]!`, whose first word `ldp xzr, x26` drops, with another register."""
    if old.insn.op_str != "xzr, x26, [sp, #-0x10]!" or flow.passes_arguments or not flow.alone:
        return False
    first, _, rest = new.insn.op_str.partition(", ")
    same = new.insn.mnemonic == "stp" and rest == "x26, [sp, #-0x10]!" and first[0] == "x"
    return same and not any("[x26" in one.insn.op_str for one in flow.decoded)


def _larger_frame(flow: CodeFlow, old: Decoded, new: Decoded) -> bool:
    """`sub rsp, n` with a larger n in code that addresses its frame from rbp only."""
    if flow.arch is not Arch.X86_64 or old.insn.mnemonic != "sub" or new.insn.mnemonic != "sub":
        return False
    texts = [one.insn.op_str.split(", ") for one in (old, new)]
    if any(len(text) != 2 or text[0] != "rsp" for text in texts):
        return False
    if any(
        "[rsp" in one.insn.op_str
        or (one.insn.mnemonic == "add" and one.insn.op_str.startswith("rsp"))
        for one in flow.decoded
    ):
        return False
    if not any(one.insn.mnemonic == "leave" for one in flow.decoded):
        return False
    grown = int(texts[1][1], 0) - int(texts[0][1], 0)
    return 0 < grown < _STACK_ROOM and grown % 16 == 0


_STACK_ROOM = 8192
_AFTER_TEST = {
    "je": "z", "jbe": "z", "jne": "nz", "ja": "nz", "js": "s", "jl": "s", "jns": "ns",
    "jge": "ns",
}  # fmt: skip


def _same_condition(before: Decoded, old: Decoded, new: Decoded) -> bool:
    """Conditional jumps with one meaning behind `test`, to the same place."""
    if before.insn.mnemonic != "test" or old.insn.op_str != new.insn.op_str:
        return False
    meaning = _AFTER_TEST.get(old.insn.mnemonic)
    return meaning is not None and meaning == _AFTER_TEST.get(new.insn.mnemonic)


def _compares_alike(old: Decoded, new: Decoded, branch: Decoded) -> bool:
    """arm64's `cmp r, #0` and `cmn r, #0` differ in the carry only."""
    texts = [(one.insn.mnemonic, one.insn.op_str) for one in (old, new)]
    if texts[0][1] != texts[1][1] or not texts[0][1].endswith(", #0"):
        return False
    return {text[0] for text in texts} == {"cmp", "cmn"} and branch.insn.mnemonic in (
        "b.eq", "b.ne", "b.mi", "b.pl", "b.lt", "b.ge", "b.gt", "b.le",
    )  # fmt: skip


_SHIFTS = ("shl", "shr", "sar", "rol", "ror", "sal")


def _text(one: Decoded) -> tuple[str, str]:
    """Mnemonic and operands; what x86_64 writes in two ways in one of them."""
    insn = one.insn
    name, text = insn.mnemonic, insn.op_str
    if name == "movzx" and insn.operands[0].size == 8:
        text = _narrow(insn.reg_name(insn.operands[0].reg)) + text[text.index(",") :]
    elif name in _SHIFTS and len(insn.operands) == 2 and insn.operands[1].type == 2:
        count = insn.operands[1].imm & (0x3F if insn.operands[0].size == 8 else 0x1F)
        text = f"{text[: text.rindex(',')]}, {count:#x}"
    return name, text


def _narrow(name: str) -> str:
    """The lower half of a 64-bit register."""
    return name + "d" if name[1:].isdigit() else "e" + name[1:]


def _no_operation(one: Decoded) -> bool:
    return bool(one.insn.mnemonic == "nop" or one.insn.mnemonic.endswith(" nop"))


def _dead(effects: Sequence[Effect], live: frozenset[str]) -> bool:
    """Whether all of them only write registers that nobody reads."""
    original = effects[0]
    for effect in effects:
        if effect.control or effect.special or effect.stores or effect.writes & live:
            return False
        if effect.loads - original.loads:
            return False
    return True


def _independent(flow: CodeFlow, number: int) -> bool:
    """Whether the instruction and the next one may change places."""
    first, second = flow.effects[number], flow.effects[number + 1]
    if first.control or second.control or not (_movable(first, second) and _movable(second, first)):
        return False
    if any(number + 1 in s for n, s in enumerate(flow.successors) if n != number):
        return False
    both = first.writes & second.writes
    if (
        (first.writes & second.reads)
        or (second.writes & first.reads)
        or both & flow.live[number + 1]
    ):
        return False
    if first.stores or second.stores:
        return _apart(first.loads | first.stores, second.loads | second.stores)
    return True


def _movable(one: Effect, other: Effect) -> bool:
    """Whether nothing but registers and flags keeps an instruction from changing places."""
    plain = not (other.special or other.loads or other.stores)
    return not one.special or (one.atomic and plain)


def _apart(first: frozenset[tuple[str, int]], second: frozenset[tuple[str, int]]) -> bool:
    """Whether two sets of accesses cannot overlap: same registers, distant displacements."""
    for place, size in first:
        for other, width in second:
            one, two = _split(place), _split(other)
            if one is None or two is None or one[0] != two[0] or not size or not width:
                return False
            if one[1] < two[1] + width and two[1] < one[1] + size:
                return False
    return True


def _split(place: str) -> tuple[str, int] | None:
    base, _, displacement = place.rpartition("+")
    try:
        return base, int(displacement)
    except ValueError:
        return None
