"""Images against those that booted kernels emitted, byte for byte."""

from pathlib import Path

import pytest

from tramposim.capture.records import Capture, CaseRecord
from tramposim.capture.trampolines import case_context, case_request
from tramposim.errors import AttachError, BuildError, InputError, KernelDefect, UnsupportedError
from tramposim.jit.trampoline import (
    TrampolineRequest,
    attached_request,
    build_trampoline,
    patch_out,
)
from tramposim.kernel.attach import Link, Trampoline
from tramposim.kernel.image import Image
from tramposim.kernel.nodes import Node, TrampFlag
from tramposim.machine.disassembly import disassemble
from tramposim.spec import Arch, Kernel, ProgKind, Prototype, Returns, Value
from tramposim.study.verify import verify_capture

GOLDEN = Path(__file__).parents[2] / ".." / "shared" / "golden"
KINDS = ("trampolines", "structops", "multi")
FILES = sorted(
    path.name
    for path in (GOLDEN.glob("*.jsonl.xz") if GOLDEN.is_dir() else ())
    if any(kind in path.name for kind in KINDS) or path.name.startswith("smoke")
)
"""Found when collecting; the `shared` fixture skips with a reason where there are none."""


@pytest.mark.parametrize("name", FILES or ["none"])
def test_images_are_those_of_the_kernel(shared: Path, name: str) -> None:
    checks = [
        check for check in verify_capture(shared / "golden" / name) if check.subject == "image"
    ]
    assert checks
    assert [check.line for check in checks if check.problem] == []


@pytest.mark.parametrize("arch", ["x86_64-7.2.13-default", "arm64-7.2.13-max"])
def test_skips_are_where_the_kernel_patches(shared: Path, arch: str) -> None:
    path = shared / "golden" / f"{arch}-trampolines.jsonl.xz"
    capture = Capture(path)
    context = case_context(path, capture.boot)
    for where, case in capture:
        if isinstance(case, CaseRecord) and case.img is not None:
            skips = build_trampoline(case_request(case, context, where)).skips
            built = [{"prog": s.p, "nop": s.nop, "target": s.target} for s in skips]
            assert built == case.skips, case.id


def replayed(path: Path):
    """Each case of a capture with a trampoline on which its links are attached one by one."""
    capture = Capture(path)
    context = case_context(path, capture.boot)
    for where, case in capture:
        if not isinstance(case, CaseRecord) or not case.links or case.img is None:
            continue
        request = case_request(case, context, where)
        trampoline = Trampoline(
            context.kernel,
            request.prototype,
            lambda state, request=request: build_trampoline(
                attached_request(
                    state, request.image, request.im, request.func_addr, request.symbols,
                    request.func_has_endbr, request.padded,
                )
            ).size,
            tail_call_reachable=bool(case.flags & TrampFlag.TAIL_CALL_CTX),
        )  # fmt: skip
        yield case, request, trampoline


@pytest.mark.parametrize("name", [name for name in FILES if "trampolines" in name] or ["none"])
def test_attaching_answers_as_the_kernel(shared: Path, name: str) -> None:
    kinds = {
        "fe": ProgKind.FENTRY, "fx": ProgKind.FEXIT, "fm": ProgKind.FMOD_RET,
        "fs": ProgKind.FSESSION, "lsm": ProgKind.LSM, "xx": ProgKind.FENTRY,
    }  # fmt: skip
    for case, request, trampoline in replayed(shared / "golden" / name):
        programs = {program.name: program for program in case.progs}
        for record in case.links:
            program = programs[record.prog]
            if program.main is None:
                continue
            fields = program.main.prog_fields
            node = Node(
                program.p, program.bpf_func, kinds[program.kind], record.cookie,
                bool(fields.get("call_session_cookie")), bool(fields.get("sleepable")),
                name=record.prog,
            )  # fmt: skip
            answer = 0
            try:
                trampoline.attach(Link(node, bool(fields.get("call_get_func_ip"))))
            except AttachError as error:
                answer = error.errno
            assert answer == record.errno, (case.id, record)
        assert trampoline.flags == case.flags, case.id
        for built, recorded in (
            (trampoline.fentry, request.fentry),
            (trampoline.fmod_ret, request.fmod_ret),
            (trampoline.fexit, request.fexit),
        ):
            assert [node.p for node in built] == [node.p for node in recorded], case.id


TEXT = {Arch.X86_64: 0xFFFFFFFF81200000, Arch.ARM64: 0xFFFF800080200000}
SYMBOLS = (
    "__bpf_tramp_enter", "__bpf_tramp_exit", "__bpf_prog_enter_recur", "__bpf_prog_exit_recur",
)  # fmt: skip


def request(arch: Arch, **changes) -> TrampolineRequest:
    node = Node(TEXT[arch] + 0x7000000, TEXT[arch] + 0x3000000, ProgKind.FSESSION, name="p0")
    fields = {
        "kernel": Kernel(arch),
        "prototype": Prototype("f", (Value(4, signed=True),), Value(4, signed=True)),
        "flags": TrampFlag.CALL_ORIG,
        "image": TEXT[arch] + 0x3001000,
        "im": 0xFFFF888100012400,
        "func_addr": TEXT[arch] + 0x100,
        "symbols": {name: TEXT[arch] + 256 * i for i, name in enumerate(SYMBOLS)},
        "fentry": (node,),
        "fexit": (node,),
    }
    return TrampolineRequest(**{**fields, **changes})


