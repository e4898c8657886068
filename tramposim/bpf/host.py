"""The world of interpreted programs: their maps, the helpers, a traced function's context."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from tramposim.bpf import insn as isa
from tramposim.bpf.alu import signed
from tramposim.bpf.helpers import HELPER_IDS
from tramposim.bpf.insn import Insn, Pseudo, decode
from tramposim.bpf.interpreter import BUDGET, Calls, Function, interpret
from tramposim.bpf.maps import ArrayMap, HostMap, make_map
from tramposim.bpf.memory import Memory
from tramposim.bpf.place import place
from tramposim.bpf.queues import QUEUE_HELPERS, PerfBuffers, QueueMap
from tramposim.bpf.ring import RING_HELPERS, RingBuffer
from tramposim.bpf.stack import analyse
from tramposim.bpf.text import TEXT_HELPERS
from tramposim.errors import GuestFault, InputError, UnsupportedError
from tramposim.spec import TRACING_KINDS, Map, MapType, ProgKind, Program, Relocation

__all__ = ["PID_TGID", "Host", "TracedCall"]

PID_TGID = 1000 << 32 | 1000
"""What bpf_get_current_pid_tgid returns: one task, thread group and thread 1000."""
CLOCK_STEP_NS = 100
"""By how much the clock advances with each reading."""
_SYMBOLS, _SYMBOL_STEP = 0xFFFF_FFFF_8100_0000, 0x1000
"""Where kernel symbols lie that programs take the address of."""
_TRACING = (*TRACING_KINDS, ProgKind.LSM)
_OTHER_MAPS: Mapping[MapType, Callable[[Map, Memory], HostMap]] = {
    MapType.RINGBUF: RingBuffer,
    MapType.PERF_EVENT_ARRAY: PerfBuffers,
    MapType.QUEUE: QueueMap,
    MapType.STACK: QueueMap,
}


def _calls_kfunc(insn: Insn) -> bool:
    return insn.opcode == isa.JMP | isa.CALL and insn.src == Pseudo.KFUNC


def _place(insns: list[Insn], index: int, address: int) -> None:
    """Give the 64-bit load at `index` its address."""
    insns[index] = Insn(isa.LD_IMM64, insns[index].dst, 0, 0, signed(address, 32))
    insns[index + 1] = Insn(0, imm=signed(address >> 32, 32))


class TracedCall:
    """One call of a traced function: argument slots, return value, session cookies.

    The context that programs get is the argument slots followed by the return value, which
    is 0 until the function has returned.
    """

    def __init__(
        self, memory: Memory, arguments: Sequence[int], func_ip: int, attach_cookie: int = 0
    ) -> None:
        self.memory = memory
        self.arguments = len(arguments)
        self.func_ip = func_ip
        self.attach_cookie = attach_cookie
        self.is_return = False
        self.cookie = memory.allocate(8, "the session cookie")
        self.context = memory.allocate(8 * len(arguments) + 8, "the context")
        for index, value in enumerate(arguments):
            memory.store(self.context.address + 8 * index, 8, value)

    def release(self) -> None:
        """Give back the call's memory."""
        self.memory.release(self.cookie)
        self.memory.release(self.context)

    @property
    def address(self) -> int:
        """What r1 holds."""
        return self.context.address

    def returned(self, value: int) -> None:
        """The function returned `value`; programs that follow run at its exit."""
        self.is_return = True
        self.memory.store(self.address + 8 * self.arguments, 8, value)


