"""Which instructions of a program the verifier reaches, following the values of registers.

A walk over all paths as in kernel/bpf/verifier.c (do_check): a conditional jump whose outcome
is known is followed one way only. Two paths that meet with values that differ go on as one
unless a later jump was decided by what differs; what jumps were decided by is told back along
the path (precision tracking, mark_chain_precision). Whether accesses are allowed is not judged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tramposim.bpf import insn as isa
from tramposim.bpf.branching import compare, learn
from tramposim.bpf.helpers import HELPER_IDS
from tramposim.bpf.insn import Insn
from tramposim.bpf.scalars import Scalar, unknown
from tramposim.bpf.stack import successors
from tramposim.bpf.steps import Facts, Steps
from tramposim.bpf.verifierstate import Frame, Location, Note, Pointer, Slot, State, Value
from tramposim.errors import InputError, UnsupportedError

__all__ = ["Reach", "reached"]

LIMIT = 100_000
"""Steps after which a program is refused; the kernel goes on to 1,000,000."""
_LOOK_BACK = 32
"""States of a path that are compared to find loops without end."""
_TAIL_CALL = HELPER_IDS["bpf_tail_call"]
_KEPT = 64
"""States kept for comparison at one instruction."""


@dataclass(slots=True)
class _Saved:
    """A state where paths can meet: how it was come by, and what of it decided later jumps."""

    state: State
    index: int
    parent: _Saved | None
    trail: list[Note]
    decisive: set[Location] = field(default_factory=set)
    open_paths: int = 1


@dataclass(slots=True)
class _Path:
    """A path to follow: the state at an instruction, and the way from the last saved state."""

    state: State
    index: int
    parent: _Saved | None
    trail: list[Note]


@dataclass(frozen=True, slots=True)
class Reach:
    """What the verifier reaches: `instructions` (first slots of 64-bit loads).

    `tail_calls` are the map and the index of each tail call, if they are always the same.
    """

    instructions: frozenset[int]
    tail_calls: Mapping[int, tuple[str, int] | None]


def reached(insns: Sequence[Insn], facts: Facts, where: str) -> Reach:
    """Walk through a program.

    Raises `UnsupportedError` for a program that takes too many steps to tell.
    """
    return _Explorer(insns, facts, where).run()


class _Explorer:
    def __init__(self, insns: Sequence[Insn], facts: Facts, where: str) -> None:
        self._insns = insns
        self._where = where
        self._steps = Steps(insns, facts)
        self._recent = facts.recent
        self._seen: set[int] = set()
        self._tail_calls: dict[int, tuple[str, int] | None] = {}
        self._passing: dict[int, list[_Saved]] = {}
        self._done: dict[int, list[_Saved]] = {}
        self._meeting = _meeting_points(insns)
        self._live = _live_registers(insns)
        self._work: list[_Path] = []

    def run(self) -> Reach:
        registers: list[Value] = [None] * 11
        registers[1] = Pointer("context")
        registers[10] = Pointer("stack", 0, 0)
        self._work.append(_Path(State([Frame(registers)]), 0, None, []))
        steps = 0
        while self._work:
            path = self._work.pop()
            going = True
            while going:
                steps += 1
                if steps > LIMIT:
                    raise UnsupportedError(
                        f"{self._where}: more than {LIMIT:,} steps to tell what can be reached"
                    )
                going = self._advance(path)
            self._finish(path)
        return Reach(frozenset(self._seen), self._tail_calls)

    def _finish(self, path: _Path) -> None:
        saved = path.parent
        while saved is not None:
            saved.open_paths -= 1
            if saved.open_paths:
                return
            done = self._done.setdefault(saved.index, [])
            done.append(saved)
            if len(done) > _KEPT:
                del done[0]
            saved = saved.parent

    def _advance(self, path: _Path) -> bool:
        """One instruction of a path; False when the path ends."""
        index, state = path.index, path.state
        if not 0 <= index < len(self._insns):
            return False
        if index in self._meeting:
            if self._known(path):
                return False
            if self._insns[index].opcode != isa.MAY_GOTO:
                self._refuse_endless(path)
            saved = _Saved(state.copy(), index, path.parent, path.trail)
            if self._insns[index].opcode == isa.MAY_GOTO:
                self._passing.setdefault(index, []).append(saved)
            path.parent, path.trail = saved, []
        self._seen.add(index)
        insn = self._insns[index]
        if insn.cls in (isa.JMP, isa.JMP32) and insn.op not in (isa.CALL, isa.EXIT, isa.JA):
            if insn.opcode == isa.MAY_GOTO:
                self._pass(path)
            else:
                self._branch(path, insn)
            return True
        if insn.opcode == isa.JMP | isa.CALL and insn.src == 0 and insn.imm == _TAIL_CALL:
            self._note_tail_call(path)
        following = self._steps.step(state, index, path.trail, self._decide(path))
        if following is None:
            return False
        path.index = following
        return True

    def _refuse_endless(self, path: _Path) -> None:
        """A path that comes back to where it was, with nothing changed, never ends."""
        saved = path.parent
        for _ in range(_LOOK_BACK):
            if saved is None:
                return
            same = saved.index == path.index and saved.state.loops == path.state.loops
            live = self._live[path.index]
            if (
                same
                and _includes(saved.state, path.state, None, live)
                and _includes(path.state, saved.state, None, live)
            ):
                raise InputError(f"{self._where}: an endless loop at instruction {path.index}")
            saved = saved.parent

    def _note_tail_call(self, path: _Path) -> None:
        registers = path.state.frame.registers
        target, key = registers[2], registers[3]
        found = None
        if isinstance(target, Pointer) and isinstance(key, Scalar) and key.value is not None:
            found = (str(target.what), key.value & 0xFFFFFFFF)
        self._mark(path.parent, path.trail, {(len(path.state.frames) - 1, 3)})
        earlier = self._tail_calls.setdefault(path.index, found)
        if earlier != found:
            self._tail_calls[path.index] = None

    def _decide(self, path: _Path) -> Callable[[Location], None]:
        return lambda place: self._mark(path.parent, path.trail, {place})

    def _branch(self, path: _Path, insn: Insn) -> None:
        index = path.index
        result = compare(path.state, insn, self._recent)
        target = index + 1 + insn.offset
        if result.taken is not None:
            self._mark(path.parent, path.trail, set(result.decisive))
            path.index = target if result.taken else index + 1
            return
        other = path.state.copy()
        learn(other, insn, True)
        learn(path.state, insn, False)
        notes = result.notes
        if path.parent is not None:
            path.parent.open_paths += 1
        self._work.append(_Path(other, target, path.parent, [*path.trail, *notes]))
        path.trail.extend(notes)
        path.index = index + 1

    def _pass(self, path: _Path) -> None:
        """may_goto: leave now, and go through the loop once more with what stays the same."""
        index = path.index
        body = path.state.copy()
        body.loops += 1
        earlier = path.parent
        while earlier is not None:
            # The saved state of this very visit is the path's parent.
            earlier = earlier.parent
            if earlier is not None and earlier.index == index:
                _widen(earlier, body)
                break
        if path.parent is not None:
            path.parent.open_paths += 1
        self._work.append(_Path(body, index + 1, path.parent, list(path.trail)))
        path.index = index + 1 + self._insns[index].offset

    def _mark(self, start: _Saved | None, trail: Sequence[Note], places: set[Location]) -> None:
        """Something was decided by what is in these places: tell the states before."""
        saved = start
        while places:
            for note in reversed(trail):
                places = note.before(places)
                if not places:
                    return
            if saved is None:
                return
            places = {place for place in places if place not in saved.decisive}
            saved.decisive |= places
            trail = saved.trail
            saved = saved.parent

    def _known(self, path: _Path) -> bool:
        """Whether a path from a state that includes this one has been followed already."""
        for saved in reversed(self._done.get(path.index, ())):
            if _includes(saved.state, path.state, saved.decisive, self._live[path.index]):
                self._mark(path.parent, path.trail, set(saved.decisive))
                return True
        for saved in self._passing.get(path.index, ()):
            another = saved.open_paths and saved.state.loops != path.state.loops
            if another and _includes(saved.state, path.state, None, self._live[path.index]):
                return True
        return False


def _widen(earlier: _Saved, state: State) -> None:
    """Forget numbers that change from pass to pass and decide nothing."""
    for depth, (old, new) in enumerate(zip(earlier.state.frames, state.frames, strict=False)):
        for number in range(10):
            before, now = old.registers[number], new.registers[number]
            if (depth, number) not in earlier.decisive and _differ(before, now):
                new.registers[number] = unknown()
        for number, slot in new.slots.items():
            before = old.slots.get(number, Slot()).value
            if (depth, number) not in earlier.decisive and _differ(before, slot.value):
                new.slots[number] = Slot(slot.kinds, unknown())


def _differ(before: Value, now: Value) -> bool:
    both = isinstance(before, Scalar) and isinstance(now, Scalar)
    return both and before.key() != now.key()  # type: ignore[union-attr]


def _includes(old: State, new: State, decisive: set[Location] | None, live: int) -> bool:
    """Whether all that can follow from `new` can follow from `old`.

    Numbers in places that decide nothing may differ; `decisive` None: all may decide.
    `live` has a bit for each register of the innermost frame that may be read.
    """
    if len(old.frames) != len(new.frames):
        return False
    links: dict[int, int] = {}
    for depth, (before, now) in enumerate(zip(old.frames, new.frames, strict=True)):
        if before.resume != now.resume:
            return False
        innermost = depth == len(old.frames) - 1
        for number in range(10) if innermost else range(6, 10):
            if innermost and not live >> number & 1:
                continue
            exact = decisive is None or (depth, number) in decisive
            if not _covers(before.registers[number], now.registers[number], exact, links):
                return False
        for number, slot in before.slots.items():
            exact = decisive is None or (depth, number) in decisive
            if not _slot_covers(slot, now.slots.get(number, Slot()), exact, links):
                return False
    return True


def _covers(old: Value, new: Value, exact: bool, links: dict[int, int]) -> bool:
    if old is None:
        return True
    if isinstance(old, Scalar):
        if not isinstance(new, Scalar):
            return False
        if not exact:
            return True
        if old.link and links.setdefault(old.link, new.link) != new.link:
            return False
        return old.contains(new)
    if not isinstance(new, Pointer) or old.null == 0 < new.null:
        return False
    if old.null and links.setdefault(-old.null, new.null) != new.null:
        return False
    return (old.kind, old.what, old.offset) == (new.kind, new.what, new.offset)


def _slot_covers(old: Slot, new: Slot, exact: bool, links: dict[int, int]) -> bool:
    for before, now in zip(old.kinds, new.kinds, strict=True):
        if now == "." != before or (before == "0" and now not in "0s"):
            return False
    if old.value is None:
        return not isinstance(new.value, Pointer) or old.kinds == "." * 8
    return _covers(old.value, unknown() if new.value is None else new.value, exact, links)


def _meeting_points(insns: Sequence[Insn]) -> frozenset[int]:
    """Where paths can meet: targets of jumps, what follows conditional jumps and calls."""
    points: set[int] = set()
    for index, insn in enumerate(insns):
        if insn.cls not in (isa.JMP, isa.JMP32) or insn.op == isa.EXIT:
            continue
        if insn.opcode == isa.MAY_GOTO:
            points.add(index)
        after = successors(insn, index)
        if insn.op == isa.JA or len(after) > 1:
            points.update(after)
        elif insn.op == isa.CALL and insn.src == isa.Pseudo.CALL:
            points.add(index + 1)
    return frozenset(points)


def _live_registers(insns: Sequence[Insn]) -> list[int]:
    """Registers that may be read before they are written, a bit each, at every instruction."""
    uses = [_uses(insn) for insn in insns]
    live = [0] * (len(insns) + 1)
    changed = True
    while changed:
        changed = False
        for index in range(len(insns) - 1, -1, -1):
            read, written = uses[index]
            after = 0
            for following in successors(insns[index], index):
                if 0 <= following < len(insns):
                    after |= live[following]
            now = read | after & ~written
            if now != live[index]:
                live[index] = now
                changed = True
    return live


def _uses(insn: Insn) -> tuple[int, int]:
    """Registers that an instruction reads and those that it overwrites, a bit each."""
    dst, src, cls = 1 << insn.dst, 1 << insn.src, insn.cls
    if insn.opcode == 0:
        return 0, 0
    if cls in (isa.ALU, isa.ALU64):
        read = src if insn.from_register and insn.op != isa.END else 0
        return read | (dst if insn.op != isa.MOV else 0), dst
    if cls == isa.LDX or insn.opcode == isa.LD_IMM64:
        return (src if cls == isa.LDX else 0), dst
    if cls in (isa.ST, isa.STX):
        read = dst | (src if cls == isa.STX else 0)
        compares = cls == isa.STX and insn.mode == isa.ATOMIC and insn.imm == isa.CMPXCHG
        return read | compares, 0
    if cls == isa.LD:
        return src | 1 << 6, 0x3F
    if insn.op == isa.EXIT:
        return 1, 0
    if insn.op == isa.CALL:
        return 0x3E, 0x3F
    if insn.op in (isa.JA, isa.JCOND, isa.TAIL_CALL):
        return 0, 0
    return dst | (src if insn.from_register else 0), 0
