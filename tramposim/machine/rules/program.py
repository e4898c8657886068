"""Compiled programs against the interpreter: same memory, same callees, call by call.

The compiled code runs first, alone on the probe, and every call out of it is recorded with
registers and memory. Then the interpreter runs what the JIT was given and is compared at each
call and at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tramposim.bpf.insn import Reg
from tramposim.bpf.loaded import LoadedFunction
from tramposim.bpf.lowered import OutOfBudget, State, TailCalled, Target, Thrown, interpret_lowered
from tramposim.machine.rules.accesses import check_accesses
from tramposim.machine.rules.inputs import CALLS, Inputs, Pages
from tramposim.machine.rules.listing import Flow, Listing
from tramposim.machine.rules.probe import PAGE, STACK_SIZE, Departure, Probe
from tramposim.machine.rules.rule import Rule, Violation
from tramposim.machine.rules.signing import check_signing
from tramposim.machine.trace import STORE
from tramposim.spec import Arch

__all__ = ["CompiledProgram", "ProgramRun"]

GS_BASE = 0xFFFF888237800000
PERCPU_ARM64 = 0x00007F0012340000
TASK_ARM64 = 0xFFFF000012345000
INTERPRETED = 20_000
"""eBPF instructions that an interpreted run may take; a longer one tells nothing."""
EXECUTED = 150_000
_MAX_CALLS = 400
_MAX_PAGES = 512
_MAX_FRAMES = 20
_MAX_WISHES = 200
_BELOW = 1 << 16
_CALLER = 0xFFFFFFFF81234560
_DEPTH = 0x7FFF_FF00_0000_0000
_MASK = (1 << 64) - 1
_PHYSICAL = {Arch.X86_64: (1 << 52) - 1, Arch.ARM64: _MASK}
_FRAME = 512


@dataclass(frozen=True)
class CompiledProgram:
    """A program's code and what it was made from.

    `functions` lie at `addresses`, main first, `lengths` bytes each. `registers` are the
    machine registers of eBPF registers by number, `frames` that of r10 in each function
    (private stacks have one of their own). `names` tell what is at an address.
    `thunks` are where returns go if a mitigation replaces them (empty: `ret`); `indirect`
    where tail calls go through retpolines. `depth` is the address of the call depth counter
    if calls are counted (else 0), `accounted` the callees that count themselves. x86_64 has
    its per-CPU offset in memory at `percpu_at`. `landing_pads`: IBT or BTI is on; `signed`:
    return addresses are signed (arm64 pointer authentication). Without `interpreted` the eBPF
    is not known and only the calling convention is checked.
    """

    arch: Arch
    listing: Listing
    functions: tuple[LoadedFunction, ...]
    addresses: tuple[int, ...]
    target: Target
    registers: Mapping[int, str]
    frames: tuple[str, ...]
    names: Mapping[int, str] = field(default_factory=dict)
    thunks: frozenset[int] = frozenset()
    indirect: frozenset[int] = frozenset()
    tail_register: str = ""
    depth: int = 0
    accounted: frozenset[int] = frozenset()
    percpu_at: int = 0
    landing_pads: bool = False
    signed: bool = False
    interpreted: bool = True


@dataclass(slots=True)
class _Event:
    """A call out of the code: to where, with which registers and memory."""

    site: int
    target: int
    registers: dict[int, int]
    pages: dict[int, bytes]
    stack: NDArray[np.uint8]


class _Undefined(Exception):
    """The program reads what it has not written on its stack."""


class _Differs(Exception):
    """Code and interpreter part."""

    def __init__(self, rule: Rule, address: int, detail: str) -> None:
        super().__init__(detail)
        self.rule, self.address, self.detail = rule, address, detail


class ProgramRun:
    """One run of a program on the inputs; `run` gives the violations."""

    def __init__(self, program: CompiledProgram, probe: Probe, inputs: Inputs) -> None:
        self.program = program
        self.probe = probe
        self.inputs = inputs
        self.mask = _PHYSICAL[program.arch]
        self.machine = Pages(inputs, self.mask)
        self.mapped: list[int] = []
        self.events: list[_Event] = []
        self.frames: list[int] = []
        self.words: frozenset[int] = frozenset()
        self.wishes: tuple[tuple[tuple[int, int], int], ...] = ()
        self.conclusive = True
        self.violations: list[Violation] = []
        self._entry: dict[str, int] = {}
        self._noise = b""
        self._last_entry: int | None = None
        self._returns: set[int] = set()
        self._seen = 0
        self.wild = False
        self._open_calls = 1

    def run(self) -> list[Violation]:
        """Execute, interpret, compare."""
        try:
            self._run()
        except _Differs as differs:
            self._found(differs.rule, differs.address, differs.detail)
        finally:
            self.probe.drop(self.mapped)
        return self.violations

    def _found(self, rule: Rule, address: int, detail: str) -> None:
        text = self.probe.listing.text(address)
        inputs = f"inputs of seed {self.inputs.seed}"
        self.violations.append(Violation(rule, address, detail, text, inputs))

    def _name(self, address: int) -> str:
        name = self.program.names.get(address)
        return f"{address:#x} ({name})" if name else f"{address:#x}"

    def _run(self) -> None:
        self._start()
        end = self._execute()
        if end is None:
            self.conclusive = False
            return
        self._find_frames()
        self._check_end(end)
        if not self.program.interpreted:
            return
        world = _World(self)
        functions, addresses = self.program.functions, self.program.addresses
        site, target = end.site, self.program.target
        if self.program.percpu_at:
            target = replace(target, percpu=world.pages.load(self.program.percpu_at, 8))
        try:
            result = interpret_lowered(
                functions, addresses, target, world,
                (self.inputs.context,), INTERPRETED,
            )  # fmt: skip
        except (OutOfBudget, _Undefined):
            self.conclusive = False
            return
        except TailCalled as tail:
            self._compare_tail(end, tail)
        except Thrown:
            pass
        else:
            if end.flow is Flow.JUMP and end.target not in self.program.thunks:
                raise _Differs(
                    Rule.TAIL_CALL, site, f"jumps to {self._name(end.target)} instead of returning"
                )
            if world.calls < len(self.events):
                event = self.events[world.calls]
                raise _Differs(
                    Rule.HELPER_CALL, event.site,
                    f"calls {self._name(event.target)}, the interpreter returns",
                )  # fmt: skip
            got = self.probe.get(self.program_result)
            if got != result:
                raise _Differs(Rule.RESULT, site, f"returns {got:#x}, the interpreter {result:#x}")
        finally:
            self.words = frozenset(world.pages.read_words)
            self.wishes = tuple(world.wishes)
        self._compare_registers(world.final, site)
        if self.wild and not world.wild:
            raise _Differs(
                Rule.MEMORY, site,
                "accesses memory at an address that is not canonical, the interpreter does not",
            )  # fmt: skip
        if world.calls == len(self.events):
            world.compare_memory(self._snapshot(), site, self._stack())
            self._compare_loads(world.pages)
            self._compare_stores(world.stores)

    def _compare_registers(self, final: State, site: int) -> None:
        """What the program left in r1 to r9, even if nothing reads it any more: the machine
        registers hold it until the epilogue gives them other values."""
        segments = [s for s in self.probe.segments if s.stack is not None]
        if len(segments) != len(self.probe.segments):
            return
        for number in sorted(final.defined & set(range(1, 10))):
            name, expected = self.program.registers[number], final.registers[number]
            end = self.probe.get(name)
            if end == expected:
                continue
            held = end
            if name in self.probe.convention.saved or name == self.probe.convention.result:
                values = np.concatenate([segment.followed[name] for segment in segments])
                before = values[values != np.uint64(end)]
                held = int(before[-1]) if len(before) else end
            if held != expected:
                raise _Differs(
                    Rule.REGISTERS, site,
                    f"leaves {held:#x} in r{number} ({name}), the interpreter {expected:#x}",
                )  # fmt: skip

    def _compare_loads(self, pages: Pages) -> None:
        """The code reads memory only where the interpreter does: elsewhere it may fault."""
        probe = self.probe
        low, high = np.uint64(probe.stack_base), np.uint64(probe.stack_base + STACK_SIZE)
        known = np.array(list(pages.read_words), np.uint64)
        for segment in probe.segments:
            address = segment.accesses["address"].astype(np.uint64)
            loads = (segment.accesses["flags"] & STORE) == 0
            outside = (address < low) | (address >= high)
            place = (address & np.uint64(self.mask)) & ~np.uint64(7)
            if self.program.depth:
                outside &= place != np.uint64(self.program.depth & self.mask & -8)
            for which in np.flatnonzero(loads & outside & ~np.isin(place, known))[:1]:
                pc = int(segment.pcs[segment.accesses["insn"][which]])
                raise _Differs(
                    Rule.MEMORY, pc,
                    f"reads {int(address[which]):#x}, which the interpreter does not",
                )  # fmt: skip

    def _compare_stores(self, stores: list[tuple[int, int, bool]]) -> None:
        """Other CPUs see every store: the code makes those of the interpreter, in its order.

        A compare-and-exchange that fails stores the old value on x86_64, and may elsewhere.
        """
        probe = self.probe
        low, high = probe.stack_base, probe.stack_base + STACK_SIZE
        counter = self.program.depth & self.mask
        number = 0
        for segment in probe.segments:
            made = segment.accesses[(segment.accesses["flags"] & STORE) != 0]
            for address, index, size, _ in made.tolist():
                if low <= address < high or address & self.mask == counter != 0:
                    continue
                place = address & self.mask
                while number < len(stores) and stores[number][2]:
                    if stores[number][:2] == (place, size):
                        break
                    number += 1
                expected = stores[number][:2] if number < len(stores) else None
                if expected != (place, size):
                    what = "nothing" if expected is None else f"{expected[1]} at {expected[0]:#x}"
                    raise _Differs(
                        Rule.STORES, int(segment.pcs[index]),
                        f"stores {size} bytes at {place:#x}, the interpreter {what}",
                    )  # fmt: skip
                number += 1
        missing = [store for store in stores[number:] if not store[2]]
        if missing:
            raise _Differs(
                Rule.STORES, self.program.addresses[0],
                f"does not store {missing[0][1]} bytes at {missing[0][0]:#x}, as the"
                " interpreter does",
            )  # fmt: skip

    @property
    def program_result(self) -> str:
        """The register of results, by the machine's calling convention."""
        return self.probe.convention.result

    # The code

    def _start(self) -> None:
        probe, program = self.probe, self.program
        watched = {program.registers[number] for number in (1, 6, 7, 8, 9)}
        probe.follow = tuple({*program.frames, *watched, *(("x30",) if program.signed else ())})
        self._entry = probe.reset()
        values = {probe.convention.arguments[0]: self.inputs.context}
        values[probe.convention.frame] = probe.stack_top + 512
        if program.arch is Arch.X86_64:
            values["rsp"] = probe.stack_top - 8
            values["gs_base"] = GS_BASE
            probe.write(probe.stack_top - 8, _CALLER)
        else:
            values["x30"] = _CALLER
            values["tpidr_el1"] = PERCPU_ARM64
            values["sp_el0"] = TASK_ARM64
        self._entry |= values
        probe.set(values)
        if program.depth:
            self._map(program.depth, 8)
            probe.write(program.depth, _DEPTH)
        self._noise = probe.engine.read(probe.stack_base, STACK_SIZE)

    def _execute(self) -> Departure | None:
        """Run to the end; None if it takes too long to tell anything."""
        probe, program = self.probe, self.program
        pc, left = program.addresses[0], EXECUTED
        while True:
            departure = probe.go(pc, left)
            left -= len(probe.segments[-1].pcs)
            if departure.size:
                self._fault(departure)
                probe.forget_last()
                pc = departure.site
                continue
            if departure.reason in ("budget", "trace-full"):
                return None
            if departure.problem:
                raise _Differs(Rule.EXECUTION, departure.site, departure.problem)
            if departure.flow is not Flow.CALL:
                back = self._through_thunk(departure)
                if back is None:
                    return departure
                pc = back
                continue
            if len(self.events) == _MAX_CALLS:
                return None
            pc = self._call(departure)
            if departure.target in program.target.noreturn:
                return departure

    def _through_thunk(self, departure: Departure) -> int | None:
        """Where a function of the program returns to by the return thunk, if into the program."""
        probe = self.probe
        if departure.target not in self.program.thunks:
            return None
        stack = probe.get(probe.convention.stack)
        if not probe.stack_base <= stack < probe.stack_top - 8:
            return None
        back = probe.read(stack)
        if back not in probe.listing.at:
            return None
        probe.set({probe.convention.stack: stack + 8})
        self._returns.add(departure.site)
        return back

    def _fault(self, departure: Departure) -> None:
        """Memory is wherever a program looks, but around the stack, in code and on top."""
        probe, address = self.probe, departure.address
        near = probe.stack_base - _BELOW <= address < probe.stack_base + STACK_SIZE + _BELOW
        if near or departure.reason.startswith("protected") or len(self.mapped) >= _MAX_PAGES:
            raise _Differs(
                Rule.MEMORY, departure.site,
                f"{departure.problem}: {departure.size} bytes at {address:#x}",
            )  # fmt: skip
        if self.program.arch is Arch.X86_64:
            self.wild |= not canonical(probe.effective_address(departure.site, address))
        if not self._map(address, departure.size):
            raise _Differs(Rule.MEMORY, departure.site, f"cannot access {address:#x}")

    def _map(self, address: int, size: int) -> bool:
        """Map the pages of an access; False if they are there already."""
        new = False
        for page in {address // PAGE * PAGE, (address + size - 1 & _MASK) // PAGE * PAGE}:
            if not self.probe.readable(page, 1):
                self.probe.add_memory(page, self.machine.initial(page))
                self.mapped.append(page)
                new = True
        return new

    def _call(self, departure: Departure) -> int:
        probe, program = self.probe, self.program
        convention = probe.convention
        noreturn = departure.target in program.target.noreturn
        if departure.back not in probe.listing.at and not noreturn:
            raise _Differs(
                Rule.RETURN_ADDRESS,
                departure.site,
                f"calls to return to {departure.back:#x}",
            )
        stack = probe.get(convention.stack) + (0 if convention.link else 8)
        if stack % convention.alignment:
            self._found(
                Rule.STACK_ALIGNMENT, departure.site,
                f"calls with {convention.stack} {stack:#x}, no multiple of {convention.alignment}",
            )  # fmt: skip
        self._check_depth(departure)
        self._check_chain(departure)
        registers = {number: probe.get(name) for number, name in program.registers.items()}
        if len(set(program.frames)) > 1:
            del registers[Reg.FP]
        self.events.append(
            _Event(departure.site, departure.target, registers, self._snapshot(), self._stack())
        )
        result = self.inputs.result(len(self.events) - 1)
        preserving = departure.target in program.target.preserving
        scratch = program.registers[program.target.scratch] if preserving else ""
        probe.callee_returns(result, scratch)
        return departure.back

    def _check_depth(self, departure: Departure) -> None:
        if not self.program.depth:
            return
        expected = self._calls_since() - (departure.target in self.program.accounted)
        value = self.probe.read(self.program.depth)
        if value != _DEPTH >> 5 * expected:
            self._found(
                Rule.CALL_DEPTH, departure.site,
                f"the call of {self._name(departure.target)} is not counted as it should be",
            )  # fmt: skip
        self.probe.write(self.program.depth, _DEPTH)

    def _check_chain(self, departure: Departure) -> None:
        """From the frame pointer to the caller's frame, by (frame, return address) pairs."""
        probe = self.probe
        frame = probe.get(probe.convention.frame)
        end, back = self._entry[probe.convention.frame], 0
        for _ in range(_MAX_FRAMES):
            if frame == end or not probe.stack_base <= frame < probe.stack_top - 8 or frame % 8:
                break
            frame, back = probe.read(frame), probe.read(frame + 8)
        if frame != end or back != _CALLER:
            self._found(
                Rule.FRAME_CHAIN, departure.site,
                f"at the call of {self._name(departure.target)} the frames lead to {frame:#x}"
                f" and return address {back:#x}, not to the caller's",
            )  # fmt: skip

    def _calls_since(self) -> int:
        """Call instructions since the last event, that one's excluded, this one's included."""
        segments = self.probe.segments[self._seen :]
        self._seen = len(self.probe.segments)
        flow = self.probe.listing.flow
        return sum(flow(pc) is Flow.CALL for s in segments for pc in s.pcs.tolist())

    def _snapshot(self) -> dict[int, bytes]:
        """Contents of the pages that the code has touched."""
        read = self.probe.engine.read
        pages = {page & self.mask: read(page, PAGE) for page in self.mapped}
        depth = self.program.depth
        if depth:
            page = depth // PAGE * PAGE & self.mask
            content = bytearray(pages[page])
            offset = depth % PAGE
            content[offset : offset + 8] = self.machine.initial(page)[offset : offset + 8]
            pages[page] = bytes(content)
        return pages

    def _stack(self) -> NDArray[np.uint8]:
        content = self.probe.engine.read(self.probe.stack_base, STACK_SIZE)
        return np.frombuffer(content, np.uint8)

    def _check_end(self, departure: Departure) -> None:
        """The convention at the end: registers, stack, where it goes."""
        probe, program = self.probe, self.program
        convention, target = probe.convention, departure.target
        if target in program.target.noreturn:
            return
        tail = departure.flow is Flow.JUMP and target not in program.thunks
        stack = probe.stack_top
        if not tail:
            if departure.flow is Flow.JUMP:
                pointer = probe.get(convention.stack)
                if not probe.stack_base <= pointer < probe.stack_top:
                    raise _Differs(
                        Rule.STACK_BALANCE, departure.site, f"returns with stack {pointer:#x}"
                    )
                target = probe.read(pointer)
                probe.set({convention.stack: pointer + 8})
            elif departure.flow is not Flow.RETURN:
                raise _Differs(
                    Rule.EXECUTION, departure.site, f"goes to {self._name(target)} without a call"
                )
            elif program.thunks:
                self._found(
                    Rule.RETURN_ADDRESS, departure.site,
                    "returns by ret, where the mitigation needs the return thunk",
                )  # fmt: skip
            if target != _CALLER:
                raise _Differs(
                    Rule.RETURN_ADDRESS, departure.site, f"returns to {target:#x}, not its caller"
                )
        saved = list(convention.saved)
        if tail:
            # The next program goes on behind the pushes of its prologue.
            if self._last_entry is not None:
                stack = self._last_entry
                saved = []
            elif program.arch is Arch.X86_64:
                stack -= 8
            stack -= 8 if program.arch is Arch.X86_64 else 32
            kept = {"rbp"} if program.arch is Arch.X86_64 else {"x26", "x29"}
            saved = [name for name in saved if name not in kept]
        if probe.get(convention.stack) != stack:
            self._found(
                Rule.STACK_BALANCE, departure.site,
                f"{convention.stack} is {probe.get(convention.stack):#x}, not {stack:#x}",
            )  # fmt: skip
        for name in saved:
            if probe.get(name) != self._entry[name]:
                self._found(
                    Rule.CALLEE_SAVED, departure.site,
                    f"{name} is {probe.get(name):#x}, was {self._entry[name]:#x}",
                )  # fmt: skip
        if program.signed:
            left = self._open_calls if tail else 0
            self.violations += check_signing(
                probe, probe.segments, True, left, f"inputs of seed {self.inputs.seed}"
            )
        anywhere = [(0, _MASK)]
        self.violations += check_accesses(
            probe, probe.segments, anywhere, f"inputs of seed {self.inputs.seed}"
        )

    def _compare_tail(self, end: Departure, tail: TailCalled) -> None:
        probe, program = self.probe, self.program
        target = end.target
        if end.flow is not Flow.JUMP or target in program.thunks:
            raise _Differs(
                Rule.TAIL_CALL, end.site,
                f"returns, the interpreter continues at {self._name(tail.target)}",
            )  # fmt: skip
        if target in program.indirect:
            target = probe.get(program.tail_register)
        if target != tail.target:
            raise _Differs(
                Rule.TAIL_CALL, end.site,
                f"continues at {self._name(target)}, the interpreter at {self._name(tail.target)}",
            )  # fmt: skip
        context = probe.get(probe.convention.arguments[0])
        if context != tail.context:
            raise _Differs(
                Rule.TAIL_CALL, end.site, f"passes context {context:#x}, not {tail.context:#x}"
            )

    # Frame pointers

    def _find_frames(self) -> None:
        """The frame pointer of every called function, in the order of the calls: what its
        register held most of the time since it changed."""
        segments = [s for s in self.probe.segments if s.stack is not None]
        if not segments:
            self.frames = [self.probe.stack_top - 16]
            return
        pcs = np.concatenate([segment.pcs for segment in segments])
        owners = self._invocations(pcs)
        numbers = {address: n for n, address in enumerate(self.program.addresses)}
        values = {
            name: np.concatenate([segment.followed[name] for segment in segments])
            for name in set(self.program.frames)
        }
        stacks = np.concatenate([s.stack for s in segments if s.stack is not None])
        if owners[-1]:
            self._last_entry = int(stacks[np.flatnonzero(owners == owners[-1])[0]])
        for invocation in range(int(owners.max(initial=0)) + 1):
            own = np.flatnonzero(owners == invocation)
            function = numbers.get(int(pcs[own[0]]), 0)
            name = self.program.frames[function]
            held = values[name][own]
            if name not in self.probe.convention.saved:
                self.frames.append(int(held[-1]))
                continue
            changed = held[held != held[0]]
            found, counts = np.unique(changed if len(changed) else held, return_counts=True)
            self.frames.append(int(found[counts.argmax()]))

    def _invocations(self, pcs: NDArray[np.uint64]) -> NDArray[np.intp]:
        """For each executed instruction the number of the function call that it belongs to."""
        owners = np.zeros(len(pcs), np.intp)
        if len(self.program.functions) == 1:
            return owners
        starts = set(self.program.addresses[1:])
        listing = self.probe.listing
        flows = {address: listing.flow(address) for address in set(pcs.tolist())}
        flows |= dict.fromkeys(self._returns, Flow.RETURN)
        stack, last, count = [0], Flow.NONE, 0
        for index, pc in enumerate(pcs.tolist()):
            if last is Flow.CALL and pc in starts:
                count += 1
                stack.append(count)
            elif len(stack) > 1 and last is Flow.RETURN:
                stack.pop()
            owners[index] = stack[-1]
            last = flows[pc]
        self._open_calls = len(stack)
        return owners


def canonical(address: int) -> bool:
    """Whether x86_64 with five levels of page tables has such an address."""
    return address >> 56 in (0, 0xFF)


class _World:
    """What the interpreter sees, and the comparison at its calls."""

    def __init__(self, run: ProgramRun) -> None:
        self.run = run
        self.pages = Pages(run.inputs, run.mask)
        self.pages.first = run.machine.first
        self.base = run.probe.stack_base
        self.stack = bytearray(run._noise)
        self.written = np.zeros(STACK_SIZE, bool)
        self.calls = 0
        self.stores: list[tuple[int, int, bool]] = []
        self.origins: dict[int, tuple[int, int]] = {}
        self.wishes: dict[tuple[tuple[int, int], int], None] = {}
        self.wild = False
        self.final = State()
        self.entered = 0
        main = run.program.functions[0]
        self.clobbered = self.base + STACK_SIZE
        if run.frames and not main.private_stack:
            self.clobbered = run.frames[0] - (main.stack_depth + 15 & ~15)

    def _on_stack(self, address: int, size: int) -> bool:
        return self.base <= address and address + size <= self.base + STACK_SIZE

    def load(self, address: int, size: int) -> int:
        """Memory, or the stack."""
        if self._on_stack(address, size):
            at = address - self.base
            if address < self.clobbered and not self.written[at : at + size].all():
                raise _Undefined
            return int.from_bytes(self.stack[at : at + size], "little")
        self.wild |= not canonical(address)
        value = self.pages.load(address, size)
        self.origins[value] = (address & self.run.mask, size)
        return value

    def store(self, address: int, size: int, value: int) -> None:
        """Memory, or the stack."""
        if self._on_stack(address, size):
            at = address - self.base
            data = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
            self.stack[at : at + size] = data
            self.written[at : at + size] = True
        else:
            self.wild |= not canonical(address)
            self.pages.load(address, size)
            self.pages.store(address, size, value)
            self.stores.append((address & self.run.mask, size, False))

    def finish(self, state: State) -> None:
        """Keep the registers at the end."""
        self.final = state

    def compared(self, left: int, right: int) -> None:
        """Remember what other inputs would make of a branch."""
        for value, other in ((left, right), (right, left)):
            origin = self.origins.get(value)
            if origin is not None and len(self.wishes) < _MAX_WISHES:
                self.wishes[origin, other] = None

    def exchange(self, address: int, size: int, value: int) -> None:
        """The store of an atomic operation; the emulator does not tell of all of arm64's."""
        made = len(self.stores)
        self.store(address, size, value)
        if self.run.program.arch is Arch.ARM64 and len(self.stores) > made:
            self.stores[made] = (address & self.run.mask, size, True)

    def attempt(self, address: int, size: int) -> None:
        """A compare-and-exchange that failed: code may store the old value again."""
        if not self._on_stack(address, size):
            self.stores.append((address & self.run.mask, size, True))

    def frame(self, depth: int) -> int:
        """The frame pointer that the code had."""
        number = self.entered
        self.entered += 1
        if number >= len(self.run.frames):
            event = self.run.events[self.calls] if self.calls < len(self.run.events) else None
            raise _Differs(
                Rule.EXECUTION, event.site if event else self.run.program.addresses[0],
                f"the interpreter calls a function ({depth} deep), the code does not",
            )  # fmt: skip
        return self.run.frames[number]

    def leave(self, frame: int) -> None:
        """What a returned function had on its stack is of no interest."""
        at = frame - self.base
        self.written[max(0, at - _FRAME) : max(0, at)] = False

    def call(self, target: int, state: State) -> int:
        """Compare with the code's call, and return what that one returned."""
        run, number = self.run, self.calls
        if number == len(run.events):
            raise _Differs(
                Rule.HELPER_CALL, run.program.addresses[0],
                f"the interpreter calls {run._name(target)} as call {number}, the code does not",
            )  # fmt: skip
        self.calls += 1
        event = run.events[number]
        if event.target != target:
            raise _Differs(
                Rule.HELPER_CALL, event.site,
                f"calls {run._name(event.target)}, the interpreter {run._name(target)}",
            )  # fmt: skip
        preserving = target in run.program.target.preserving
        for register in sorted(state.defined & set(event.registers)):
            if register == 0 or (register == run.program.target.scratch and not preserving):
                continue
            value = state.registers[register]
            if event.registers[register] != value:
                raise _Differs(
                    Rule.HELPER_CALL, event.site,
                    f"calls {run._name(target)} with r{register}"
                    f" {event.registers[register]:#x}, the interpreter with {value:#x}",
                )  # fmt: skip
        self.compare_memory(event.pages, event.site, event.stack)
        result = run.inputs.result(number)
        self.origins[result] = self.origins[result & 0xFFFFFFFF] = (CALLS + number, 8)
        return result

    def compare_memory(
        self, theirs: Mapping[int, bytes], site: int, stack: NDArray[np.uint8] | None = None
    ) -> None:
        """Raise if the code's memory is not the interpreter's."""
        pages = self.pages
        for page in sorted({*theirs, *pages.pages}):
            code = theirs.get(page) or pages.initial(page)
            ours = bytes(pages.pages.get(page) or pages.initial(page))
            if code != ours:
                offset = next(i for i in range(PAGE) if code[i] != ours[i])
                at = offset & -8
                raise _Differs(
                    Rule.STORES, site,
                    f"memory at {page + at:#x} is {code[at : at + 8].hex()},"
                    f" the interpreter's {ours[at : at + 8].hex()}",
                )  # fmt: skip
        if stack is not None:
            ours_stack = np.frombuffer(bytes(self.stack), np.uint8)
            wrong = np.flatnonzero(self.written & (stack != ours_stack))
            if len(wrong):
                at = self.base + int(wrong[0])
                raise _Differs(
                    Rule.STORES, site,
                    f"the stack at {at:#x} is {int(stack[wrong[0]]):#x},"
                    f" the interpreter's {int(ours_stack[wrong[0]]):#x}",
                )  # fmt: skip
