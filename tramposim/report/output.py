"""Writing a result: to standard output, or to a file that appears whole or not at all."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from tramposim.errors import InputError

__all__ = ["write_result"]


def write_result(content: str | bytes, output: str = "-") -> None:
    """Write `content` (text as UTF-8) to the file `output`, or to standard output for `-`.

    A file is written under a temporary name beside its place and then renamed. Raises
    `InputError` when that is not possible.
    """
    if output == "-":
        if isinstance(content, bytes):
            sys.stdout.buffer.write(content)
        else:
            sys.stdout.write(content)
        return
    data = content.encode() if isinstance(content, str) else content
    path = Path(output)
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise InputError(f"cannot write: {error.strerror}", output) from error
    try:
        with open(handle, "wb") as file:
            file.write(data)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"cannot write: {error.strerror}", output) from error
    finally:
        Path(temporary).unlink(missing_ok=True)
