"""The exception tree: every error that tramposim raises on purpose is a `TramposimError`.

The command line prints the message of one as a single line and exits with its `exit_code`
(`design`: 1 finding, 2 usage or unreadable input, 3 unsupported). A message says what is
wrong, where, and what to do about it.
"""

from __future__ import annotations

from errno import errorcode

__all__ = [
    "ENOTSUPP",
    "AttachError",
    "BuildError",
    "GuestFault",
    "InputError",
    "KernelDefect",
    "TramposimError",
    "UnsupportedError",
]


ENOTSUPP = 524
"""An errno of the kernel's own: not supported here (no C library knows it)."""


class TramposimError(Exception):
    """Root of the tree; `exit_code` is the process exit status that it leads to."""

    exit_code = 2


class InputError(TramposimError):
    """A file, option or scenario that cannot be read or understood.

    `where` names the place (file, file:line, option); it is put before the message.
    """

    def __init__(self, message: str, where: str | None = None) -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.where = where


class UnsupportedError(TramposimError):
    """An instruction, helper, relocation or feature that tramposim does not know.

    Raised instead of guessing: an unknown thing never costs zero cycles.
    """

    exit_code = 3


class BuildError(TramposimError):
    """Code generation could not produce an image or program (for example one too large)."""


class AttachError(TramposimError):
    """The kernel would refuse this attachment or load; `errno` is the number it returns.

    `errno` is positive (`errno.EBUSY`); `log` is the verifier's text where there is one.
    """

    exit_code = 1

    def __init__(self, message: str, errno: int, log: str | None = None) -> None:
        super().__init__(f"{message} ({_errno_name(errno)})")
        self.errno = errno
        self.log = log


def _errno_name(number: int) -> str:
    return "ENOTSUPP" if number == ENOTSUPP else errorcode.get(number, f"errno {number}")


class GuestFault(TramposimError):
    """Emulated code did something that a kernel would not survive (bad access, wild jump)."""

    exit_code = 1


class KernelDefect(TramposimError):
    """The modelled kernel itself would misbehave here: a finding about that kernel."""

    exit_code = 1