class Host:
    """Maps that programs share, and what their calls do. Deterministic by `seed`.

    Helpers access `memory`: the interpreter's own, or another that programs live in.
    """

    def __init__(self, seed: int = 0, memory: Memory | None = None) -> None:
        self.memory = Memory() if memory is None else memory
        self.maps: dict[str, HostMap] = {}
        self.output: list[str] = []
        """Lines that programs printed (bpf_trace_printk)."""
        self.notes: dict[str, None] = {}
        """What people should know about the runs, each thing once."""
        self._by_handle: dict[int, HostMap] = {}
        self._symbols: dict[str, int] = {}
        self._probed: dict[int, tuple[Program, frozenset[int]]] = {}
        self._random = random.Random(seed)
        self._now = 1_000_000_000
        self._call: TracedCall | None = None
        self._task: int | None = None

    def place_task(self, content: bytes, address: int | None = None) -> None:
        """The struct task_struct that programs run in, at `address` if given."""
        name = "the current task"
        if address is None:
            self._task = self.memory.allocate(len(content), name, content).address
        else:
            self._task = self.memory.place(address, len(content), name, content).address

    def declare(self, maps: Sequence[Map]) -> None:
        """Create maps that do not exist yet; `InputError` for one declared differently."""
        for declared in maps:
            present = self.maps.get(declared.name)
            if present is None:
                made = _OTHER_MAPS.get(declared.type, make_map)(declared, self.memory)
                self.maps[declared.name] = made
                self._by_handle[made.handle.address] = made
            elif present.declared != declared:
                raise InputError(f"two programs declare map {declared.name!r} differently")

    def run(
        self,
        program: Program,
        call: TracedCall | None = None,
        budget: int = BUDGET,
        arguments: Sequence[int] = (),
        unnamed: Function | None = None,
    ) -> int:
        """Run a program, in `call` if it traces a function; returns r0. Calls by a BTF id that
        has no name call `unnamed`.

        Raises what `interpret` raises, and `UnsupportedError` for a kernel function that is
        not known.
        """
        self.declare(program.maps)
        self._call = call
        insns = self._relocated(program)
        kfuncs = {index: self._kfunc(name, program) for index, name in program.kfuncs}
        if unnamed is not None:
            kfuncs = {i: unnamed for i, insn in enumerate(insns) if _calls_kfunc(insn)} | kfuncs
        calls = Calls(self._helpers(program.kind), kfuncs, probes=self._probes(program))
        if call is not None:
            arguments = (call.address,)
        return interpret(insns, self.memory, calls, arguments, budget, partial(place, program))

    def _probes(self, program: Program) -> frozenset[int]:
        """The loads through pointers of the kernel's, which give 0 where no memory is."""
        if program.kind not in TRACING_KINDS:
            return frozenset()
        known = self._probed.get(id(program))
        if known is None:
            loads = {index: name for index, _, name in program.relocations}
            try:
                found = analyse(decode(program.insns), loads, program.name).kernel_loads
            except InputError:
                # What is not well formed fails where it is executed, if it ever is.
                found = frozenset()
            known = self._probed[id(program)] = program, found
        return known[1]

    def _relocated(self, program: Program) -> list[Insn]:
        insns = decode(program.insns)
        for index, kind, name in program.relocations:
            if kind in (Relocation.SYMBOL, Relocation.WEAK_SYMBOL):
                _place(insns, index, self._symbol(name, kind, program))
                continue
            target = self.maps[name]
            address = target.handle.address
            if kind is Relocation.MAP_VALUE:
                if not isinstance(target, ArrayMap):
                    raise UnsupportedError(f"address of a value of {target.declared.type} map")
                address = target.values.address + insns[index + 1].imm
            _place(insns, index, address)
        for insn in insns:
            if insn.opcode == isa.LD_IMM64 and insn.src not in (0, Pseudo.FUNC):
                raise UnsupportedError(f"{program.name}: a pseudo load without a relocation")
        return insns

    def _symbol(self, name: str, kind: Relocation, program: Program) -> int:
        """Address of a kernel symbol: the traced function's own, or nothing's that can be read.

        There is no kernel here: a weak symbol is missing, unless it is a function for programs.
        """
        if program.target == name and self._call is not None:
            return self._call.func_ip
        if kind is Relocation.WEAK_SYMBOL and name not in _KFUNCS:
            return 0
        if name not in self._symbols:
            self._symbols[name] = _SYMBOLS + _SYMBOL_STEP * len(self._symbols)
        return self._symbols[name]

    def _helpers(self, kind: ProgKind) -> Mapping[int, Function]:
        table = dict(_HELPERS)
        if kind in _TRACING:
            table |= _TRACING_HELPERS
        if kind in (ProgKind.FENTRY, ProgKind.FENTRY_MULTI):
            table["bpf_get_func_ret"] = lambda host, arguments: -errno.EOPNOTSUPP
        return {HELPER_IDS[name]: self._bind(function) for name, function in table.items()}

    def helpers(self) -> Mapping[str, Function]:
        """By name, the helpers that need no map, no task and no traced function."""
        return {
            name: self._bind(function)
            for name, function in _HELPERS.items()
            if name not in _OF_THE_KERNEL
        }

    def _bind(self, function: Callable[[Host, Sequence[int]], int]) -> Function:
        return lambda arguments: function(self, arguments)

    def _kfunc(self, name: str, program: Program) -> Function:
        if name not in _KFUNCS:
            raise UnsupportedError(f"{program.name}: kernel function {name} is not interpreted")
        if program.kind not in (ProgKind.FSESSION, ProgKind.FSESSION_MULTI):
            raise InputError(f"{program.name}: only fsession programs may call {name}")
        return self._bind(_KFUNCS[name])

    def map(self, handle: int) -> HostMap:
        """The map that a program's map pointer means; `InputError` if it means none."""
        if handle not in self._by_handle:
            raise InputError(f"{handle:#x} is no map")
        return self._by_handle[handle]

    def _key(self, target: HostMap, address: int) -> bytes:
        return self.memory.read(address, target.declared.key_size)

    def _lookup(self, arguments: Sequence[int]) -> int:
        target = self.map(arguments[0])
        return target.lookup(self._key(target, arguments[1]))

    def _update(self, arguments: Sequence[int]) -> int:
        target = self.map(arguments[0])
        value = self.memory.read(arguments[2], target.declared.value_size)
        return target.update(self._key(target, arguments[1]), value, arguments[3])

    def _delete(self, arguments: Sequence[int]) -> int:
        target = self.map(arguments[0])
        return target.delete(self._key(target, arguments[1]))

    def _clock(self, arguments: Sequence[int]) -> int:
        self._now += CLOCK_STEP_NS
        return self._now

    def _prandom(self, arguments: Sequence[int]) -> int:
        return self._random.getrandbits(32)

    def _current_task(self, arguments: Sequence[int]) -> int:
        if self._task is None:
            raise UnsupportedError("the program asks for its task, but there is none")
        return self._task

    def note(self, text: str) -> None:
        """Remember something that happened and is easily overlooked."""
        self.notes[text] = None

    def print(self, text: str) -> int:
        """A line that a program prints; its length."""
        self.output.append(text)
        return len(text)

    def _traced(self, arguments: Sequence[int]) -> TracedCall:
        if self._call is None:
            raise UnsupportedError("the program asks for the traced function, but none is called")
        if arguments[0] != self._call.address:
            raise GuestFault(f"the call gets {arguments[0]:#x} in r1, which is not the context")
        return self._call

    def _func_ip(self, arguments: Sequence[int]) -> int:
        return self._traced(arguments).func_ip

    def _attach_cookie(self, arguments: Sequence[int]) -> int:
        return self._traced(arguments).attach_cookie

    def _arg_cnt(self, arguments: Sequence[int]) -> int:
        return self._traced(arguments).arguments

    def _func_arg(self, arguments: Sequence[int]) -> int:
        call = self._traced(arguments)
        if arguments[1] & 0xFFFFFFFF >= call.arguments:
            return -errno.EINVAL
        at = call.address + 8 * (arguments[1] & 0xFFFFFFFF)
        self.memory.store(arguments[2], 8, self.memory.load(at, 8))
        return 0

    def _func_ret(self, arguments: Sequence[int]) -> int:
        call = self._traced(arguments)
        value = self.memory.load(call.address + 8 * call.arguments, 8)
        self.memory.store(arguments[1], 8, value)
        return 0

    def _is_return(self, arguments: Sequence[int]) -> int:
        return int(self._traced(arguments).is_return)

    def _session_cookie(self, arguments: Sequence[int]) -> int:
        return self._traced(arguments).cookie.address


