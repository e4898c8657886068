"""A `vmlinux.h` made from a kernel's types: what C programs include to name them.

All named structs, unions, enumerations and typedefs are declared, each after what it contains,
and the functions that programs may call. Members lie where the compiler puts them, not where
the kernel does: accesses are CO-RE relocations.
"""

from __future__ import annotations

import re

from tramposim.bpf.btf import COMPOSITES, ENUMS, Btf, Kind
from tramposim.errors import InputError

__all__ = ["kernel_header"]

_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_INTEGER = re.compile(r"[A-Za-z_][\w ]*")
_MAX_DEPTH = 200
_MAX_STEPS = 3_000_000
"""Declarations that may be looked at; all types of a kernel take 300,000."""
_KSYM = '__attribute__((weak, section(".ksyms")))'
_SESSION = {
    "bpf_session_is_return": "_Bool bpf_session_is_return(void *ctx)",
    "bpf_session_cookie": "unsigned long long *bpf_session_cookie(void *ctx)",
}
"""Kernel functions whose prototype changed: the simulated kernels have this one."""
_QUALIFIERS = (Kind.VOLATILE, Kind.RESTRICT, Kind.TYPE_TAG)
_WORDS = {1: "unsigned char", 2: "unsigned short", 4: "unsigned int", 8: "unsigned long long"}


def kernel_header(btf: Btf) -> str:
    """The header's text. Raises `InputError` for types that C cannot say."""
    return _Writer(btf).text()


