"""C programs: our headers, the kernel's own test program, diagnostics."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from shutil import which

import pytest

from tramposim.bpf import compile as compiling
from tramposim.bpf.btf import Kind
from tramposim.bpf.compile import compile_c
from tramposim.bpf.helpers import HELPER_IDS
from tramposim.bpf.host import Host, TracedCall
from tramposim.bpf.insn import decode
from tramposim.bpf.object import load_object
from tramposim.bpf.vmlinux import kernel_btf
from tramposim.errors import InputError, UnsupportedError
from tramposim.spec import Program

needs_compiler = pytest.mark.skipif(
    which("clang") is None and find_spec("ziglang") is None, reason="no compiler for BPF"
)
VMLINUX = Path("/sys/kernel/btf/vmlinux")
HEADERS = Path(compiling.__file__).parent / "include"

SESSION = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char _license[] SEC("license") = "GPL";

extern bool bpf_session_is_return(void *ctx) __ksym;
extern __u64 *bpf_session_cookie(void *ctx) __ksym;

SEC("fsession/icmp_rcv")
int BPF_PROG(session, struct sk_buff *skb, int ret)
{
	__u64 *cookie = bpf_session_cookie(ctx);

	if (!bpf_session_is_return(ctx)) {
		*cookie = 0xDEADBEEF;
		bpf_printk("entry");
		return 0;
	}
	bpf_printk("exit: cookie %llx, ret %d", *cookie, ret);
	bpf_printk("%d %d %d %d", 1, 2, 3, ret);
	return 0;
}
"""


def compiled(folder: Path, text: str, name: str = "a.bpf.c") -> dict[str, Program]:
    source = folder / name
    source.write_text(text)
    return {p.name: p for p in load_object(compile_c(source), str(source))}


@needs_compiler
def test_a_session_carries_its_cookie(tmp_path: Path) -> None:
    program = compiled(tmp_path, SESSION)["session"]
    host = Host()
    call = TracedCall(host.memory, (1,), 0)
    assert host.run(program, call) == 0
    call.returned(7)
    assert host.run(program, call) == 0
    assert host.output == ["entry", "exit: cookie deadbeef, ret 7", "1 2 3 7"]
    assert next(text for _, text in program.lines).startswith("a.bpf.c:12: int BPF_PROG(session")


@needs_compiler
@pytest.mark.parametrize(
    "includes",
    [
        "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n#include <bpf/bpf_tracing.h>",
        '#include "vmlinux.h"\n#include "bpf_helpers.h"\n#include "bpf_tracing.h"',
        "#include <stdbool.h>\n#include <stddef.h>\n#include <stdint.h>\n"
        "#include <vmlinux.h>\n#include <bpf/bpf_tracing.h>\n#include <bpf/bpf_endian.h>\n"
        "#include <bpf/bpf_core_read.h>",
    ],
)
def test_headers_that_programs_include(tmp_path: Path, includes: str) -> None:
    text = (
        includes
        + """
SEC("fexit/f")
int BPF_PROG(p, short a, void *b, __u64 c, int d, char e, long f, int ret)
{
	return a + (b != NULL) + c + d + e + f + ret;
}
"""
    )
    program = compiled(tmp_path, text)["p"]
    host = Host()
    call = TracedCall(host.memory, (0x10001, 5, 3, 4, 0x105, -6 & (1 << 64) - 1), 0)
    call.returned(100)
    assert host.run(program, call) & 0xFFFFFFFF == 1 + 1 + 3 + 4 + 5 - 6 + 100


@needs_compiler
def test_a_vmlinux_header_beside_the_source_comes_first(tmp_path: Path) -> None:
    (tmp_path / "vmlinux.h").write_text(
        "#ifndef __VMLINUX_H__\n#define __VMLINUX_H__\ntypedef unsigned __u32;\n"
        "typedef unsigned long long __u64;\ntypedef long long __s64;\ntypedef __u32 __be32;\n"
        "typedef __u32 __wsum;\nenum bpf_map_type { BPF_MAP_TYPE_HASH = 1 };\n#endif\n"
    )
    text = '#include "vmlinux.h"\n#include <bpf/bpf_helpers.h>\n'
    text += 'SEC("xdp") int p(void *c) { return BPF_MAP_TYPE_HASH + 1; }\n'
    assert Host().run(compiled(tmp_path, text)["p"]) == 2


@needs_compiler
def test_diagnostics_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        compiled(tmp_path, "#include <vmlinux.h>\nint f(void) { return nonsense; }\n")
    message = str(raised.value)
    assert "a.bpf.c:2: use of undeclared identifier 'nonsense'" in message
    assert "\n" not in message
    with pytest.raises(InputError, match="no such file"):
        compile_c(tmp_path / "missing.c")
    with pytest.raises(InputError, match="no such folder"):
        compile_c(tmp_path / "a.bpf.c", [tmp_path / "nowhere"])


def test_without_a_compiler_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling.shutil, "which", lambda name: None)
    monkeypatch.setattr(compiling, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match=r"pip install 'tramposim\[cc\]'"):
        compile_c(Path("a.c"))


