"""Core descriptions: typed data read from `cores/*.toml`, every number with its source."""

from __future__ import annotations

from importlib import resources
from typing import Literal

import msgspec

from tramposim.errors import InputError
from tramposim.spec import Arch
from tramposim.timing.corechecks import check_core

__all__ = [
    "Accuracy",
    "Choice",
    "ClassData",
    "Core",
    "Parameter",
    "Pool",
    "core_names",
    "load_core",
    "parse_core",
]

Confidence = Literal["measured", "high", "medium", "low"]


class Parameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A number of a core with the key of its source and how far it can be trusted."""

    value: int | bool
    source: str
    confidence: Confidence


class FrontEnd(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Fetch, decode and the uop cache (zero `uop_cache_width`: the core has none).

    The first `decode_complex` decoders take instructions of several uops; `decode_conditional`:
    only they take conditional moves and setcc.
    """

    fetch_bytes: Parameter
    decode_width: Parameter
    decode_complex: Parameter
    decode_conditional: Parameter
    decode_cross_width: Parameter
    predecode_width: Parameter
    lcp_stall: Parameter
    uop_cache_window: Parameter
    uop_cache_span: Parameter
    uop_cache_width: Parameter
    queue_uops: Parameter


class Branches(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Branch prediction; bubbles and redirects in cycles.

    A core with fewer than three levels of BTB has no `last_btb_entries`. Densities are branches
    per 32 bytes of code: with more than `fast_btb_density` of them the fast level knows none,
    the main one knows the first `main_btb_density`; decode finds the others (`crowded_bubble`),
    their indirect targets only execution. `fast_btb_paths`: ways into one branch, by the three
    taken branches before it, that the fast level tells apart (0: it does not need to).
    `call_bubble`: least bubbles of a call or a return; `indirect_bubble`: of a target from the
    table of indirect targets. `return_stack_wraps`: an empty return stack predicts what it held
    before, else the return's last target is predicted. Redirects are from the execution of the
    branch to the rename of what follows it; delivery resumes after `redirect_conditional` of any.
    """

    fast_btb_entries: Parameter
    fast_btb_bubble: Parameter
    fast_btb_density: Parameter
    main_btb_entries: Parameter
    main_btb_bubble: Parameter
    main_btb_density: Parameter
    last_btb_entries: Parameter
    last_btb_bubble: Parameter
    fast_btb_relock: Parameter
    fast_btb_paths: Parameter
    call_bubble: Parameter
    indirect_bubble: Parameter
    crowded_bubble: Parameter
    thunk_return_bubble: Parameter
    return_stack: Parameter
    return_stack_wraps: Parameter
    redirect_conditional: Parameter
    redirect_indirect: Parameter
    redirect_return: Parameter


class Rename(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rename, reorder buffer and retirement; what rename executes by itself.

    `stack_sync_slots`: uops, a cycle's work each, that add the stack engine's offset to the stack
    pointer before an instruction names it explicitly; `stack_sync_reads`: also one that only reads
    it.
    """

    rename_width: Parameter
    rob: Parameter
    retire_width: Parameter
    eliminate_moves: Parameter
    eliminate_extensions: Parameter
    zero_idioms: Parameter
    fold_immediates: Parameter
    folded_source_wait: Parameter
    macro_fusion: Parameter
    micro_fusion: Parameter
    unlaminate_indexed: Parameter
    stack_engine: Parameter
    stack_sync_slots: Parameter
    stack_sync_reads: Parameter


class Memory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Load/store unit and first-level cache; latencies in cycles.

    `forward_latency`: of a load that a store feeds; `forward_block`: of one that waits for a
    store and cannot be fed. `forward_halves`: loads of at least so many bytes take each half
    from one store or the cache, and stores feed loads that begin at their start or middle; 0: a
    store feeds any load inside it, but none that needs other bytes too. `forward_commit`: of a
    load for whose bytes several stores under way are needed, from the commit of the last;
    `alias_wait`: what a load takes longer for a store under way to the same bytes of another
    4 KiB page (0: the core compares more of the address).
    `store_commit_lines`: whether stores that commit in one cycle may go to different lines.
    `store_drain`: from a store's retirement until a locked operation behind it can begin;
    `lock_hold`: from its begin until loads behind it can issue, if `lock_orders_loads`.
    `same_bank_load_ports`: loads that one cycle can start of the same bank, four bytes of a line.
    `rename_memory_density`: most loads that are renamed in 32 bytes of code. Where the core renames
    memory: `rename_memory_least` bytes a load must have for it, and not two, or, with
    `rename_memory_modified`, any number if the instruction writes them too;
    `rename_memory_segment`: also loads relative to a segment base, `rename_memory_forms`: also
    those with an index, relative to rip, that extend a sign, of a conditional move or of an
    operation with a register on memory.
    """

    load_buffer: Parameter
    store_buffer: Parameter
    store_commit_width: Parameter
    store_commit_lines: Parameter
    l1_latency: Parameter
    forward_latency: Parameter
    forward_block: Parameter
    forward_wait: Parameter
    forward_halves: Parameter
    forward_commit: Parameter
    alias_wait: Parameter
    store_drain: Parameter
    lock_hold: Parameter
    lock_orders_loads: Parameter
    rename_memory: Parameter
    rename_memory_latency: Parameter
    rename_memory_density: Parameter
    rename_memory_least: Parameter
    rename_memory_segment: Parameter
    rename_memory_modified: Parameter
    rename_memory_forms: Parameter
    same_bank_load_ports: Parameter


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A property of a core that is a word, with the key of its source."""

    value: Literal["lru", "tree-plru"]
    source: str
    confidence: Confidence

    @property
    def number(self) -> int:
        """The word as `Policy` of `_native/caches.pxd` numbers it."""
        return ("lru", "tree-plru").index(self.value)


class Caches(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Caches of 64-byte lines; latencies in core cycles from a load's address to its use.

    `remote_latency`: the line is modified in another CPU's cache. `code_next_line`: lines that
    an instruction fetch asks for beyond its own. `l2_pair_prefetch`: an L2 miss also fetches the
    other line of its pair of 128 bytes. `uop_cache_entries` windows of code.
    """

    code_l1_kib: Parameter
    code_l1_ways: Parameter
    data_l1_kib: Parameter
    data_l1_ways: Parameter
    l1_policy: Choice
    l2_kib: Parameter
    l2_ways: Parameter
    l2_policy: Choice
    l3_kib: Parameter
    l3_ways: Parameter
    l3_policy: Choice
    l2_latency: Parameter
    l3_latency: Parameter
    memory_latency: Parameter
    remote_latency: Parameter
    data_fill_buffers: Parameter
    code_fill_buffers: Parameter
    code_next_line: Parameter
    l2_pair_prefetch: Parameter
    uop_cache_entries: Parameter
    uop_cache_ways: Parameter


class Tlbs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Translation: TLB entries for small (4 KB), large (2 MB) and huge (1 GB) pages, walks.

    No entries for a size: such pages share the next smaller structure. `stlb_latency` and
    `walk_latency` are cycles that a second-level hit and a walk take besides the walk's reads,
    which begin at cache level `walk_level`. `directory_cache_entries` and
    `upper_cache_entries` keep upper levels of the page table, by 2 MB and by 1 GB.
    """

    itlb_small_entries: Parameter
    itlb_small_ways: Parameter
    itlb_large_entries: Parameter
    itlb_large_ways: Parameter
    dtlb_small_entries: Parameter
    dtlb_small_ways: Parameter
    dtlb_large_entries: Parameter
    dtlb_large_ways: Parameter
    dtlb_huge_entries: Parameter
    dtlb_huge_ways: Parameter
    stlb_entries: Parameter
    stlb_ways: Parameter
    stlb_huge_entries: Parameter
    stlb_huge_ways: Parameter
    stlb_latency: Parameter
    walkers: Parameter
    walk_level: Parameter
    walk_latency: Parameter
    table_levels: Parameter
    directory_cache_entries: Parameter
    upper_cache_entries: Parameter


class Fetch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Fetch ahead of delivery.

    `fetch_queue` lines the predictor can be ahead; `decode_resteer` cycles lost when decode
    finds a branch that no BTB knew; `uop_cache_switch` when delivery goes from the uop cache
    to the decoders; `decode_taken_bubble` more at a taken branch while the decoders deliver
    what the uop cache could not.
    """

    fetch_queue: Parameter
    decode_resteer: Parameter
    uop_cache_switch: Parameter
    decode_taken_bubble: Parameter


class Unrolling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A loop of at most `uops` is `copies` times in the loop buffer."""

    copies: int
    uops: int
    source: str
    confidence: Confidence


class LoopBuffer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Loops that stay in the uop queue (`_native/loopbuffer.pyx`).

    `uops` of the largest one (0: the core has no such buffer, or has it switched off);
    `unrolled` are the sizes up to which it holds a loop more than once.
    """

    uops: Parameter
    unrolled: tuple[Unrolling, ...] = ()


class Pool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A scheduler: the ports that it feeds and its entries."""

    ports: str
    entries: Parameter


class ClassData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one class of uops executes.

    `ports` are names separated by blanks; `latency` cycles from start to result (0 for loads:
    the cache's); `occupancy` cycles in which the unit of its port, which is not pipelined, takes
    no other such uop; `uops` in all, those after the first on the ports `extra`; `eliminated`
    moves happen at rename.
    """

    ports: str
    latency: int
    source: str
    confidence: Confidence
    uops: int = 1
    extra: str = ""
    occupancy: int = 1
    eliminated: bool = False


class Ports(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names of the execution ports."""

    names: tuple[str, ...]


class Accuracy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far the model was from hardware: mean of the absolute errors over `rows` rows."""

    mean_percent: float
    rows: int
    data: str


class Core(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A core description, as its file holds it.

    `hosts` are the CPUs that have this core: "VENDOR FAMILY MODEL" of cpuid in decimal (x86_64)
    or "IMPLEMENTER PART" of MIDR in hexadecimal (arm64), as /proc/cpuinfo shows them.
    """

    name: str
    arch: Arch
    title: str
    clock_ghz: float
    sources: dict[str, str]
    front_end: FrontEnd
    branches: Branches
    rename: Rename
    memory: Memory
    caches: Caches
    tlbs: Tlbs
    fetch: Fetch
    loop_buffer: LoopBuffer
    ports: Ports
    pools: dict[str, Pool]
    classes: dict[str, ClassData]
    accuracy: dict[str, Accuracy] = {}
    hosts: tuple[str, ...] = ()

    def parameters(self) -> list[tuple[str, str, Parameter | Choice]]:
        """All parameters with a source as (section, name, parameter)."""
        found: list[tuple[str, str, Parameter | Choice]] = []
        for section in _SECTIONS:
            group = getattr(self, section)
            found += [(section, name, getattr(group, name)) for name in group.__struct_fields__]
        loop = self.loop_buffer
        found.append(("loop_buffer", "loop_buffer_uops", loop.uops))
        for one in loop.unrolled:
            largest = Parameter(one.uops, one.source, one.confidence)
            found.append(("loop_buffer", f"loop_held_{one.copies}_times_uops", largest))
        found += [("pools", name, pool.entries) for name, pool in self.pools.items()]
        return found

    @property
    def error(self) -> str:
        """The measured error in words, or "uncalibrated" if this core was never compared."""
        if not self.accuracy:
            return "uncalibrated"
        return ", ".join(
            f"{what} {entry.mean_percent:.1f} % (mean of {entry.rows})"
            for what, entry in self.accuracy.items()
        )

    def port_mask(self, names: str) -> int:
        """Bit mask of blank-separated port names; raises `InputError` for an unknown one."""
        mask = 0
        for name in names.split():
            if name not in self.ports.names:
                raise InputError(f"port {name!r} is not among the ports of core {self.name}")
            mask |= 1 << self.ports.names.index(name)
        return mask


_SECTIONS = ("front_end", "branches", "rename", "memory", "caches", "tlbs", "fetch")


def parse_core(text: bytes | str, where: str) -> Core:
    """A core description from the text of its file; raises `InputError` naming the place."""
    try:
        core = msgspec.toml.decode(text, type=Core)
    except msgspec.MsgspecError as error:
        raise InputError(str(error), where) from error
    try:
        check_core(core)
    except InputError as error:
        raise InputError(str(error), where) from error
    return core


def core_names() -> tuple[str, ...]:
    """Names of the cores that are shipped, sorted."""
    files = resources.files("tramposim.timing.cores").iterdir()
    return tuple(sorted(f.name[:-5] for f in files if f.name.endswith(".toml")))


def load_core(name: str) -> Core:
    """The core description `name`; raises `InputError` listing the known ones."""
    if name not in core_names():
        raise InputError(f"unknown core {name!r}; known: {', '.join(core_names())}")
    file = resources.files("tramposim.timing.cores") / f"{name}.toml"
    return parse_core(file.read_bytes(), f"cores/{name}.toml")