@pytest.mark.parametrize("arch", list(Arch))
def test_parts_cover_the_code_in_order(arch: Arch) -> None:
    image = build_trampoline(request(arch))
    ends = [part.end for part in image.parts]
    assert [part.start for part in image.parts] == [0, *ends[:-1]]
    assert ends[-1] == len(image.code)
    names = [part.name for part in image.parts]
    assert names[0] == "prologue"
    assert names[-1] == "epilogue"
    order = ["tramp_enter", "enter fentry[0]", "body fentry[0]", "call original", "exit fexit[0]"]
    assert sorted(order, key=names.index) == order
    assert {part.detail for part in image.parts} == {"", "p0"}


@pytest.mark.parametrize(("arch", "plain", "cookie"), [(Arch.X86_64, 4, 10), (Arch.ARM64, 5, 11)])
def test_fsession_is_longer_than_the_pair(arch: Arch, plain: int, cookie: int) -> None:
    def count(image: Image) -> int:
        return len(list(disassemble(arch, image.code, image.address)))

    def built(kind: ProgKind, uses_cookie: bool = False) -> int:
        node = Node(
            TEXT[arch] + 0x7000000, TEXT[arch] + 0x3000000, kind, session_cookie=uses_cookie
        )
        return count(build_trampoline(request(arch, fentry=(node,), fexit=(node,))))

    pair = built(ProgKind.FENTRY)
    assert built(ProgKind.FSESSION) - pair == plain
    assert built(ProgKind.FSESSION, uses_cookie=True) - pair == cookie


@pytest.mark.parametrize(("arch", "jump"), [(Arch.X86_64, "jmp"), (Arch.ARM64, "b")])
def test_a_detached_program_is_jumped_over(arch: Arch, jump: str) -> None:
    image = build_trampoline(request(arch))
    patched = patch_out(image, image.skips[0].p)
    ends = [part.end for part in image.parts if part.name.startswith("exit")]
    jumps = [
        f"{insn.mnemonic} {insn.operands.lstrip('#')}"
        for insn in disassemble(arch, patched, image.address)
        if insn.mnemonic == jump
    ]
    assert jumps == [f"{jump} {image.address + end:#x}" for end in ends]
    with pytest.raises(InputError, match="0x1234"):
        patch_out(image, 0x1234)


def test_landing_pads_follow_the_kernel_configuration() -> None:
    indirect = {"flags": TrampFlag.INDIRECT, "im": 0, "fexit": ()}
    for ibt, start in ((True, "f30f1efa554889e5"), (False, "554889e5")):
        kernel = Kernel(Arch.X86_64, ibt=ibt)
        node = Node(1 << 63, TEXT[Arch.X86_64] + 0x3000000, ProgKind.STRUCT_OPS)
        symbols = dict.fromkeys(("__bpf_prog_enter", "__bpf_prog_exit"), TEXT[Arch.X86_64])
        image = build_trampoline(
            request(Arch.X86_64, kernel=kernel, fentry=(node,), symbols=symbols, **indirect)
        )
        assert image.code.hex().startswith(start)
        assert image.skips == ()
    plain = build_trampoline(request(Arch.ARM64))
    padded = build_trampoline(request(Arch.ARM64, kernel=Kernel(Arch.ARM64, bti=True)))
    assert padded.code[:4].hex() == "df2403d5"
    assert len(padded.code) == len(plain.code) + 4


def test_a_kernel_that_overruns_its_buffer_is_a_finding() -> None:
    # Call-depth accounting lengthens every call: the 17th fsession with a session cookie
    # takes the image over a page before the slots run out.
    kernel = Kernel(Arch.X86_64, returns=Returns.STUFFING)
    symbols = dict.fromkeys(
        (*SYMBOLS, "__x86_call_depth", "call_depth_return_thunk"), TEXT[Arch.X86_64]
    )
    trampoline = Trampoline(
        kernel,
        Prototype("f", (Value(4),), Value(4)),
        lambda state: (
            build_trampoline(
                attached_request(
                    state,
                    TEXT[Arch.X86_64] + 0x3001000,
                    0xFFFF888100012400,
                    TEXT[Arch.X86_64] + 0x100,
                    symbols,
                )
            ).size
        ),
    )
    links = [
        Link(
            Node(
                0xFFFF888100020000 + 4096 * number, TEXT[Arch.X86_64] + 0x3000000,
                ProgKind.FSESSION, session_cookie=True,
            )
        )
        for number in range(17)
    ]  # fmt: skip
    for link in links[:16]:
        trampoline.attach(link)
    with pytest.raises(KernelDefect, match=r"4222 bytes.*beyond the buffer"):
        trampoline.attach(links[16])
    assert len(trampoline.links) == 16


def test_what_cannot_be_built_is_named() -> None:
    with pytest.raises(InputError, match="__bpf_tramp_enter"):
        build_trampoline(request(Arch.X86_64, symbols={}))
    with pytest.raises(UnsupportedError, match=r"5\.4"):
        build_trampoline(request(Arch.X86_64, kernel=Kernel(Arch.X86_64, "5.4")))
    with pytest.raises(UnsupportedError, match="ORIG_STACK"):
        build_trampoline(request(Arch.X86_64, flags=TrampFlag.CALL_ORIG | TrampFlag.ORIG_STACK))
    with pytest.raises(InputError, match="CALL_ORIG"):
        build_trampoline(request(Arch.ARM64, flags=TrampFlag.RESTORE_REGS))
    with pytest.raises(InputError, match="fexit list"):
        build_trampoline(request(Arch.ARM64, fexit=()))
    with pytest.raises(BuildError, match="call"):
        build_trampoline(request(Arch.X86_64, image=0xFFFF888000001000))