def test_helper_numbers_of_the_header() -> None:
    text = (HEADERS / "bpf" / "bpf_helper_defs.h").read_text().replace("\n\t", " ")
    declared = {}
    for line in text.splitlines():
        if line.startswith("static"):
            name = line.split("(*const ")[1].split(")")[0]
            declared[name] = int(line.rsplit("(void *)", 1)[1].rstrip(";"))
    assert len(declared) > 100
    assert declared == {name: HELPER_IDS[name] for name in declared}


@needs_compiler
def test_one_header_for_all(tmp_path: Path) -> None:
    text = """
#include "bpf_all.h"

SEC("fexit/icmp_rcv")
int BPF_PROG(p, struct sk_buff *skb, int ret)
{
	bpf_printk("skb=%d ret=%d\\n", skb != NULL, ret);
	return BPF_OK;
}
"""
    program = compiled(tmp_path, text)["p"]
    host = Host()
    call = TracedCall(host.memory, (1,), 0)
    call.returned(3)
    assert host.run(program, call) == 0
    assert host.output == ["skb=1 ret=3"]


@needs_compiler
def test_a_header_is_made_of_the_kernels_types(tmp_path: Path) -> None:
    text = """
#include "vmlinux.h"

__attribute__((section("fentry/f"), used))
long p(unsigned long long *ctx)
{
	struct thing *t = (void *)ctx[0];
	enum color c = ctx[1];

	return t->parts[1].last + t->flag + GREEN + sizeof(struct filler) + (c == BLUE);
}
"""
    source = tmp_path / "a.bpf.c"
    source.write_text(text)
    btf = kernel_btf(Path(__file__).parent / "objects" / "kernel.o")
    with pytest.raises(InputError, match="does not compile"):
        compile_c(source)
    (program,) = load_object(compile_c(source, (), btf), str(source), btf)
    assert 96 in [insn.offset for insn in decode(program.insns) if insn.cls == 1]


@needs_compiler
@pytest.mark.skipif(not VMLINUX.exists(), reason="the running kernel offers no BTF")
def test_all_types_of_the_running_kernel_compile(tmp_path: Path) -> None:
    source = tmp_path / "a.bpf.c"
    source.write_text(
        '#include "vmlinux.h"\n#include <bpf/bpf_helpers.h>\n#include <bpf/bpf_tracing.h>\n'
        'SEC("fentry/vfs_read")\nint BPF_PROG(p, struct file *f, struct kmem_cache *s)\n'
        "{\n\treturn s->object_size + sizeof(struct task_struct);\n}\n"
    )
    btf = kernel_btf(VMLINUX)
    (program,) = load_object(compile_c(source, (), btf), str(source), btf)
    (cache,) = btf.ids("kmem_cache", Kind.STRUCT)
    members = {m.name: m.offset // 8 for m in btf.members(btf.get(cache))}
    assert members["object_size"] in [i.offset for i in decode(program.insns) if i.cls == 1]


@needs_compiler
def test_structures_by_value_are_arguments(tmp_path: Path) -> None:
    text = """
#include "bpf_all.h"

struct pair {
	long a, b;
};
struct small {
	int a, b;
};

SEC("fexit/f")
int BPF_PROG2(p, int, x, struct pair, y, struct small, z, char, c, long, ret)
{
	return x + y.a * 10 + y.b * 100 + z.a * 1000 + z.b * 10000 + c * 100000 + ret * 1000000;
}

SEC("fentry/f")
int BPF_PROG2(none)
{
	return 7;
}
"""
    programs = compiled(tmp_path, text)
    host = Host()
    call = TracedCall(host.memory, (1 << 32 | 1, 2, 3, 5 << 32 | 4, 0xFF06), 0)
    call.returned(7)
    assert host.run(programs["p"], call) == 7654321
    assert host.run(programs["none"], call) == 7


@needs_compiler
def test_programs_see_what_the_kernels_own_tests_demand(tmp_path: Path) -> None:
    """Error numbers, macros of the target, and programs on probes beside others."""
    text = """
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <errno.h>

char _license[] SEC("license") = "GPL";

#if !defined(bpf_target_x86) && !defined(bpf_target_arm64)
#error "no target"
#endif

SEC("fentry/f")
int BPF_PROG(entry, int a)
{
	__u64 ret = 7, arg = 0;

	return bpf_get_func_ret(ctx, &ret) == -EOPNOTSUPP && ret == 7 &&
		bpf_get_func_arg(ctx, 1, &arg) == -EINVAL && bpf_get_func_arg(ctx, 0, &arg) == 0 &&
		(int)arg == a;
}

SEC("fexit/f")
int BPF_PROG(leave)
{
	__u64 ret = 0;

	return bpf_get_func_ret(ctx, &ret) == 0 && ret == 11;
}

SEC("kprobe/f")
int BPF_KPROBE(probe, int a, void *b)
{
	return a + (b != NULL);
}

SEC("kretprobe/f")
int BPF_KRETPROBE(retprobe, long ret)
{
	return ret;
}
"""
    programs = compiled(tmp_path, text)
    assert list(programs) == ["entry", "leave"]
    host = Host()
    call = TracedCall(host.memory, (5,), 0)
    assert host.run(programs["entry"], call) == 1
    call.returned(11)
    assert host.run(programs["leave"], call) == 1
