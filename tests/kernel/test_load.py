"""Load-time refusals against what booted kernels answered, words included."""

from pathlib import Path

import pytest

from tramposim.capture.boot import boot_kernel
from tramposim.capture.records import Capture, CaseRecord, ProgramRecord
from tramposim.errors import AttachError
from tramposim.kernel.load import (
    TargetFunction,
    check_context_access,
    check_extension,
    check_helper,
    check_kfunc,
    check_load,
    check_return_value,
)
from tramposim.spec import Arch, Kernel, ProgKind, Value

GOLDEN = Path(__file__).parents[2] / ".." / "shared" / "golden"
FILES = sorted(path.name for path in GOLDEN.glob("*-trampolines.jsonl.xz")) or ["none"]
KINDS = {
    "fe": ProgKind.FENTRY, "fx": ProgKind.FEXIT, "fm": ProgKind.FMOD_RET,
    "fs": ProgKind.FSESSION, "lsm": ProgKind.LSM,
}  # fmt: skip
AGGREGATE_RETURN = "return type "
NOT_SLEEPABLE = "is not sleepable"
NOT_MODIFIABLE = "() is not modifiable"


def words(program: ProgramRecord) -> str:
    """The last line of the verifier's log that is not its summary."""
    lines = [line for line in (program.log or "").splitlines() if line]
    return next((line for line in reversed(lines) if not line.startswith("processed")), "")


def target(case: CaseRecord, log: str) -> TargetFunction:
    """The function of a case. BTF says what it is; whether it returns a struct, may sleep or
    may be modified is not recorded apart from the answer, so that is taken from there."""
    info = case.target_info
    sizes, kinds = info["arg_sizes"], info["arg_kinds"]
    variadic = bool(kinds) and kinds[-1] == 0
    arguments = tuple(
        Value(size, struct=struct) for size, struct in zip(sizes, info["arg_struct"], strict=True)
    )
    returns = None if info["ret_void"] else Value(info["ret_size"], struct=AGGREGATE_RETURN in log)
    return TargetFunction(
        case.target,
        arguments[: len(arguments) - variadic],
        returns,
        returns_union="return type UNION" in log,
        variadic=variadic,
        modifiable=NOT_MODIFIABLE not in log,
        may_sleep=NOT_SLEEPABLE not in log,
    )


@pytest.mark.parametrize("name", FILES)
def test_loading_answers_as_the_kernel(shared: Path, name: str) -> None:
    capture = Capture(shared / "golden" / name)
    kernel = boot_kernel(capture.boot, name)
    judged = 0
    for _, case in capture:
        if not isinstance(case, CaseRecord) or not case.target_info.get("arg_kinds"):
            continue
        for program in case.progs:
            log = words(program)
            if program.kind not in KINDS or program.load_errno == 13:
                continue
            if "R0 has" in log:
                continue
            answer, said = 0, ""
            sleepable = bool(program.opts.get("flags", 0) & 0x10)
            try:
                check_load(kernel, KINDS[program.kind], target(case, log), sleepable)
            except AttachError as error:
                answer, said = error.errno, error.log or ""
            assert (answer, said) == (program.load_errno, log), (case.id, program.name)
            judged += 1
    assert judged > 10


ONE = TargetFunction("bpf_fentry_test1", (Value(4),), Value(4))
TWELVE = TargetFunction("f", (Value(8),) * 12, Value(8))


def refusal(check: object, *arguments: object, **options: object) -> tuple[int, str | None]:
    with pytest.raises(AttachError) as caught:
        check(*arguments, **options)  # type: ignore[operator]
    return caught.value.errno, caught.value.log


def test_context_accesses() -> None:
    check_context_access(ProgKind.FENTRY, ONE, 0)
    check_context_access(ProgKind.FSESSION, ONE, 8)
    # The kernel's own test program for fmod_ret reads the value that earlier ones returned.
    check_context_access(ProgKind.FMOD_RET, ONE, 8)
    assert refusal(check_context_access, ProgKind.FENTRY, ONE, 8) == (
        13, "func 'bpf_fentry_test1' doesn't have 2-th argument\n"
        "invalid bpf_context access off=8 size=8",
    )  # fmt: skip
    assert refusal(check_context_access, ProgKind.FSESSION, ONE, 8, write=True) == (
        13, "invalid bpf_context access off=8 size=8",
    )  # fmt: skip
    assert refusal(check_context_access, ProgKind.FEXIT, TWELVE, 96) == (
        13, "invalid bpf_context access off=96 size=8",
    )  # fmt: skip
    assert refusal(check_context_access, ProgKind.FENTRY_MULTI, ONE, 0) == (
        13, "func 'bpf_multi_func' doesn't have 1-th argument\n"
        "invalid bpf_context access off=0 size=8",
    )  # fmt: skip


def test_return_values() -> None:
    check_return_value(ProgKind.FSESSION, 0)
    check_return_value(ProgKind.FMOD_RET, 7)
    assert refusal(check_return_value, ProgKind.FENTRY, 1) == (
        22, "At program exit the register R0 has smin=1 smax=1 should have been in [0, 0]",
    )  # fmt: skip


def test_session_kfuncs() -> None:
    check_kfunc(ProgKind.FSESSION, "bpf_session_cookie")
    check_kfunc(ProgKind.FENTRY, "bpf_rcu_read_lock")
    assert refusal(check_kfunc, ProgKind.FEXIT, "bpf_session_is_return") == (
        13, "calling kernel function bpf_session_is_return is not allowed",
    )  # fmt: skip


def test_helpers_and_extensions() -> None:
    check_helper(ProgKind.FENTRY, "bpf_sk_storage_get", 107, ONE)
    own = TargetFunction("bpf_sk_storage_free")
    assert refusal(check_helper, ProgKind.FSESSION, "bpf_sk_storage_get", 107, own)[0] == 22
    check_extension(Kernel(Arch.X86_64), ProgKind.XDP)
    assert refusal(check_extension, Kernel(Arch.X86_64), ProgKind.FSESSION) == (
        22, "Cannot extend fentry/fexit/fsession",
    )  # fmt: skip
    assert refusal(check_load, Kernel(Arch.X86_64), ProgKind.FENTRY,
                   TargetFunction("jiffies", is_function=False))[0] == 22  # fmt: skip
