"""C prototypes of traced functions, as a kernel header writes them, to `Prototype`.

Only what the kernel's function model keeps is read: sizes, signedness, struct by value
(btf_distill_func_proto in kernel/bpf/btf.c). `char` is unsigned, as kernels are compiled.
A struct passed by value has no size in a prototype: write `struct[16] name`.
"""

from __future__ import annotations

import re

from tramposim.errors import InputError
from tramposim.spec import Prototype, Value

__all__ = ["declare", "parse_prototype"]

_U8, _U16, _U32, _U64 = (Value(size) for size in (1, 2, 4, 8))
_S8, _S16, _S32, _S64 = (Value(size, signed=True) for size in (1, 2, 4, 8))

_NAMED = {
    "bool": _U8,
    "_Bool": _U8,
    "char": _U8,
    "size_t": _U64,
    "ssize_t": _S64,
    "uintptr_t": _U64,
    "ptrdiff_t": _S64,
    "loff_t": _S64,
    "off_t": _S64,
    "ktime_t": _S64,
    "sector_t": _U64,
    "dma_addr_t": _U64,
    "phys_addr_t": _U64,
    "resource_size_t": _U64,
    "pgoff_t": _U64,
    "blk_opf_t": _U32,
    "gfp_t": _U32,
    "fmode_t": _U32,
    "vm_fault_t": _U32,
    "dev_t": _U32,
    "pid_t": _S32,
    "umode_t": _U16,
    "netdev_features_t": _U64,
    **dict.fromkeys(("__be16", "__le16", "__sum16"), _U16),
    **dict.fromkeys(("__be32", "__le32", "__wsum", "__poll_t"), _U32),
    **dict.fromkeys(("__be64", "__le64"), _U64),
    **{
        name: Value(bits // 8, signed=sign == "s")
        for sign, spellings in (
            ("s", ("s{}", "__s{}", "int{}_t")),
            ("u", ("u{}", "__u{}", "uint{}_t")),
        )
        for bits in (8, 16, 32, 64)
        for name in (spelling.format(bits) for spelling in spellings)
    },
}
"""Type names of Linux with a fixed meaning on 64-bit architectures."""

_INTEGER_WORDS = {"signed", "unsigned", "short", "int", "long", "char"}
_IGNORED_WORDS = {"const", "volatile", "restrict", "static", "extern", "inline", "noinline"}

_POINTER = _U64


def parse_prototype(text: str, where: str | None = None) -> Prototype:
    """The prototype written in C, for example `int icmp_rcv(struct sk_buff *skb)`.

    Raises `InputError` for anything that is not one, names types whose size it cannot know,
    and refuses what kernels do not trace (variable arguments, floating point).
    """
    where = where or f"prototype {text!r}"
    match = re.fullmatch(r"\s*(.+?)\b([A-Za-z_]\w*)\s*\((.*)\)\s*;?\s*", text, re.DOTALL)
    if match is None:
        raise InputError("not a C prototype; write for example 'int f(int a, void *b)'", where)
    returned, name, inside = match[1], match[2], match[3]
    words = _split_arguments(inside, where)
    if words in ([], ["void"]):
        words = []
    arguments = tuple(_type_of(word, where, named=True) for word in words)
    for word, argument in zip(words, arguments, strict=True):
        if argument is None:
            raise InputError(f"{word!r}: an argument cannot be void", where)
    return Prototype(
        name=name,
        arguments=tuple(argument for argument in arguments if argument is not None),
        returns=_type_of(returned, where, named=False),
    )


def declare(prototype: Prototype) -> str:
    """A C prototype that `parse_prototype` reads back as the same: types by size and sign."""
    arguments = (f"{_type_name(value)} a{index}" for index, value in enumerate(prototype.arguments))
    returns = "void" if prototype.returns is None else _type_name(prototype.returns)
    return f"{returns} {prototype.name}({', '.join(arguments) or 'void'})"


def _type_name(value: Value) -> str:
    if value.struct:
        return f"struct[{value.size}]"
    return f"{'s' if value.signed else 'u'}{8 * value.size}"


def _split_arguments(text: str, where: str) -> list[str]:
    """Arguments at the outermost commas (function pointers have commas of their own)."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            raise InputError("a bracket closes that was not opened", where)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    if depth:
        raise InputError("a bracket is not closed", where)
    parts = [" ".join(part.split()) for part in parts]
    if parts == [""]:
        return []
    if "" in parts:
        raise InputError("an argument is missing between commas", where)
    return parts


def _type_of(text: str, where: str, *, named: bool) -> Value | None:
    """Value of a declaration (with the argument's name if `named`); None for void."""
    if "..." in text:
        raise InputError("kernels do not trace functions with variable arguments", where)
    by_value = re.fullmatch(r"(?:const )?(?:struct|union)\s*\[(\d{1,4})\](?: \w+)?", text.strip())
    if by_value:
        return Value(int(by_value[1]), struct=True)
    if "*" in text or (named and text.rstrip().endswith("]")):
        return _POINTER
    words = [word for word in re.findall(r"\w+", text) if word not in _IGNORED_WORDS]
    if not words or re.search(r"[^\w\s]", text):
        raise InputError(f"cannot understand {text!r}", where)
    if words[0] in ("struct", "union"):
        raise InputError(
            f"{text!r}: by value its size must be known; write for example 'struct[16] name'",
            where,
        )
    if words[0] == "enum":
        return _U32
    if words[0] in ("float", "double"):
        raise InputError(f"{text!r}: kernels do not trace functions with floating point", where)
    if words[0] in _INTEGER_WORDS:
        return _integer([word for word in words if word in _INTEGER_WORDS], text, where)
    if words[0] == "void":
        return None
    if words[0] in _NAMED:
        return _NAMED[words[0]]
    raise InputError(
        f"the size of type {words[0]!r} is not known; write the C type that it stands for", where
    )


def _integer(words: list[str], text: str, where: str) -> Value:
    unsigned, longs = "unsigned" in words, words.count("long")
    if "char" in words:
        return _S8 if "signed" in words else _U8
    if longs > 2 or ("short" in words and longs):
        raise InputError(f"{text!r} is no integer type", where)
    size = 2 if "short" in words else 8 if longs else 4
    return Value(size, signed=not unsigned)
