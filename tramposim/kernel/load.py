"""What loading a tracing program answers: the verifier's refusals, with errno and words.

Only what depends on the attach type, the target function and the kernel version is judged
here; what a program computes is not. Facts: check_attach_btf_id, bpf_check_attach_target,
btf_distill_func_proto and tracing_prog_ctx_access, checked against booted kernels' answers.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import NoReturn

from tramposim.errors import AttachError
from tramposim.kernel.nodes import FSESSIONS
from tramposim.kernel.versions import rules_for
from tramposim.spec import MAX_ARGUMENTS, Kernel, ProgKind, Prototype, Value

__all__ = [
    "TargetFunction",
    "check_context_access",
    "check_extension",
    "check_helper",
    "check_kfunc",
    "check_load",
    "check_return_value",
]

DENIED = frozenset(
    {
        "__rcu_read_lock",
        "__rcu_read_unlock",
        "migrate_disable",
        "migrate_enable",
        "preempt_count_add",
        "preempt_count_sub",
        "rcu_read_unlock_strict",
    }
)
"""Functions that enter and exit code itself runs (btf_id_deny): no program may trace them."""

NORETURN = frozenset(
    {"do_exit", "do_group_exit", "kthread_complete_and_exit", "kthread_exit", "make_task_dead"}
)
"""Functions that never return (noreturn_deny): nothing that runs after them is attached."""

SESSION_KFUNCS = frozenset({"bpf_session_cookie", "bpf_session_is_return"})

_AFTER = frozenset({ProgKind.FEXIT, ProgKind.FMOD_RET, ProgKind.FEXIT_MULTI, *FSESSIONS})
"""Attach types whose image runs code after the function."""
_SEES_RETURN = _AFTER | {ProgKind.LSM}
_MULTI = frozenset({ProgKind.FENTRY_MULTI, ProgKind.FEXIT_MULTI, ProgKind.FSESSION_MULTI})
_RETURNS_ZERO = frozenset({ProgKind.FENTRY, ProgKind.FEXIT, *_MULTI, *FSESSIONS})


@dataclass(frozen=True, slots=True)
class TargetFunction:
    """A function as the verifier sees it before it is known to be traceable.

    `arguments` may be more or larger than can be traced; `returns_union`: the aggregate
    returned is a union. `modifiable`: fmod_ret programs are
    allowed (ALLOW_ERROR_INJECTION, modify-return and LSM hooks); `may_sleep`: sleepable ones.
    """

    name: str
    arguments: tuple[Value, ...] = ()
    returns: Value | None = None
    returns_union: bool = False
    variadic: bool = False
    is_function: bool = True
    modifiable: bool = False
    may_sleep: bool = False

    @property
    def slots(self) -> int:
        """Argument slots of the context."""
        return sum(value.slots for value in self.arguments)

    @classmethod
    def of(cls, prototype: Prototype) -> TargetFunction:
        """The function of a prototype, open to every kind of program."""
        return cls(
            prototype.name,
            prototype.arguments,
            prototype.returns,
            modifiable=True,
            may_sleep=True,
        )


def _refuse(number: int, log: str, why: str = "the kernel refuses the program") -> NoReturn:
    raise AttachError(log or why, number, log or None)


def check_load(
    kernel: Kernel, kind: ProgKind, function: TargetFunction, sleepable: bool = False
) -> None:
    """Load a program of `kind` for `function`; raises `AttachError` as the verifier refuses.

    The checks are made in the kernel's order, so that the first refusal is the kernel's. Some
    are given without words; `log` is None then.
    """
    rules = rules_for(kernel)
    name = function.name
    known = (rules.fsession or kind not in FSESSIONS) and (rules.multi or kind not in _MULTI)
    if sleepable and not known:
        _refuse(
            errno.EINVAL,
            "Only fentry/fexit/fmod_ret, lsm, iter, uprobe, and struct_ops programs can be "
            "sleepable",
        )
    if not known:
        _refuse(errno.EINVAL, "", f"kernel {kernel.version} has no {kind.value} programs")
    if not function.is_function:
        _refuse(errno.EINVAL, f"attach_btf_id of {name} is not a function")
    _check_model(function)
    if sleepable and not function.may_sleep:
        _refuse(errno.EINVAL, f"{name} is not sleepable")
    if kind is ProgKind.FMOD_RET and not function.modifiable:
        _refuse(errno.EINVAL, f"{name}() is not modifiable")
    if name in DENIED:
        worded = rules.words_name_target
        _refuse(
            errno.EINVAL,
            f"Attaching tracing programs to function '{name}' is rejected." if worded else "",
            f"kernel {kernel.version} refuses to trace {name}",
        )
    if name in NORETURN and kind in _AFTER:
        if rules.words_name_target:
            _refuse(
                errno.EINVAL,
                f"Attaching fexit/fsession/fmod_ret to __noreturn function '{name}' is rejected.",
            )
        _refuse(errno.EINVAL, "Attaching fexit/fmod_ret to __noreturn functions is rejected.")


def _check_model(function: TargetFunction) -> None:
    """Whether a function model can be made of the function (btf_distill_func_proto)."""
    name = function.name
    count = len(function.arguments) + function.variadic
    if count > MAX_ARGUMENTS:
        _refuse(errno.EINVAL, f"The function {name} has {count} arguments. Too many.")
    if function.returns is not None and function.returns.struct:
        word = "UNION" if function.returns_union else "STRUCT"
        _refuse(errno.EINVAL, f"The function {name} return type {word} is unsupported.")
    for number, value in enumerate(function.arguments):
        if value.size > 16:
            _refuse(errno.EINVAL, f"The function {name} arg{number} type STRUCT is unsupported.")
    if function.variadic:
        _refuse(errno.EINVAL, f"The function {name} with variable args is unsupported.")


def check_context_access(
    kind: ProgKind, function: TargetFunction, offset: int, size: int = 8, write: bool = False
) -> None:
    """Access `size` bytes at `offset` of the context; raises `AttachError` (EACCES).

    Arguments may be read by all, the return value (behind the last argument) by all but entry
    programs; nothing may be written, and nothing lies behind twelve slots, so
    that the return value of a function with twelve is out of reach. Programs for tracing_multi
    links are judged as if they were on a function without arguments.
    """
    name, visible = function.name, function.slots
    visible += kind in _SEES_RETURN and function.returns is not None
    if kind in _MULTI:
        name, visible = "bpf_multi_func", 0
    reason = ""
    if not write and 0 <= offset < 8 * MAX_ARGUMENTS and offset % size == 0:
        slot = offset // 8
        if offset % 8:
            reason = f"func '{name}' offset {offset} is not multiple of 8\n"
        elif slot >= visible:
            reason = f"func '{name}' doesn't have {slot + 1}-th argument\n"
        else:
            return
    _refuse(errno.EACCES, f"{reason}invalid bpf_context access off={offset} size={size}")


def check_return_value(kind: ProgKind, value: int) -> None:
    """A constant that the program returns: tracing programs must return 0 (EINVAL)."""
    if kind in _RETURNS_ZERO and value != 0:
        _refuse(
            errno.EINVAL,
            f"At program exit the register R0 has smin={value} smax={value} "
            "should have been in [0, 0]",
        )


def check_kfunc(kind: ProgKind, name: str) -> None:
    """A kfunc that the program calls: the session kfuncs only in fsession programs (EACCES)."""
    if name in SESSION_KFUNCS and kind not in FSESSIONS:
        _refuse(errno.EACCES, f"calling kernel function {name} is not allowed")


def check_helper(kind: ProgKind, name: str, number: int, function: TargetFunction) -> None:
    """A helper that the program calls: socket storage not inside socket storage (EINVAL).

    `number` is the helper's id. Tracing programs may use bpf_sk_storage_get and _delete at
    the entry or exit of functions other than bpf_sk_storage's own, as they would recurse.
    """
    if name not in ("bpf_sk_storage_get", "bpf_sk_storage_delete"):
        return
    if kind is ProgKind.FMOD_RET or function.name.startswith("bpf_sk_storage"):
        _refuse(errno.EINVAL, f"program of this type cannot use helper {name}#{number}")


def check_extension(kernel: Kernel, kind: ProgKind) -> None:
    """An extension program for a program of `kind`: tracing ones cannot be extended (EINVAL)."""
    if kind in (ProgKind.FENTRY, ProgKind.FEXIT, ProgKind.FSESSION):
        also = "/fsession" if rules_for(kernel).fsession else ""
        _refuse(errno.EINVAL, f"Cannot extend fentry/fexit{also}")