_HELPERS: dict[str, Callable[[Host, Sequence[int]], int]] = {
    "bpf_map_lookup_elem": Host._lookup,
    "bpf_map_update_elem": Host._update,
    "bpf_map_delete_elem": Host._delete,
    "bpf_ktime_get_ns": Host._clock,
    "bpf_ktime_get_boot_ns": Host._clock,
    "bpf_get_prandom_u32": Host._prandom,
    "bpf_get_smp_processor_id": lambda host, arguments: 0,
    "bpf_get_numa_node_id": lambda host, arguments: 0,
    "bpf_get_current_pid_tgid": lambda host, arguments: PID_TGID,
    "bpf_get_current_task": Host._current_task,
    "bpf_get_current_task_btf": Host._current_task,
    "bpf_get_current_uid_gid": lambda host, arguments: 0,
    **TEXT_HELPERS,
    **RING_HELPERS,
    **QUEUE_HELPERS,
    "bpf_spin_lock": lambda host, arguments: 0,
    "bpf_spin_unlock": lambda host, arguments: 0,
}

_OF_THE_KERNEL = (
    "bpf_map_lookup_elem",
    "bpf_map_update_elem",
    "bpf_map_delete_elem",
    "bpf_get_current_task",
    "bpf_get_current_task_btf",
    *RING_HELPERS,
    *QUEUE_HELPERS,
)
"""Helpers that need a map or a task of the interpreter's own."""

_TRACING_HELPERS: dict[str, Callable[[Host, Sequence[int]], int]] = {
    "bpf_get_func_ip": Host._func_ip,
    "bpf_get_attach_cookie": Host._attach_cookie,
    "bpf_get_func_arg_cnt": Host._arg_cnt,
    "bpf_get_func_arg": Host._func_arg,
    "bpf_get_func_ret": Host._func_ret,
}

_KFUNCS: dict[str, Callable[[Host, Sequence[int]], int]] = {
    "bpf_session_is_return": Host._is_return,
    "bpf_session_cookie": Host._session_cookie,
}
