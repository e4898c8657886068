"""The exception tree: every error that tramposim raises on purpose is a `TramposimError`.

The command line prints the message of one as a single line and exits with its `exit_code`
(`design`: 1 finding, 2 usage or unreadable input, 3 unsupported). A message says what is
wrong, where, and what to do about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from errno import errorcode

__all__ = [
    "ENOTSUPP",
    "AttachError",
    "BuildError",
    "FaultReport",
    "GuestFault",
    "HostBusy",
    "InputError",
    "KernelDefect",
    "MissingFunction",
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


class HostBusy(UnsupportedError):
    """This machine's CPU was never idle long enough to measure on it."""


class MissingFunction(UnsupportedError):
    """Code that calls a kernel function which the kernel environment lacks.

    `name` is the function, `user` what needs it: a helper, or what is built.
    """

    def __init__(self, name: str, user: str) -> None:
        super().__init__(f"{user} needs {name}, which this kernel environment lacks")
        self.name = name
        self.user = user


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
        self.message = message

    def of(self, subject: str) -> AttachError:
        """The same refusal, with what was refused before its words."""
        return AttachError(f"{subject}: {self.message}", self.errno, self.log)


def _errno_name(number: int) -> str:
    return "ENOTSUPP" if number == ENOTSUPP else errorcode.get(number, f"errno {number}")


@dataclass(frozen=True, slots=True)
class FaultReport:
    """What guest code did, as values.

    `reason` is a word of `_native.engine.REASONS`; `pc` the address of the instruction,
    `symbol` the place as "name+0x10" (empty if nothing is near) and `instruction` its text;
    `address` and `size` are the access or jump target that failed (0 where there is none);
    `executed` counts instructions of the run; `branches` are the last taken branches (from,
    to), oldest first.
    """

    reason: str
    pc: int
    symbol: str
    instruction: str
    address: int
    size: int
    executed: int
    branches: tuple[tuple[int, int], ...]


class GuestFault(TramposimError):
    """Emulated code did something that a kernel would not survive (bad access, wild jump).

    `report` has the details where code was executing.
    """

    exit_code = 1

    def __init__(self, message: str, report: FaultReport | None = None) -> None:
        super().__init__(message)
        self.report = report


class KernelDefect(TramposimError):
    """The modelled kernel itself would misbehave here: a finding about that kernel."""

    exit_code = 1
