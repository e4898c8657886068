"""Attach rules: small stories, with the limits and errno that booted kernels showed."""

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tramposim.errors import ENOTSUPP, AttachError
from tramposim.kernel.attach import Link, Trampoline, struct_ops_flags
from tramposim.kernel.nodes import Node, TrampFlag
from tramposim.spec import Arch, Entry, Kernel, ProgKind, Prototype, Value

INT_FUNCTION = Prototype("f", (Value(4),), Value(4))
VOID_FUNCTION = Prototype("g", (Value(4),), None)
X86_72, ARM_72 = Kernel(Arch.X86_64, "7.2"), Kernel(Arch.ARM64, "7.2")
FENTRY, FEXIT, FSESSION = ProgKind.FENTRY, ProgKind.FEXIT, ProgKind.FSESSION


def link(kind: ProgKind, number: int = 0, **kwargs: bool) -> Link:
    return Link(Node(0x1000 + number, 0x2000 + number, kind, name=f"p{number}"), **kwargs)


def trampoline(kernel: Kernel = X86_72, prototype: Prototype = INT_FUNCTION) -> Trampoline:
    return Trampoline(kernel, prototype)


def names(nodes: tuple[Node, ...]) -> list[str]:
    return [node.name for node in nodes]


def attach_until_refused(target: Trampoline, kinds: tuple[ProgKind, ...]) -> tuple[int, int]:
    """(links attached, errno of the first refusal), kinds attached in turn."""
    for number in range(100):
        try:
            target.attach(link(kinds[number % len(kinds)], number))
        except AttachError as error:
            return number, error.errno
    return 100, 0


def test_last_attached_runs_first_on_both_sides() -> None:
    target = trampoline()
    for number, kind in enumerate((FENTRY, FSESSION, FEXIT, FSESSION)):
        target.attach(link(kind, number))
    assert names(target.fentry) == ["p3", "p1", "p0"]
    assert names(target.fexit) == ["p3", "p2", "p1"]
    assert target.count == 6


@pytest.mark.parametrize(
    ("kernel", "kinds", "links"),
    [
        (X86_72, (FENTRY,), 36),
        (X86_72, (FSESSION,), 18),
        (X86_72, (FENTRY, FSESSION), 24),
        (ARM_72, (FEXIT,), 37),
        (ARM_72, (FSESSION,), 18),
        (ARM_72, (FENTRY, FSESSION), 25),
        (Kernel(Arch.X86_64, "7.0"), (FSESSION,), 19),
        (Kernel(Arch.X86_64, "7.1"), (FENTRY,), 38),
        (Kernel(Arch.ARM64, "6.12"), (FENTRY,), 38),
    ],
)
def test_limits(kernel: Kernel, kinds: tuple[ProgKind, ...], links: int) -> None:
    assert attach_until_refused(trampoline(kernel), kinds) == (links, errno.E2BIG)


def test_the_last_slot_is_too_few_for_an_fsession() -> None:
    target = trampoline()
    for number in range(35):
        target.attach(link(FENTRY, number))
    with pytest.raises(AttachError, match="E2BIG"):
        target.attach(link(FSESSION, 35))
    target.attach(link(FENTRY, 36))
    assert target.count == 36


def test_busy() -> None:
    target = trampoline()
    first = link(FSESSION)
    target.attach(first)
    for again in (first, link(FSESSION)):
        with pytest.raises(AttachError) as refusal:
            target.attach(again)
        assert refusal.value.errno == errno.EBUSY
    with pytest.raises(AttachError, match="EBUSY"):
        target.attach_extension()
    target.detach(first)
    target.attach_extension()
    with pytest.raises(AttachError, match="EBUSY"):
        target.attach(first)
    target.detach_extension()
    target.attach(first)


def test_detaching_what_is_not_attached() -> None:
    with pytest.raises(AttachError, match="ENOENT"):
        trampoline().detach(link(FENTRY))
    with pytest.raises(AttachError, match="ENOENT"):
        trampoline().detach_extension()


def test_an_image_larger_than_a_page_is_refused_and_rolled_back() -> None:
    target = Trampoline(ARM_72, INT_FUNCTION, lambda state: 1000 * state.count)
    target.attach(link(FSESSION))
    target.attach(link(FSESSION, 1))
    with pytest.raises(AttachError, match="E2BIG"):
        target.attach(link(FSESSION, 2))
    assert names(target.fentry) == names(target.fexit) == ["p1", "p0"]
    assert target.count == 4


def test_a_kernel_without_fsession() -> None:
    with pytest.raises(AttachError, match="EINVAL"):
        trampoline(Kernel(Arch.X86_64, "6.12")).attach(link(FSESSION))


def test_lsm_programs_go_where_the_hook_returns() -> None:
    for prototype, lists in ((INT_FUNCTION, (1, 0)), (VOID_FUNCTION, (0, 1))):
        target = trampoline(prototype=prototype)
        target.attach(link(ProgKind.LSM))
        assert (len(target.fmod_ret), len(target.fexit)) == lists


@pytest.mark.parametrize(
    ("kernel", "kind", "flags"),
    [
        (X86_72, FENTRY, TrampFlag.RESTORE_REGS),
        (X86_72, FSESSION, TrampFlag.CALL_ORIG),
        (Kernel(Arch.X86_64, entry=Entry.CALL), FEXIT, TrampFlag.CALL_ORIG | TrampFlag.SKIP_FRAME),
        (Kernel(Arch.X86_64, "6.12"), FEXIT, TrampFlag.CALL_ORIG | TrampFlag.SKIP_FRAME),
        (ARM_72, FSESSION, TrampFlag.CALL_ORIG | TrampFlag.SKIP_FRAME),
    ],
)
def test_flags(kernel: Kernel, kind: ProgKind, flags: TrampFlag) -> None:
    target = trampoline(kernel)
    target.attach(link(kind))
    assert target.flags == flags
    target.attach(link(FENTRY, 1, uses_func_ip=True))
    assert target.flags == flags | TrampFlag.IP_ARG


@pytest.mark.parametrize(("kernel", "number"), [(X86_72, errno.EBUSY), (ARM_72, ENOTSUPP)])
def test_functions_that_cannot_be_patched(kernel: Kernel, number: int) -> None:
    target = Trampoline(kernel, INT_FUNCTION, traceable=False)
    with pytest.raises(AttachError) as refusal:
        target.attach(link(FENTRY))
    assert refusal.value.errno == number
    assert target.count == 0


def test_stack_arguments_on_old_arm64_kernels() -> None:
    nine = Prototype("f", (Value(8),) * 9, Value(4))
    with pytest.raises(AttachError, match="ENOTSUPP"):
        trampoline(Kernel(Arch.ARM64, "6.12"), nine).attach(link(FENTRY))
    trampoline(Kernel(Arch.ARM64, "7.0"), nine).attach(link(FENTRY))
    trampoline(Kernel(Arch.X86_64, "6.12"), nine).attach(link(FENTRY))


def test_struct_ops_flags() -> None:
    assert struct_ops_flags(INT_FUNCTION) == 272
    assert struct_ops_flags(VOID_FUNCTION) == 256


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.sampled_from((FENTRY, FEXIT, ProgKind.FMOD_RET, FSESSION)), max_size=18),
    st.randoms(),
)
def test_detaching_in_any_order_returns_to_the_initial_state(kinds, random) -> None:
    target = trampoline()
    links = [link(kind, number) for number, kind in enumerate(kinds)]
    for item in links:
        target.attach(item)
    random.shuffle(links)
    for item in links:
        target.detach(item)
    assert target.count == 0
    assert target.links == ()
