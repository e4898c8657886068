"""Compiled programs against what booted kernels compiled, and the translator's own limits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tramposim.bpf.asm import assemble
from tramposim.bpf.fixup import FixupEnvironment, fixup
from tramposim.bpf.loaded import LoadedFunction
from tramposim.capture.programs import program_context, programs_of, read_program
from tramposim.capture.records import Capture
from tramposim.errors import BuildError, InputError, UnsupportedError
from tramposim.jit.environment import JitEnvironment
from tramposim.jit.program import compile_function, compile_program, lay_out
from tramposim.spec import Arch, Kernel

QUICK = ("smoke-x86_64", "smoke-arm64", "x86_64-7.0.13-default-jit", "arm64-7.2.13-a72-jit")
SLOW = (
    "x86_64-6.12.107-default-jit",
    "x86_64-7.2.13-default-jit",
    "x86_64-7.2.13-its-jit",
    "x86_64-7.2.13-mitoff-jit",
    "x86_64-7.2.13-srso-jit",
    "x86_64-7.2.13-stuff-jit",
    "x86_64-7.3-rc7-default-jit",
    "x86_64-7.1.13-default-structops",
    "x86_64-7.2.13-default-structops-dummy",
    "arm64-6.12.107-max-jit",
    "arm64-7.0.13-max-jit",
    "arm64-7.2.13-max-jit",
    "arm64-7.1.13-max-trampolines",
    "arm64-7.3-rc7-max-structops",
)
ENVIRONMENTS = {
    arch: JitEnvironment(Kernel(arch), {"__bpf_call_base": 0xFFFF_FFFF_8100_0000}) for arch in Arch
}
BASE = 0xFFFF_FFFF_C000_0000
EXIT = bytes.fromhex("9500000000000000")


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW)])
def test_programs_are_what_kernels_compiled(shared: Path, name: str) -> None:
    path = shared / "golden" / f"{name}.jsonl.xz"
    capture = Capture(path)
    context = program_context(path, capture.boot)
    checked = 0
    for where, record in capture:
        for subject, program in programs_of(record):
            captured = read_program(program, context, where)
            if captured is None:
                continue
            built = compile_program(captured.env, captured.program, captured.addresses)
            assert built.code.hex() == captured.code.hex(), f"{where}: {subject}"
            checked += 1
    assert checked > 20 or "dummy" in name


@pytest.mark.parametrize("arch", Arch)
def test_ends_partition_the_code(arch: Arch) -> None:
    """Each instruction's code ends where the next one's begins; r0 = 0 is one operation."""
    (program,) = assemble("r0 = 0\nif r1 == 0 goto +1\nr0 += 5\nexit")
    done = compile_function(ENVIRONMENTS[arch], LoadedFunction(program.insns), BASE)
    assert list(done.ends) == sorted(done.ends)
    assert len(done.ends) == 5
    assert done.ends[1] - done.ends[0] == (2 if arch is Arch.X86_64 else 4)


def test_far_branches_use_the_near_form() -> None:
    """A jump over more than 123 bytes takes 6 bytes instead of 2 (Intel SDM, Jcc)."""
    sizes = []
    for count in (10, 40):
        text = "if r1 == 0 goto out\n" + "r0 += 5\n" * count + "out: exit"
        (program,) = assemble(text)
        done = compile_function(ENVIRONMENTS[Arch.X86_64], LoadedFunction(program.insns), BASE)
        sizes.append(done.ends[1] - done.ends[0])
    assert sizes == [5, 9]


@pytest.mark.parametrize("arch", Arch)
@pytest.mark.parametrize(
    ("code", "error"),
    [
        (bytes.fromhex("ff00000000000000") + EXIT, UnsupportedError),
        (bytes.fromhex("bf1d000000000000") + EXIT, UnsupportedError),
        (bytes.fromhex("0500ff7f00000000") + EXIT, BuildError),
        (bytes.fromhex("1800000000000000"), BuildError),
        (bytes.fromhex("c321000077000000") + EXIT, UnsupportedError),
        (b"\x95\0\0", BuildError),
        (b"", BuildError),
    ],
)
def test_what_cannot_be_compiled_is_refused(
    arch: Arch, code: bytes, error: type[Exception]
) -> None:
    with pytest.raises(error):
        compile_function(ENVIRONMENTS[arch], LoadedFunction(code), BASE)


def test_a_missing_symbol_is_named() -> None:
    env = JitEnvironment(Kernel(Arch.X86_64), {})
    code = bytes.fromhex("8500000008000000") + EXIT
    with pytest.raises(UnsupportedError, match="__bpf_call_base"):
        compile_function(env, LoadedFunction(code), BASE)


def test_an_unknown_kernel_is_named() -> None:
    env = JitEnvironment(Kernel(Arch.X86_64, "5.4"), {})
    with pytest.raises(UnsupportedError, match=r"5\.4"):
        compile_function(env, LoadedFunction(EXIT), BASE)


def test_malformed_records_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(
        '{"rec": "boot", "arch": "x86_64", "kernel": "7.2.13"}\n'
        '{"rec": "prog", "id": "a", "jited": "90", "ksyms": [1], "main": {"insnsi": "9500"}}\n'
    )
    capture = Capture(path)
    context = program_context(path, capture.boot)
    for where, record in capture:
        for _, program in programs_of(record):
            with pytest.raises(InputError, match="stack_depth"):
                read_program(program, context, where)


def test_a_body_goes_all_the_way() -> None:
    """From text to the code that the captured `cookie0` programs have (record n1...fsc)."""
    (program,) = assemble(".section fsession\ncall bpf_session_cookie\nr0 = 0\nexit")
    env = FixupEnvironment(Kernel(Arch.X86_64), {}, {})
    code = compile_program(ENVIRONMENTS[Arch.X86_64], fixup(program, env), [BASE]).code
    assert code.hex() == (
        "f30f1efa0f1f4400000f1f00554889e5f30f1efa488b47f848c1e8084825ff00000048c1e003"
        "4829f848f7d831c0c9c3cc"
    )


@pytest.mark.parametrize("arch", Arch)
def test_subprograms_are_linked(arch: Arch) -> None:
    """A call reaches the subprogram: x86_64 e8 rel32, arm64 bl (Intel SDM, Arm ARM)."""
    (program,) = assemble("call double\nexit\ndouble: r0 += r0\nexit")
    loaded = fixup(program, FixupEnvironment(Kernel(arch), {}, {}))
    env = ENVIRONMENTS[arch]
    addresses = lay_out(env, loaded, BASE)
    done = compile_program(env, loaded, addresses)
    main, double = done.functions
    code = main.code[main.ends[0] :]
    distance = double.address - main.address - main.ends[0]
    if arch is Arch.X86_64:
        assert code[:5] == b"\xe8" + (distance - 5).to_bytes(4, "little")
    else:
        assert code[:4] == (0x94000000 | distance // 4).to_bytes(4, "little")
    assert done.content[double.address - BASE :] == double.code


def test_landing_pads_and_signatures_follow_the_configuration() -> None:
    """Without IBT no endbr64 (f3 0f 1e fa); paciasp is d503233f, autiasp d50323bf."""
    plain = replace(ENVIRONMENTS[Arch.X86_64], kernel=Kernel(Arch.X86_64, ibt=False))
    code = compile_function(plain, LoadedFunction(EXIT), BASE).code
    assert code.hex() == "0f1f4400000f1f00554889e5c9c3cc"
    unsigned = replace(ENVIRONMENTS[Arch.ARM64], kernel=Kernel(Arch.ARM64, pac=False))
    words = compile_function(unsigned, LoadedFunction(EXIT), BASE).code
    assert b"\x3f\x23\x03\xd5" not in words
    assert b"\xbf\x23\x03\xd5" not in words
