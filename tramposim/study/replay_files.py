"""Which captures of a directory hold the records of a table of measured cycles."""

from __future__ import annotations

from pathlib import Path

from tramposim.errors import InputError
from tramposim.kernel.versions import series_of
from tramposim.spec import Arch

__all__ = ["DEFAULT_VARIANTS", "captures_of"]

DEFAULT_VARIANTS = {Arch.X86_64: "default", Arch.ARM64: "max"}
"""How captures name a boot without special options."""

_OTHERS = ("-runtime", "-jit")
"""Kinds of captures that hold no images."""


def captures_of(
    directory: Path, version: str, variant: str | None = None, arch: str | None = None
) -> tuple[Path, ...]:
    """The captures of images `<arch>-<kernel>-<variant>-<kind>.jsonl[.xz]`, sorted by name.

    `version` is a kernel or its series; `arch` defaults to x86_64, `variant` to the
    architecture's default. Raises `InputError` if there is none.
    """
    architecture = Arch(arch or Arch.X86_64)
    variant = variant or DEFAULT_VARIANTS[architecture]
    found = []
    for path in sorted(directory.glob(f"{architecture}-*-{variant}-*.jsonl*")):
        stem = path.name.partition(".jsonl")[0]
        kernel, _, kind = stem[len(architecture) + 1 :].partition(f"-{variant}-")
        wanted = version in (kernel, series_of(kernel))
        if wanted and f"-{kind}" not in _OTHERS and path.suffix in (".xz", ".jsonl"):
            found.append(path)
    if not found:
        raise InputError(
            f"no captures {architecture}-{version}*-{variant}-*.jsonl.xz here; "
            "name the captures, or their directory with --golden",
            str(directory),
        )
    return tuple(found)
