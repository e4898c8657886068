import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.dumps import bpftool_insns, jit_log
from tramposim.capture.bpftool import parse_bpftool
from tramposim.capture.dump import read_symbols
from tramposim.capture.jitlog import parse_jit_log
from tramposim.capture.objdump import is_objdump, parse_objdump
from tramposim.capture.readdump import read_dump
from tramposim.errors import InputError

CODE = bytes.fromhex("f30f1efa0f1f4400000f1f00554889e531c0c9c3cc")

# objdump 2.40 -d of the bytes above, and llvm-objdump 14 of an arm64 function
BINUTILS = """
code.o:     file format elf64-x86-64


Disassembly of section .text:

ffffffffc0200000 <bpf_prog_1234_f>:
ffffffffc0200000:\tf3 0f 1e fa          \tendbr64
ffffffffc0200004:\t0f 1f 44 00 00       \tnopl   0x0(%rax,%rax,1)
ffffffffc0200009:\t48 b8 88 77 66 55 44 \tmovabs $0x1122334455667788,%rax
ffffffffc0200010:\t33 22 11
ffffffffc0200013:\te8 e8 ff df c0       \tcall   ffffffff81000000 <bpf_ktime_get_ns>
ffffffffc0200018:\tc3                   \tret
"""
LLVM = """
0000000000001000 <f>:
    1000: d503233f     \tpaciasp
    1004: a9bf7bfd     \tstp\tx29, x30, [sp, #-0x10]!
    1008: 94000010     \tbl\t0x1048 <g>
    100c: d65f03c0     \tret
"""


def test_bare_and_function_forms_of_bpftool() -> None:
    insns = bpftool_insns("x86_64", CODE)
    (bare,) = parse_bpftool(json.dumps(insns).encode(), "x")
    assert [f.code for f in bare.functions] == [CODE]
    assert bare.functions[0].address is None
    named = [{"name": "main_f", "insns": insns}, {"name": "sub", "insns": insns[:2]}]
    (program,) = parse_bpftool(json.dumps(named).encode(), "x")
    assert [(f.name, f.code) for f in program.functions] == [("main_f", CODE), ("sub", CODE[:9])]
    several = [{"id": 3, "name": "a", "insns": named}, {"id": 4, "insns": insns}]
    dumps = parse_bpftool(json.dumps(several).encode(), "x")
    assert [dump.name for dump in dumps] == ["a", "4"]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"error": "can't get prog by id (3): No such file"}, "bpftool reports: can't get"),
        ([], "not an array"),
        ([{"pc": "0x0", "operation": "ret", "operands": [None]}], "no opcodes"),
        ([{"pc": "0x4", "opcodes": ["0xc3"]}], "an instruction at 0x4 behind 0x0 bytes"),
        ([{"pc": "0x0", "opcodes": ["0x1c3"]}], "pc '0x0' with opcodes"),
    ],
)
def test_bad_json_is_one_clear_error(document: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_bpftool(json.dumps(document).encode(), "p.json")


def test_kernel_log() -> None:
    text = "boot\n" + jit_log(CODE, 0xFFFFFFFFC0001000, "[   12.3] ") + jit_log(CODE[:4], 0)
    first, second = parse_jit_log(text, "log")
    assert first.functions[0].code == CODE
    assert first.functions[0].address == 0xFFFFFFFFC0001000
    assert second.functions[0].code == CODE[:4]
    assert second.functions[0].address is None
    with pytest.raises(InputError, match=r"log:1: 16 of 21 bytes are there"):
        parse_jit_log("\n".join(jit_log(CODE, 0).splitlines()[:2]), "log")
    with pytest.raises(InputError, match=r"log:1: JIT code without a line"):
        parse_jit_log("JIT code: 00000000: c3\n", "log")


def test_objdump_text() -> None:
    (dump,) = parse_objdump(BINUTILS, "x")
    (function,) = dump.functions
    assert function.address == 0xFFFFFFFFC0200000
    assert function.code.hex() == "f30f1efa0f1f44000048b88877665544332211e8e8ffdfc0c3"
    assert dump.symbols == {"bpf_ktime_get_ns": 0xFFFFFFFF81000000}
    (arm,) = parse_objdump(LLVM, "x")
    assert arm.functions[0].code.hex() == "3f2303d5fd7bbfa910000094c0035fd6"
    assert arm.functions[0].address == 0x1000


def test_forms_are_told_by_content(tmp_path: Path) -> None:
    path = tmp_path / "dump"
    for content in (
        json.dumps(bpftool_insns("x86_64", CODE)).encode(),
        jit_log(CODE, 0).encode(),
        CODE.hex(" ").encode(),
        CODE,
    ):
        path.write_bytes(content)
        assert [dump.functions[0].code for dump in read_dump(path)] == [CODE]
    path.write_text("hello")
    with pytest.raises(InputError, match="none of"):
        read_dump(path)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_dump(tmp_path / "absent")


def test_symbols(tmp_path: Path) -> None:
    path = tmp_path / "kallsyms"
    path.write_text("ffffffff81000000 T _stext\nffffffffc0001000 t f\t[mod]\n")
    assert read_symbols(path) == {"_stext": 0xFFFFFFFF81000000, "f": 0xFFFFFFFFC0001000}
    path.write_text("0000000000000000 T _stext\n")
    with pytest.raises(InputError, match="as root"):
        read_symbols(path)
    path.write_text("_stext\n")
    with pytest.raises(InputError, match=r"kallsyms:1: not `ADDRESS TYPE NAME`"):
        read_symbols(path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=4)
        | st.dictionaries(
            st.sampled_from(["id", "name", "insns", "pc", "opcodes", "error"]), children, max_size=4
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_any_json_is_read_or_refused(document: object) -> None:
    try:
        dumps = parse_bpftool(json.dumps(document).encode(), "x")
    except InputError:
        return
    assert all(function.code for dump in dumps for function in dump.functions)


lines = st.sampled_from(
    [*jit_log(CODE, 1 << 63).splitlines(), *BINUTILS.splitlines(), *LLVM.splitlines(), "", "JIT"]
)


@given(st.lists(lines | st.text(max_size=30), max_size=20))
def test_any_text_is_read_or_refused(text: list[str]) -> None:
    joined = "\n".join(text)
    for parse in (parse_jit_log, parse_objdump):
        try:
            dumps = parse(joined, "x")
        except InputError:
            continue
        assert all(function.code for dump in dumps for function in dump.functions)
    is_objdump(joined)
