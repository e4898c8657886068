"""Assembler for eBPF in the text syntax that the kernel, bpftool and llvm-objdump print.

One instruction a line::

    r1 = 5                      w1 = 5                    r1 = 0x1122334455667788 ll
    r1 += r2                    w1 s/= w2                 r1 = -r1
    r1 = (s8)r2                 r1 = be16 r1              r1 = bswap64 r1
    r1 = *(u64 *)(r2 + 8)       r1 = *(s8 *)(r2 + 0)      *(u32 *)(r10 - 4) = r1
    *(u8 *)(r1 + 0) = 7         lock *(u64 *)(r1 + 0) += r2
    r2 = atomic64_fetch_add((u64 *)(r1 + 0), r2)          r2 = xchg_64(r1 + 0, r2)
    r0 = atomic64_cmpxchg((u64 *)(r1 + 0), r0, r2)        r1 = load_acquire((u32 *)(r2 + 0))
    store_release((u32 *)(r1 + 0), r2)                    r0 = *(u16 *)skb[14]
    if r1 s> 7 goto out         goto out     gotol out    may_goto out     exit
    call bpf_ktime_get_ns       call 5       call subprogram    call bpf_session_cookie
    callx r3                    gotox r3     tail_call 0        nospec
    r1 = map[counts] ll         r1 = map[counts][0] + 8 ll      r1 = &subprogram ll
    r1 = addr_space_cast(r2, 0, 1)           r1 = &(void __percpu *)(r2)

`w` registers select 32-bit operations. Jump targets are labels (`out:`) or relative
instruction counts (`goto +3`, `goto pc+3`). `;`, `//` and `#` start comments. The index,
opcode and bytes that dumps put before an instruction are skipped (`12: (bf) r1 = r2`).
What only dumps have is read, too: `map[id:5] ll`, `btf[id:7] ll`, `&pc+3 ll`, `call kfunc#9`,
loads and stores through `(u8 * probe)` and `(u8 * arena)`, and reserved fields that are not
zero, behind the instruction: `w0 = w0 {imm=1}`.
A called name is a helper, else a label of the program, else a kernel function (kfunc).

Directives::

    .map NAME TYPE key=BYTES value=BYTES entries=COUNT
    .section KIND[.s][/TARGET]

A map belongs to the file; a section starts a program, whose kind is its first word
(`fentry`, `fexit`, `fmod_ret`, `fsession`, ..., with `.s`: sleepable). A label at its first
instruction names it. Without a section the file is one program of kind `socket`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tramposim.bpf import insn as isa
from tramposim.bpf.insn import Insn, Pseudo, encode, load_imm64
from tramposim.bpf.statements import Statements
from tramposim.bpf.syntax import Cursor, tokenize
from tramposim.errors import InputError
from tramposim.spec import Map, MapType, ProgKind, Program, Relocation

__all__ = ["assemble"]

_SECTION_KINDS = {kind.value: kind for kind in ProgKind} | {
    "fentry.multi": ProgKind.FENTRY_MULTI,
    "fexit.multi": ProgKind.FEXIT_MULTI,
    "fsession.multi": ProgKind.FSESSION_MULTI,
}
_DUMP_PREFIX = re.compile(r"\s*\d+:\s*(?:\([0-9a-f]{2}\)\s|(?:[0-9a-f]{2}\s+){8,16})?")
_MAX_INSNS = 1_000_000


@dataclass(slots=True)
class _Section:
    """A program being assembled: slots, names to resolve, and where each was written."""

    kind: ProgKind = ProgKind.SOCKET
    sleepable: bool = False
    target: str = ""
    slots: list[Insn] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    jumps: list[tuple[int, str, str]] = field(default_factory=list)
    calls: list[tuple[int, str, str]] = field(default_factory=list)
    relocations: list[tuple[int, Relocation, str]] = field(default_factory=list)


def assemble(text: str, file: str = "<text>") -> tuple[Program, ...]:
    """Assemble a source text into its programs, in the order of their sections.

    `file` names the source in errors. Raises `InputError` (`file:line:column: what`).
    """
    assembler = _Assembler(file)
    for number, line in enumerate(text.splitlines(), 1):
        prefix = _DUMP_PREFIX.match(line)
        if prefix:
            line = " " * prefix.end() + line[prefix.end() :]
        assembler.line(Cursor(tokenize(line, file, number), file, number))
    return assembler.finish()


class _Assembler:
    def __init__(self, file: str) -> None:
        self._file = file
        self._maps: dict[str, Map] = {}
        self._sections: list[_Section] = []
        self._statements = Statements(self)

    @property
    def slots(self) -> list[Insn]:
        """Instructions of the current section."""
        return self._section.slots

    @property
    def _section(self) -> _Section:
        if not self._sections:
            self._sections.append(_Section())
        return self._sections[-1]

    def line(self, at: Cursor) -> None:
        """Assemble one line: a directive, labels, an instruction, or nothing."""
        while at.token.kind == "word" and at.peek().text == ":":
            self._label(at)
        if at.token.kind == "end":
            return
        if at.token.text == ".map":
            self._map(at)
        elif at.token.text == ".section":
            self._start_section(at)
        elif at.token.text.startswith("."):
            at.fail(f"unknown directive {at.token.text!r}; known are .map and .section")
        else:
            self._statements.parse(at)
            if len(self._section.slots) > _MAX_INSNS:
                at.fail(f"more than {_MAX_INSNS:,} instructions")
        at.end()

    def _label(self, at: Cursor) -> None:
        name = at.take()
        at.take()
        if name.text in self._section.labels:
            at.fail(f"label {name.text!r} is defined twice", name)
        self._section.labels[name.text] = len(self._section.slots)

    def _map(self, at: Cursor) -> None:
        at.take()
        name = at.word("a map name")
        kind = at.word("a map type")
        if kind.text not in set(MapType):
            at.fail(f"unknown map type {kind.text!r}; known are {', '.join(MapType)}", kind)
        sizes = {"key": 0, "value": 0, "entries": 0}
        while at.token.kind != "end":
            key = at.word("key=, value= or entries=")
            if key.text not in sizes:
                at.fail(f"unknown property {key.text!r}; known are key, value, entries", key)
            at.expect("=")
            place = at.token
            sizes[key.text] = at.integer("a number")
            if not 0 <= sizes[key.text] < 1 << 31:
                at.fail(f"{key.text} must be below 2**31", place)
        if sizes["entries"] == 0:
            at.fail("entries= is missing or 0")
        if name.text in self._maps:
            at.fail(f"map {name.text!r} is declared twice", name)
        self._maps[name.text] = Map(
            name.text, MapType(kind.text), sizes["key"], sizes["value"], sizes["entries"]
        )

    def _start_section(self, at: Cursor) -> None:
        at.take()
        name = at.word("a section name such as fsession/bpf_fentry_test1")
        kind, _, target = name.text.partition("/")
        sleepable = kind.endswith(".s")
        kind = kind.removesuffix(".s").removeprefix("?")
        if kind not in _SECTION_KINDS:
            at.fail(f"unknown section kind {kind!r}; known are {', '.join(_SECTION_KINDS)}", name)
        self._sections.append(_Section(_SECTION_KINDS[kind], sleepable, target))

    def jumps_to(self, label: str, place: str) -> None:
        """The next slot jumps to a label."""
        self._section.jumps.append((len(self.slots), label, place))

    def refers_to(self, name: str, place: str) -> None:
        """The next slot calls, or loads the address of, a named function."""
        self._section.calls.append((len(self.slots), name, place))

    def loads_map(self, at: Cursor, dst: int) -> None:
        """Parse a named map load, whose `map[` has been read, and emit it."""
        name = at.word("a map name")
        if name.text not in self._maps:
            at.fail(f"map {name.text!r} is not declared; declare it with .map", name)
        at.expect("]")
        kind, value = Relocation.MAP, 0
        if at.accept("[", "0", "]"):
            kind = Relocation.MAP_VALUE
            if at.token.text == "+":
                token = at.token
                value = at.integer("an offset into the value")
                if value > self._maps[name.text].value_size:
                    at.fail(f"offset {value} lies outside the value of {name.text}", token)
        at.accept("ll")
        self._section.relocations.append((len(self.slots), kind, name.text))
        pseudo = Pseudo.MAP_FD if kind is Relocation.MAP else Pseudo.MAP_VALUE
        self._section.slots += load_imm64(dst, pseudo, value << 32)

    def finish(self) -> tuple[Program, ...]:
        """Resolve names and make the programs."""
        if not any(section.slots for section in self._sections):
            raise InputError("no instructions", self._file)
        return tuple(self._program(section) for section in self._sections if section.slots)

    def _program(self, section: _Section) -> Program:
        for index, label, place in section.jumps:
            if label not in section.labels:
                raise InputError(f"label {label!r} is not defined", place)
            distance = section.labels[label] - index - 1
            old = section.slots[index]
            if old.cls == isa.JMP32 and old.op == isa.JA:
                section.slots[index] = Insn(old.opcode, imm=distance)
            elif -(1 << 15) <= distance < 1 << 15:
                section.slots[index] = Insn(old.opcode, old.dst, old.src, distance, old.imm)
            else:
                raise InputError(f"{label!r} is {distance} instructions away; use gotol", place)
        kfuncs = []
        for index, name, place in section.calls:
            old = section.slots[index]
            if name in section.labels:
                distance = section.labels[name] - index - 1
                src = Pseudo.CALL if old.cls == isa.JMP else Pseudo.FUNC
                section.slots[index] = Insn(old.opcode, old.dst, src, 0, distance)
            elif old.cls == isa.JMP:
                section.slots[index] = Insn(old.opcode, 0, Pseudo.KFUNC)
                kfuncs.append((index, name))
            else:
                raise InputError(f"label {name!r} is not defined", place)
        used = dict.fromkeys(name for _, _, name in section.relocations)
        names = [label for label, index in section.labels.items() if index == 0]
        return Program(
            name=names[0] if names else section.kind.value,
            kind=section.kind,
            insns=encode(section.slots),
            maps=tuple(self._maps[name] for name in used),
            relocations=tuple(section.relocations),
            kfuncs=tuple(kfuncs),
            sleepable=section.sleepable,
            target=section.target,
        )