class _Writer:
    def __init__(self, btf: Btf) -> None:
        self.btf = btf
        self.lines: list[str] = []
        self.tags: dict[int, str] = {}
        self.ordinary: set[str] = set()
        self.begun: set[int] = set()
        self.steps = 0
        self._name_all()

    def text(self) -> str:
        push = "#pragma clang attribute push(__attribute__((preserve_access_index)), "
        for number in range(1, len(self.btf) + 1):
            self._constants(number)
        for number in range(1, len(self.btf) + 1):
            kind = self.btf.get(number).kind
            if kind == Kind.FWD or (kind in COMPOSITES and number in self.tags):
                self.lines.append(f"{self._base(number)};")
        for number in range(1, len(self.btf) + 1):
            self._define(number, 0)
        self._functions()
        return "\n".join(
            (
                "#ifndef __VMLINUX_H__\n#define __VMLINUX_H__",
                f"{push}apply_to = record)",
                *self.lines,
                "#pragma clang attribute pop\n#endif\n",
            )
        )

    def _name_all(self) -> None:
        """Tags of structs, unions and enumerations; later ones of a name get a number."""
        counts: dict[str, int] = {}
        for number in range(1, len(self.btf) + 1):
            found = self.btf.get(number)
            if found.kind not in (*COMPOSITES, *ENUMS) or not found.name:
                continue
            self._identifier(found.name)
            counts[found.name] = count = counts.get(found.name, 0) + 1
            self.tags[number] = found.name if count == 1 else f"{found.name}___{count}"

    def _identifier(self, name: str) -> str:
        if not _IDENTIFIER.fullmatch(name):
            raise InputError(f"a type is called {name!r}, which is no name in C", self.btf.where)
        return name

    def _constants(self, number: int) -> None:
        """An enumeration; constants whose names are taken are left out."""
        found = self.btf.get(number)
        if found.kind not in ENUMS:
            return
        constants = []
        for constant in self.btf.enumerators(found):
            if constant.name in self.ordinary:
                continue
            self.ordinary.add(self._identifier(constant.name))
            suffix = "ULL" if constant.value >= 1 << 63 else "LL" if found.value == 8 else ""
            constants.append(f"{constant.name} = {constant.value}{suffix}")
        tag = self.tags.get(number, "")
        if not constants:
            constants = [f"__{tag or 'enum'}_{number}_has_no_constants"]
        self.lines.append(f"enum {tag} {{ {', '.join(constants)} }};")

    def _define(self, number: int, depth: int) -> None:
        """Write a named struct, union or typedef, after what it needs."""
        found = self.btf.get(number)
        named = number in self.tags and found.kind in COMPOSITES
        if number in self.begun or not (named or found.kind == Kind.TYPEDEF):
            return
        self.begun.add(number)
        if named:
            for member in self.btf.members(found):
                self._need(member.type, True, depth + 1)
            self.lines.append(f"{self._base(number)} {self._body(number, 0)};")
            return
        name = self._identifier(found.name)
        if name.startswith("__builtin_") or name in self.ordinary:
            return
        self.ordinary.add(name)
        self._need(found.value, False, depth + 1)
        self.lines.append(f"typedef {self._declared(found.value, name, 0)};")

    def _need(self, number: int, complete: bool, depth: int) -> None:
        """Define what a declaration of this type needs, all of it if `complete`."""
        self._count(depth)
        if number == 0:
            return
        found = self.btf.get(number)
        if found.kind in (*_QUALIFIERS, Kind.CONST):
            self._need(found.value, complete, depth + 1)
        elif found.kind == Kind.PTR:
            self._need(found.value, False, depth + 1)
        elif found.kind == Kind.ARRAY:
            self._need(self.btf.array(found)[0], True, depth + 1)
        elif found.kind == Kind.FUNC_PROTO:
            for _, parameter in self.btf.parameters(found):
                self._need(parameter, False, depth + 1)
            self._need(found.value, False, depth + 1)
        elif found.kind == Kind.TYPEDEF:
            self._define(number, depth + 1)
            if complete:
                self._need(found.value, True, depth + 1)
        elif found.kind in COMPOSITES and not found.name:
            for member in self.btf.members(found):
                self._need(member.type, True, depth + 1)
        elif found.kind in COMPOSITES and complete:
            self._define(number, depth + 1)

    def _count(self, depth: int) -> None:
        """Bound the work: types of a few bytes can describe more text than memory holds."""
        self.steps += 1
        if depth > _MAX_DEPTH or self.steps > _MAX_STEPS:
            raise InputError("types nest too deeply", self.btf.where)

    def _base(self, number: int) -> str:
        """The words that name a type which is no pointer, array or function."""
        found = self.btf.get(number)
        if found.kind in COMPOSITES:
            word = "struct" if found.kind == Kind.STRUCT else "union"
            return f"{word} {self.tags.get(number, '')}".strip()
        if found.kind in ENUMS:
            return f"enum {self.tags[number]}" if found.name else _WORDS.get(found.value, "int")
        if found.kind == Kind.FWD:
            return f"{'union' if found.flag else 'struct'} {self._identifier(found.name)}"
        if found.kind == Kind.TYPEDEF:
            return self._identifier(found.name)
        if found.kind in (Kind.INT, Kind.FLOAT) and _INTEGER.fullmatch(found.name):
            return found.name
        raise InputError(f"BTF type {number} in a declaration", self.btf.where)

    def _body(self, number: int, depth: int) -> str:
        members = []
        for member in self.btf.members(self.btf.get(number)):
            name = self._identifier(member.name) if member.name else ""
            bits = f" : {member.bits}" if member.bits else ""
            members.append(f"{self._declared(member.type, name, depth + 1)}{bits};")
        return f"{{ {' '.join(members)} }}"

    def _declared(self, number: int, name: str, depth: int) -> str:
        """The declaration of `name` with this type."""
        self._count(depth)
        if number == 0:
            return f"void {name}".rstrip()
        found = self.btf.get(number)
        if found.kind in _QUALIFIERS:
            return self._declared(found.value, name, depth + 1)
        if found.kind == Kind.CONST:
            text = self._declared(found.value, name, depth + 1)
            target = found.value and self.btf.get(found.value).kind
            return text if target in (Kind.PTR, Kind.ARRAY) else f"const {text}"
        if found.kind == Kind.PTR:
            target = self._kind_behind(found.value)
            inner = f"(*{name})" if target in (Kind.ARRAY, Kind.FUNC_PROTO) else f"*{name}"
            return self._declared(found.value, inner, depth + 1)
        if found.kind == Kind.ARRAY:
            element, count = self.btf.array(found)
            return self._declared(element, f"{name}[{count}]", depth + 1)
        if found.kind == Kind.FUNC_PROTO:
            parameters = [p for _, p in self.btf.parameters(found)]
            words = [self._declared(p, "", depth + 1) if p else "..." for p in parameters]
            # A function that takes anything but nothing known cannot be said in C.
            arguments = ", ".join(words) if words and words != ["..."] else "void"
            return self._declared(found.value, f"{name}({arguments})", depth + 1)
        if found.kind in COMPOSITES and not found.name:
            return f"{self._base(number)} {self._body(number, depth)} {name}".rstrip()
        return f"{self._base(number)} {name}".rstrip()

    def _kind_behind(self, number: int) -> int:
        """Kind of the type behind qualifiers, typedefs kept."""
        for _ in range(_MAX_DEPTH):
            if number == 0:
                return Kind.VOID
            found = self.btf.get(number)
            if found.kind not in (*_QUALIFIERS, Kind.CONST):
                return found.kind
            number = found.value
        return Kind.VOID

    def _functions(self) -> None:
        """Functions that programs may call (tagged `bpf_kfunc`)."""
        declared = dict(_SESSION)
        for tag in self.btf.ids("bpf_kfunc", Kind.DECL_TAG):
            found = self.btf.get(self.btf.get(tag).value)
            if found.kind == Kind.FUNC and found.name not in declared | _SESSION:
                self._need(found.value, False, 0)
                name = self._identifier(found.name)
                declared[name] = self._declared(found.value, name, 0)
        self.lines += [
            f"extern {text} {_KSYM};"
            for name, text in declared.items()
            if name not in self.ordinary
        ]
