import pytest

from tramposim.errors import InputError
from tramposim.spec import Arch, Entry, Returns
from tramposim.study.kernels import kernel_of


def test_defaults_are_as_the_version_enters_with_plain_returns() -> None:
    kernel = kernel_of("arm64", "7.2")
    assert (kernel.arch, kernel.entry, kernel.returns) == (Arch.ARM64, None, Returns.PLAIN)


def test_knobs_are_taken_by_their_words() -> None:
    kernel = kernel_of("x86_64", "7.0", "call", "srso-alias")
    assert (kernel.entry, kernel.returns) == (Entry.CALL, Returns.SRSO_ALIAS)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("x86_64", "7.2", "bl"), "known are jmp and call"),
        (("arm64", "7.2", "jmp"), "known are ftrace and bl"),
        (("x86_64", "7.2", None, "rop"), "known are plain, untrained"),
        (("arm64", "7.2", None, "its"), "x86_64 only"),
    ],
)
def test_knobs_that_do_not_exist_are_refused(words: tuple[str, ...], says: str) -> None:
    with pytest.raises(InputError, match=says):
        kernel_of(*words)
