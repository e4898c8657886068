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

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from tramposim.machine.disassembly import Instruction
from tramposim.machine.rules.convention import CONVENTIONS
from tramposim.machine.rules.listing import Flow, flow_of
from tramposim.spec import Arch
from tramposim.study.mutants import Decoded, Mutant, decode_code
from tramposim.study.symbolic import Terms, meaning_of

__all__ = ["CodeFlow", "reason_of"]

_X86_SIZES = {
    **{f"{p}{r}{s}": f"r{r}{s}" for r in "abcd" for p, s in (("e", "x"), ("", "x"))},
    **{f"{r}{half}": f"r{r}x" for r in "abcd" for half in "lh"},
    **{f"{p}{r}": f"r{r}" for r in ("si", "di", "bp", "sp") for p in ("e", "")},
    **{f"{r}l": f"r{r}" for r in ("si", "di", "bp", "sp")},
    **{f"r{n}{s}": f"r{n}" for n in range(8, 16) for s in "dwb"},
}
_ATOMICS = (
    "ldadd", "ldset", "ldclr", "ldeor", "ldsm", "ldum", "stadd", "stset", "stclr", "steor",
    "swp", "cas", "ldx", "stx", "ldax", "stlx", "ldar", "stlr",
)  # fmt: skip
_NAMES = re.compile(r"\b(?:[xw]\d+|w?sp)\b")
_FLAGS = {"rflags", "eflags", "nzcv", "flags"}


@dataclass(frozen=True, slots=True)
class _Effect:
    """What an instruction reads and writes; `partial` writes leave a part of the register."""

    reads: frozenset[str]
    writes: frozenset[str]
    partial: frozenset[str]
    loads: frozenset[tuple[str, int]]
    stores: frozenset[tuple[str, int]]
    control: bool
    special: bool
    atomic: bool
    addresses: frozenset[str]


_SPECIAL = (
    "int3", "hlt", "ud2", "lfence", "mfence", "endbr64", "rdmsr", "wrmsr", "in", "out", "cli",
    "sti", "syscall", "brk", "svc", "hlt", "msr", "dmb", "dsb", "isb", "bti", "xchg", "lock",
    "div", "idiv",
)  # fmt: skip


def _effect(arch: Arch, one: Decoded) -> _Effect:
    insn = one.insn
    reads, writes = insn.regs_access()
    name = insn.mnemonic
    flow = flow_of(arch, Instruction(insn.address, one.code, name, insn.op_str))
    read = {_full(arch, insn.reg_name(reg)) for reg in reads}
    if _clears(one):
        read = set()
    if name in ("paciasp", "autiasp"):
        read, written = {"x30", "sp"}, ["x30"]
    if arch is Arch.ARM64 and name in ("cmp", "cmn", "tst", "ccmp", "ccmn"):
        # capstone calls the first register of these written.
        read = {_full(arch, register) for register in _NAMES.findall(insn.op_str)}
        read |= {"flags"} if name.startswith("cc") else set()
        written = ["nzcv"]
    atomic = arch is Arch.ARM64 and name.startswith(_ATOMICS)
    if atomic:
        # capstone does not tell the registers of these.
        used = _NAMES.findall(insn.op_str)
        read = {_full(arch, register) for register in used}
        written = used
    written = [insn.reg_name(reg) for reg in writes]
    partial = {_full(arch, reg) for reg in written if arch is Arch.X86_64 and _is_part(reg)}
    loads, stores = _memory(arch, insn)
    first = name.split()[0]
    special = (
        atomic
        or first in _SPECIAL
        or (
            arch is Arch.ARM64
            and first.startswith(("ld", "st"))
            and (first[2:3] == "x" or first[2:3] == "a" or first[2:3] == "l")
        )
    )
    return _Effect(
        frozenset(read - {""}),
        frozenset({_full(arch, reg) for reg in written} - {""}),
        frozenset(partial),
        frozenset(loads),
        frozenset(stores),
        flow is not Flow.NONE,
        special,
        atomic or first == "lock",
        frozenset(_addresses(arch, insn)),
    )


