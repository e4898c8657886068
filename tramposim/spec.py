"""Frozen value types shared by all packages: what is traced, by what, on which kernel.

They carry no behaviour beyond checking themselves; building, executing and timing what
they describe is the work of the packages.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntFlag, StrEnum

from tramposim.errors import InputError

__all__ = [
    "MAX_ARGUMENTS",
    "TRACING_KINDS",
    "Arch",
    "Attachment",
    "Entry",
    "Kernel",
    "Map",
    "MapFlag",
    "MapType",
    "ProgKind",
    "Program",
    "Prototype",
    "Relocation",
    "Returns",
    "Scalar",
    "Value",
]

MAX_ARGUMENTS = 12
"""Most arguments of a traced function (kernel: MAX_BPF_FUNC_ARGS)."""


class Arch(StrEnum):
    """Architectures whose trampolines are built and executed."""

    X86_64 = "x86_64"
    ARM64 = "arm64"


class ProgKind(StrEnum):
    """How a program is attached (the kernel's expected_attach_type, or program type)."""

    FENTRY = "fentry"
    FEXIT = "fexit"
    FMOD_RET = "fmod_ret"
    FSESSION = "fsession"
    FENTRY_MULTI = "fentry.multi"
    FEXIT_MULTI = "fexit.multi"
    FSESSION_MULTI = "fsession.multi"
    LSM = "lsm"
    STRUCT_OPS = "struct_ops"
    SOCKET = "socket"
    TC = "tc"
    XDP = "xdp"


TRACING_KINDS = (
    ProgKind.FENTRY,
    ProgKind.FEXIT,
    ProgKind.FMOD_RET,
    ProgKind.FSESSION,
    ProgKind.FENTRY_MULTI,
    ProgKind.FEXIT_MULTI,
    ProgKind.FSESSION_MULTI,
)
"""Kinds of programs of type BPF_PROG_TYPE_TRACING that trampolines call."""


class Entry(StrEnum):
    """How the traced function's patched entry reaches the image.

    x86_64: `jmp` (6.19 and later, for images that call the original) or `call`.
    arm64: `bl` straight to the image, or `ftrace` through ftrace_caller when the image is
    out of branch range (always, on the kernels captured).
    """

    CALL = "call"
    JMP = "jmp"
    BL = "bl"
    FTRACE = "ftrace"


class Returns(StrEnum):
    """What x86_64 mitigations turn a `ret` into (kernel variable x86_return_thunk)."""

    PLAIN = "plain"
    UNTRAINED = "untrained"
    SRSO = "srso"
    SRSO_ALIAS = "srso-alias"
    ITS = "its"
    STUFFING = "stuffing"


class MapType(StrEnum):
    """Map types that a program may use (enum bpf_map_type, without its prefix)."""

    HASH = "hash"
    ARRAY = "array"
    PROG_ARRAY = "prog_array"
    PERF_EVENT_ARRAY = "perf_event_array"
    PERCPU_HASH = "percpu_hash"
    PERCPU_ARRAY = "percpu_array"
    STACK_TRACE = "stack_trace"
    LRU_HASH = "lru_hash"
    LRU_PERCPU_HASH = "lru_percpu_hash"
    QUEUE = "queue"
    STACK = "stack"
    RINGBUF = "ringbuf"


@dataclass(frozen=True, slots=True)
class Value:
    """One argument or the return value of a traced function (an entry of btf_func_model).

    `size` in bytes (1 to 16); `signed` and `struct` are BTF_FMODEL_SIGNED_ARG and
    BTF_FMODEL_STRUCT_ARG.
    """

    size: int
    signed: bool = False
    struct: bool = False

    @property
    def slots(self) -> int:
        """8-byte slots that the value takes in the program's context."""
        return (self.size + 7) // 8


@dataclass(frozen=True, slots=True)
class Prototype:
    """A traced function: its name, arguments and return value (None if void)."""

    name: str
    arguments: tuple[Value, ...] = ()
    returns: Value | None = None

    def __post_init__(self) -> None:
        if len(self.arguments) > MAX_ARGUMENTS:
            raise InputError(
                f"{self.name}: {len(self.arguments)} arguments; "
                f"the kernel traces at most {MAX_ARGUMENTS}"
            )
        for value in (*self.arguments, *((self.returns,) if self.returns else ())):
            if not 1 <= value.size <= 16:
                raise InputError(
                    f"{self.name}: a value of {value.size} bytes; 1 to 16 can be passed"
                )

    @property
    def slots(self) -> int:
        """Argument slots in the program's context (struct arguments take up to two)."""
        return sum(argument.slots for argument in self.arguments)


class MapFlag(IntFlag):
    """Flags of a map's creation (BPF_F_..., the kernel's numbers)."""

    NO_PREALLOC = 1 << 0
    NUMA_NODE = 1 << 2
    RDONLY = 1 << 3
    WRONLY = 1 << 4
    RDONLY_PROG = 1 << 7
    WRONLY_PROG = 1 << 8
    MMAPABLE = 1 << 10


@dataclass(frozen=True, slots=True)
class Scalar:
    """A named part of a key, a value or global data: `count` numbers of `size` bytes each at
    byte `offset`, or a text of `size` bytes."""

    name: str
    offset: int
    size: int
    count: int = 1
    signed: bool = False
    hexadecimal: bool = False
    text: bool = False


@dataclass(frozen=True, slots=True)
class Map:
    """A BPF map as a program declares it; sizes in bytes.

    `content` are the first bytes of an array's values before anything runs, `flags` the
    `MapFlag`s that it is created with. `key_parts` and `value_parts` say what keys and values
    are made of, where that is known; maps do not differ by them.
    """

    name: str
    type: MapType
    key_size: int
    value_size: int
    max_entries: int
    content: bytes = b""
    flags: int = 0
    key_parts: tuple[Scalar, ...] = field(default=(), compare=False)
    value_parts: tuple[Scalar, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if self.content and self.type is not MapType.ARRAY:
            raise InputError(f"map {self.name}: initial content in a map of type {self.type}")
        if len(self.content) > self.value_size * self.max_entries:
            raise InputError(f"map {self.name}: {len(self.content)} bytes of initial content")


class Relocation(Enum):
    """What a 64-bit immediate load of a program stands for before it is loaded."""

    MAP = "m"
    """The map itself (BPF_PSEUDO_MAP_FD)."""
    MAP_VALUE = "v"
    """An address inside the map's value 0 (BPF_PSEUDO_MAP_VALUE)."""
    SYMBOL = "k"
    """The address of a kernel symbol (a variable or function in `.ksyms`)."""
    WEAK_SYMBOL = "w"
    """The same, or 0 in a kernel without it."""


@dataclass(frozen=True, slots=True)
class Program:
    """A BPF program as given to BPF_PROG_LOAD, before the verifier rewrites it.

    `insns` are 8-byte eBPF instructions with helper ids in calls; `relocations` are
    (instruction index, kind, map or symbol name); `kfuncs` are (instruction index, kfunc
    name). `target` is the function that its section name asks to attach to, if it names one.
    `lines` are (instruction index, `file:LINE: source text`), ascending: where the code that
    begins there comes from.
    """

    name: str
    kind: ProgKind
    insns: bytes
    maps: tuple[Map, ...] = ()
    relocations: tuple[tuple[int, Relocation, str], ...] = ()
    kfuncs: tuple[tuple[int, str], ...] = ()
    sleepable: bool = False
    target: str = ""
    lines: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Attachment:
    """A link: one program on the traced function, with the link's BPF cookie."""

    program: Program
    cookie: int = 0


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel as booted: version and the knobs that change machine code.

    `entry` None means as that version enters. `smp`: booted on several CPUs, so that x86_64
    keeps the `lock` prefixes of its own atomics (captured kernels had one CPU); calls still run
    on one. Knobs of the other architecture are ignored.
    """

    arch: Arch
    version: str = "7.2"
    entry: Entry | None = None
    returns: Returns = Returns.PLAIN
    retpoline: bool = True
    ibt: bool = True
    bti: bool = False
    pac: bool = True
    lse: bool = True
    stats: bool = False
    smp: bool = False
