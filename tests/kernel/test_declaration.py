"""Prototypes against the function models that kernels derived from BTF."""

import json
import lzma
from pathlib import Path

import pytest

from tramposim.errors import InputError
from tramposim.kernel.declaration import declare, parse_prototype
from tramposim.spec import Value

STRUCT_ARG, SIGNED_ARG = 1, 2  # BTF_FMODEL_*


def models(path: Path) -> dict[str, dict[str, object]]:
    found = {}
    with lzma.open(path, "rt") as lines:
        for line in lines:
            if '"model"' in line:
                record = json.loads(line)
                if record.get("proto") and record.get("model"):
                    found[record["proto"]] = record["model"]
    return found


def flags(value: Value) -> int:
    return STRUCT_ARG * value.struct + SIGNED_ARG * value.signed


@pytest.mark.parametrize(
    "name", ["x86_64-7.2.13-default-trampolines", "arm64-7.2.13-max-trampolines"]
)
def test_sizes_and_signs_are_those_of_the_kernel(shared: Path, name: str) -> None:
    checked = 0
    for text, model in models(shared / "golden" / f"{name}.jsonl.xz").items():
        try:
            prototype = parse_prototype(text)
        except InputError:  # a typedef or a struct by value, whose size the text does not say
            continue
        count = len(prototype.arguments)
        assert model["nr_args"] == count, text
        assert model["arg_size"][:count] == [a.size for a in prototype.arguments], text
        assert model["arg_flags"][:count] == [flags(a) for a in prototype.arguments], text
        assert model["ret_size"] == (prototype.returns.size if prototype.returns else 0), text
        assert model["ret_flags"] == (flags(prototype.returns) if prototype.returns else 0), text
        checked += 1
    assert checked >= 30


def test_spellings() -> None:
    prototype = parse_prototype(
        "static long long unsigned f(const char *s, int v[3], void (*done)(int, long), "
        "enum kind k, struct[16] pair, unsigned, bool, loff_t *pos);"
    )
    assert prototype.name == "f"
    assert prototype.returns == Value(8)
    assert [a.size for a in prototype.arguments] == [8, 8, 8, 4, 16, 4, 1, 8]
    assert prototype.arguments[4].struct
    assert parse_prototype("void g(void)").arguments == ()
    assert parse_prototype("struct sk_buff *g()").returns == Value(8)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("int", "not a C prototype"),
        ("int f(int a,, int b)", "missing between commas"),
        ("int f(int a))(", "not a C prototype"),
        ("int f(struct pair p)", "by value"),
        ("int f(const char *fmt, ...)", "variable arguments"),
        ("double f(void)", "floating point"),
        ("int f(weird_t x)", "'weird_t' is not known"),
        ("int f(void x)", "cannot be void"),
        ("int f(long long long x)", "no integer type"),
        ("int f(int,int,int,int,int,int,int,int,int,int,int,int,int)", "at most 12"),
    ],
)
def test_what_is_no_prototype_is_said(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_prototype(text)


def test_a_declaration_reads_back_as_the_same_prototype() -> None:
    for text in ("void f(void)", "int g(char c, struct[16] s, long l)", "bool h(void *p, u16 n)"):
        prototype = parse_prototype(text)
        assert parse_prototype(declare(prototype)) == prototype