def _addresses(arch: Arch, insn: Any) -> Iterator[str]:
    """Registers that the address of an access is made from."""
    memory = 3
    for operand in insn.operands:
        if operand.type == memory:
            for register in (operand.mem.base, operand.mem.index):
                if register:
                    yield _full(arch, insn.reg_name(register))


def _clears(one: Decoded) -> bool:
    """Whether it is x86_64's way to write zero, which needs no old value."""
    insn = one.insn
    if insn.mnemonic not in ("xor", "sub") or len(insn.operands) != 2:
        return False
    first, second = insn.operands
    return bool(first.type == second.type == 1 and first.reg == second.reg)


def _full(arch: Arch, name: str | None) -> str:
    if name is None:
        return ""
    if name in _FLAGS:
        return "flags"
    if arch is Arch.X86_64:
        return _X86_SIZES.get(name, name)
    if name in ("xzr", "wzr"):
        return ""
    if name == "wsp":
        return "sp"
    return {"fp": "x29", "lr": "x30"}.get(name, "x" + name[1:] if name[0] == "w" else name)


def _is_part(name: str) -> bool:
    """Whether writing this x86_64 register leaves the rest of it."""
    if name.startswith("r") and not name.endswith(("w", "b")):
        return False
    return not (name.startswith("e") or name.endswith("d"))


def _memory(arch: Arch, insn: object) -> tuple[set[tuple[str, int]], set[tuple[str, int]]]:
    """(address expression, bytes) of loads and stores; bytes 0 if not known."""
    loads: set[tuple[str, int]] = set()
    stores: set[tuple[str, int]] = set()
    operands = getattr(insn, "operands", [])
    name = getattr(insn, "mnemonic", "")
    text = getattr(insn, "op_str", "")
    if arch is Arch.ARM64:
        if name.startswith(("ld", "st", "cas", "swp", "prfm")):
            place, size = _arm64_place(text), _arm64_size(name, text)
            atomic = name.startswith(("ldadd", "ldset", "ldclr", "ldeor", "cas", "swp"))
            if name.startswith("ld") or atomic:
                loads.add((place, size))
            if name.startswith("st") or atomic:
                stores.add((place, size))
        return loads, stores
    if name in ("lea", "nop") or name.startswith("nop"):
        return loads, stores
    for operand in operands:
        if operand.type == 3:
            memory = operand.mem
            place = f"{memory.segment}:{memory.base}+{memory.index}*{memory.scale}+{memory.disp}"
            if operand.access & 1 or not operand.access:
                loads.add((place, operand.size))
            if operand.access & 2 or not operand.access:
                stores.add((place, operand.size))
    if name in ("push", "call"):
        stores.add(("push", 8))
    if name in ("pop", "leave", "ret"):
        loads.add(("pop", 8))
    return loads, stores


def _arm64_place(text: str) -> str:
    """`base+displacement` of an address without write-back or index, else as written."""
    place = text[text.find("[") :]
    inner, closed, rest = place[1:].partition("]")
    base, _, displacement = inner.partition(", #")
    if closed and not rest and "," not in base:
        try:
            return f"{base}+{int(displacement or '0', 0)}"
        except ValueError:
            pass
    return place


def _arm64_size(name: str, text: str) -> int:
    """Bytes of a plain load or store, 0 if not known."""
    width = 4 if text.startswith("w") else 8
    if name in ("ldr", "str", "ldur", "stur"):
        return width
    if name in ("ldp", "stp"):
        return 2 * width
    return {"strb": 1, "ldrb": 1, "strh": 2, "ldrh": 2, "ldrsw": 4}.get(name, 0)


