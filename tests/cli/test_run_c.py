"""C programs run: the fsession examples, typed maps and variables, several functions."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from tramposim.cli import main

WORKLOADS = Path(__file__).parents[2] / "workloads"

pytestmark = pytest.mark.skipif(
    shutil.which("clang") is None and find_spec("ziglang") is None,
    reason="needs a C compiler for BPF: clang, or pip install ziglang",
)

HEAD = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
char LICENSE[] SEC("license") = "GPL";
"""

TYPED = (
    HEAD
    + """
struct event { __u64 a; __u32 pid; char comm[16]; int ret; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } rb SEC(".maps");
struct stat { __u64 calls; long last; };
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_HASH);
    __uint(max_entries, 4);
    __type(key, __u32);
    __type(value, struct stat);
} stats SEC(".maps");
volatile const int threshold = 5;
int hits;
long long total = -3;
char name[12];
__u32 buckets[8];
static __noinline int classify(int x) { return x > threshold ? 7 : 8; }
SEC("fentry/bpf_fentry_test2")
int BPF_PROG(on_entry, int a, __u64 b)
{
    struct stat first = {1, -5}, *found;
    __u32 key = classify(a + b);

    bpf_map_update_elem(&stats, &key, &first, BPF_ANY);
    found = bpf_map_lookup_elem(&stats, &key);
    if (found)
        found->calls++;
    hits++;
    buckets[a & 7] += 4;
    for (int i = 0; i < 10; i++)
        total += i * a;
    return 0;
}
SEC("fexit/bpf_fentry_test3")
int BPF_PROG(on_exit, char a, int b, __u64 c, int ret)
{
    struct event *e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);

    if (!e)
        return 0;
    e->a = a;
    e->pid = bpf_get_current_pid_tgid() >> 32;
    e->ret = ret;
    bpf_get_current_comm(e->comm, sizeof(e->comm));
    bpf_get_current_comm(name, sizeof(name));
    bpf_ringbuf_submit(e, 0);
    bpf_printk("%s: %d+%d+%llu=%d hits %d", name, a, b, c, ret, hits);
    return 0;
}
"""
)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("icmp_session", ["icmp_rcv: entry", "icmp_rcv: exit, returned -3"]),
        (
            "icmp_cookie",
            [
                "icmp_rcv: entry, cookie set to 0xdeadbeef",
                "icmp_rcv: exit, cookie is 0xdeadbeef",
            ],
        ),
    ],
)
def test_the_fsession_examples_print_at_entry_and_exit(
    capsys: pytest.CaptureFixture[str], name: str, lines: list[str]
) -> None:
    source = str(WORKLOADS / f"{name}.bpf.c")
    assert main(["run", source, "--engine", "all", "--ret", "-3", "--format", "json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["output"] == lines
    assert [engine["output"] for engine in result["others"]] == [lines, lines]
    assert [(run["name"], run["when"]) for run in result["runs"]] == [
        (name, "entry"),
        (name, "exit"),
    ]
    assert main(["run", source]) == 0
    assert f"bpf_trace_printk: {lines[0]}" in capsys.readouterr().out


def test_maps_and_variables_are_shown_by_their_types(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "typed.bpf.c"
    source.write_text(TYPED)
    assert main(["run", str(source), "--engine", "all"]) == 0
    out = capsys.readouterr().out
    for line in (
        "bpf_fentry_test2(2, 0x3) returned 5",
        "bpf_fentry_test3(4, 5, 0x6) returned 15",
        "  8: calls=2 last=-5",
        "  hits=1",
        "  total=87",
        '  name="tramposim"',
        "  buckets[2]=4",
        "map rb (ringbuf): 1 records",
        "  bpf_trace_printk: tramposim: 4+5+6=15 hits 1",
        "interpreter, x86_64 and arm64 agree",
    ):
        assert line in out.splitlines()


def test_a_fault_names_the_line_of_the_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "loop.bpf.c"
    body = """
SEC("fentry/bpf_fentry_test1")
int BPF_PROG(spin)
{
    volatile int i = 0;

    while (i >= 0)
        i &= 1;
    return 0;
}
"""
    source.write_text(HEAD + body)
    assert main(["run", str(source), "--budget", "1000", "--engine", "all"]) == 1
    err = capsys.readouterr().err
    assert "spin: instruction" in err
    assert "loop.bpf.c:1" in err


def test_the_latency_pair_meets_the_cookie(capsys: pytest.CaptureFixture[str]) -> None:
    source = str(WORKLOADS / "latency.bpf.c")
    assert main(["compare", source, "--arch", "x86_64", "--format", "json"]) == 0
    rows = {
        (row["role"], row["scenario"]): row for row in json.loads(capsys.readouterr().out)["rows"]
    }
    pair, session = rows["pair", "fentry+fexit"], rows["alone", "fsession+cookie"]
    assert (pair["programs"], pair["links"], pair["slots"]) == (2, 2, 2)
    assert (session["programs"], session["links"], session["slots"]) == (1, 1, 2)
    assert session["cycles_per_call"] < pair["cycles_per_call"]
    assert session["cycles_over_empty"] < session["cycles_over_untraced"]


CHASING = (
    HEAD
    + """
struct inner { int x; long y; };
struct outer { long pad; struct inner *inner; };
struct seen { __u32 null, zero, value; int pid; };
struct seen seen;
SEC("fentry/follow")
int BPF_PROG(chase, struct outer *first, struct outer *second, struct outer *nothing)
{
    seen.zero = first->inner->x;
    seen.value = second->pad;
    seen.null = nothing->inner->y + 1;
    return 0;
}
"""
).replace('#include "vmlinux.h"', '#define BPF_NO_PRESERVE_ACCESS_INDEX\n#include "vmlinux.h"')


def test_pointers_that_lead_nowhere_give_zero(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "chase.bpf.c"
    source.write_text(CHASING)
    options = ["--proto", "int follow(void *first, void *second, void *nothing)"]
    options += ["--arg", "mem:00", "--arg", "mem:2a", "--arg", "0", "--engine", "all"]
    assert main(["run", str(source), *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  seen.value=42" in lines
    assert "  seen.null=1" in lines
    assert not any("seen.zero" in line for line in lines)
    assert "interpreter, x86_64 and arm64 agree" in lines


OUTPUTS = (
    HEAD
    + """
struct {
    __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
    __uint(max_entries, 1);
    __uint(key_size, 4);
    __uint(value_size, 4);
} events SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_QUEUE);
    __uint(max_entries, 2);
    __type(value, __u32);
} q SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_STACK);
    __uint(max_entries, 2);
    __type(value, __u32);
} s SEC(".maps");
struct locked { struct bpf_spin_lock lock; int x; };
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct locked);
} locked SEC(".maps");
SEC("fexit/bpf_fentry_test1")
int BPF_PROG(outputs, int a, int ret)
{
    __u32 zero = 0, popped = 0, peeked = 0;
    struct locked *found = bpf_map_lookup_elem(&locked, &zero);

    if (found) {
        bpf_spin_lock(&found->lock);
        found->x++;
        bpf_spin_unlock(&found->lock);
    }
    for (int i = 1; i < 4; i++) {
        __u32 value = i;
        long queued = bpf_map_push_elem(&q, &value, 0);

        bpf_printk("%ld %ld", queued, bpf_map_push_elem(&s, &value, BPF_EXIST));
    }
    bpf_map_pop_elem(&q, &popped);
    bpf_map_peek_elem(&s, &peeked);
    bpf_printk("%d %d", popped, peeked);
    bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &ret, sizeof(ret));
    return 0;
}
"""
)


def test_queues_locks_and_perf_buffers_are_alike_on_all_engines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "outputs.bpf.c"
    source.write_text(OUTPUTS)
    assert main(["run", str(source), "--engine", "all", "--format", "json"]) == 0
    result = json.loads(capsys.readouterr().out)
    for engine in (result, *result["others"]):
        # E2BIG is 7; the queue is full, the stack's oldest value gives way.
        assert engine["output"] == ["0 0", "0 0", "-7 0", "1 3"]
        assert engine["maps"]["q"] == {"00000000": "02000000"}
        assert list(engine["maps"]["s"].values()) == ["02000000", "03000000"]
        assert engine["maps"]["events"] == {"00000000": "02000000"}
        assert engine["maps"]["locked"] == {"00000000": "0000000001000000"}