class CodeFlow:
    """Reachability and liveness of one piece of code with its entry offsets.

    `passes_arguments`: the argument registers are read behind its end. `alone`: no other
    function belongs to the program.
    """

    def __init__(
        self,
        arch: Arch,
        code: bytes,
        address: int,
        entries: Iterable[int] = (0,),
        passes_arguments: bool = True,
        alone: bool = True,
    ) -> None:
        self.alone = alone
        self.arch = arch
        self.passes_arguments = passes_arguments
        self.address = address
        self.decoded = decode_code(arch, code, address)
        self.index = {one.offset: number for number, one in enumerate(self.decoded)}
        self.effects = [_effect(arch, one) for one in self.decoded]
        self.successors = [self._next(number) for number in range(len(self.decoded))]
        self.entries = [self.index[offset] for offset in entries if offset in self.index]
        self.reachable = self._reach(entries)
        self.before: list[frozenset[str]] = []
        self.live = self._liveness()
        self._leaders = self._find_leaders()
        self.constants = self._find_constants()

    def _find_constants(self) -> list[dict[str, int]]:
        """Registers that hold one and the same constant whenever an instruction is reached."""
        _, _, clobbered = _convention(self.arch, self.passes_arguments)
        found: list[dict[str, int] | None] = [None] * (len(self.decoded) + 1)
        todo = [number for number in self.entries if number < len(self.decoded)]
        for number in todo:
            found[number] = {}
        while todo:
            number = todo.pop()
            state = dict(found[number] or {})
            effect, constant = self.effects[number], _constant(self.decoded[number])
            for register in effect.writes | (clobbered if self.calls(number) else set()):
                state.pop(register, None)
            if constant is not None:
                state[constant[0]] = constant[1]
            for successor in self.successors[number]:
                old = found[successor]
                new = state if old is None else dict(old.items() & state.items())
                if new != old:
                    found[successor] = new
                    todo.append(successor)
        return [state or {} for state in found]

    def block(self, number: int) -> tuple[int, int]:
        """First instruction of the basic block around one, and the one that ends it or the
        next block begins with (which the block does not include)."""
        first = number
        while first and first not in self._leaders:
            first -= 1
        last = number + 1
        while last < len(self.decoded) and last not in self._leaders:
            if self.effects[last].control:
                break
            last += 1
        return first, min(last, len(self.decoded))

    def _find_leaders(self) -> set[int]:
        """Instructions that control may come to from anywhere but the one before."""
        found = {0}
        for number, targets in enumerate(self.successors):
            if self.effects[number].control:
                found.update((*targets, number + 1))
        return found

    def _next(self, number: int) -> tuple[int, ...]:
        one = self.decoded[number]
        insn = one.insn
        flow = flow_of(self.arch, Instruction(insn.address, one.code, insn.mnemonic, insn.op_str))
        after = self.index.get(one.offset + len(one.code))
        follow = () if after is None else (after,)
        if flow is Flow.RETURN:
            # An image calls the original function by `ret x10`: what follows an adr goes on.
            text = [d.insn.mnemonic for d in self.decoded[max(0, number - 1) : number]]
            return follow if text == ["adr"] else ()
        target = self._target(one)
        if flow is Flow.JUMP:
            return () if target is None else (target,)
        if flow is Flow.CONDITIONAL:
            return follow if target is None else (*follow, target)
        if flow is Flow.CALL and target is not None:
            return (*follow, target)
        return follow

    def _target(self, one: Decoded) -> int | None:
        text = one.insn.op_str.split(",")[-1].strip().lstrip("#")
        try:
            place = int(text, 16)
        except ValueError:
            return None
        return self.index.get(place - self.address)

    def _reach(self, entries: Iterable[int]) -> set[int]:
        todo = [self.index[offset] for offset in entries if offset in self.index]
        seen: set[int] = set()
        while todo:
            number = todo.pop()
            if number not in seen:
                seen.add(number)
                todo.extend(self.successors[number])
        return seen

    def _liveness(self) -> list[frozenset[str]]:
        """Registers that something depends on later, behind each instruction: what is read
        only to compute values that nothing depends on does not count."""
        ends, calls, clobbered = _convention(self.arch, self.passes_arguments)
        before: list[frozenset[str]] = [frozenset()] * len(self.decoded)
        behind: list[frozenset[str]] = [frozenset()] * len(self.decoded)
        changed = True
        while changed:
            changed = False
            for number in reversed(range(len(self.decoded))):
                effect = self.effects[number]
                out: set[str] = set()
                for successor in self.successors[number]:
                    out |= before[successor]
                if not self.successors[number] or (effect.control and self._leaves(number)):
                    out |= ends
                behind[number] = frozenset(out)
                kept = out - (effect.writes - effect.partial)
                if self.calls(number):
                    kept = (kept - clobbered) | calls
                if effect.writes & out or _acts(effect) or self.calls(number):
                    value = frozenset(kept | effect.reads | effect.partial)
                else:
                    # A load that nothing depends on may still fault.
                    value = frozenset(out | effect.addresses)
                if value != before[number]:
                    before[number] = value
                    changed = True
        self.before = [*before, frozenset()]
        return behind

    def calls(self, number: int) -> bool:
        """Whether an instruction calls, or continues elsewhere to come back."""
        one = self.decoded[number]
        insn = one.insn
        flow = flow_of(self.arch, Instruction(insn.address, one.code, insn.mnemonic, insn.op_str))
        return flow is Flow.CALL or (flow is Flow.RETURN and bool(self.successors[number]))

    def _leaves(self, number: int) -> bool:
        """Whether a branch may go where this code does not."""
        one = self.decoded[number]
        return self._target(one) is None and not self.calls(number)


def _acts(effect: _Effect) -> bool:
    """Whether an instruction does more than to write registers; a load may fault."""
    pops = any(place == "pop" for place, _ in effect.loads)
    return effect.control or effect.special or bool(effect.stores) or pops


@cache
def _convention(
    arch: Arch, passes_arguments: bool
) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Registers read at the end, read by calls, and changed by calls."""
    known = CONVENTIONS[arch]
    kept = {*known.saved, known.stack}
    link = {known.link} if known.link else set()
    ends = {known.result, *kept, *link, *(known.arguments if passes_arguments else ())}
    # Callees read the verifier's scratch register (x9, r10) and x86_64's tail call counter.
    calls = {*known.arguments, known.stack, known.frame, known.result, "x9", "r10"}
    return frozenset(ends), frozenset(calls), frozenset(set(known.volatile) | {"flags"})


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
    if len(new) == 1 and _constant(old) and _constant(old) == _constant(new[0]):
        return "constant"
    if len(new) == 1 and _unread_counter(flow, old, new[0]):
        return "unread counter"
    if len(new) == 1 and _larger_frame(flow, old, new[0]):
        return "larger frame"
    if len(new) == 1 and number and _same_condition(flow.decoded[number - 1], old, new[0]):
        return "same condition"
    effects = [flow.effects[number], *(_effect(flow.arch, one) for one in new)]
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
    if any(_effect(flow.arch, one).control for one in new):
        return False
    old = flow.decoded[first:last]
    changed = [*flow.decoded[first:number], *new, *flow.decoded[number + count : last]]

    def full(name: str | None) -> str:
        return _full(flow.arch, name)

    known = flow.constants[first]
    terms = Terms()
    meanings = [
        meaning_of(flow.arch, block, full, _is_part, known, terms) for block in (old, changed)
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
        _, read, _ = _convention(flow.arch, flow.passes_arguments)
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


def _constant(one: Decoded) -> tuple[str, int] | None:
    """(register, value) of an instruction that does nothing but load a constant."""
    insn = one.insn
    if insn.mnemonic not in ("mov", "movabs", "movz", "movn") or len(insn.operands) != 2:
        return None
    target, value = insn.operands
    if target.type != 1 or value.type != 2:
        return None
    name = insn.reg_name(target.reg)
    bits = 64
    if name.startswith(("e", "w")) or name.endswith("d"):
        bits = 32
    full = _X86_SIZES.get(name, "x" + name[1:] if name.startswith("w") else name)
    return full, value.imm & (1 << bits) - 1


def _dead(effects: Sequence[_Effect], live: frozenset[str]) -> bool:
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


def _movable(one: _Effect, other: _Effect) -> bool:
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
