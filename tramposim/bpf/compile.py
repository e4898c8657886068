"""C sources to BPF objects, by `clang` if there is one, else by the one in `ziglang`.

Headers that programs for libbpf include (`vmlinux.h`, `bpf/bpf_helpers.h`, ...) are found
beside the source, in the folders given, and then among those of this package.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

from tramposim.bpf.btf import Btf
from tramposim.bpf.header import kernel_header
from tramposim.errors import InputError, UnsupportedError

__all__ = ["compile_c", "compiler_command"]

TIMEOUT_SECONDS = 300
MAX_ERRORS = 4
"""Diagnostics of the compiler that an error shows."""
_OPTIONS = (
    "-O2",
    "-g",
    "-mcpu=v3",
    "-Wno-unknown-attributes",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    "-c",
)
_CLANG = ("-target", "bpfel", "-ffreestanding")
_ZIG = ("-m", "ziglang", "cc", "-target", "bpfel-freestanding")
_ERROR = re.compile(r"^(.+?):(\d+):(?:\d+): (?:fatal )?error: (.*)$", re.MULTILINE)


def compiler_command() -> tuple[str, ...]:
    """The compiler's command line up to its options.

    Raises `UnsupportedError` if there is no compiler that knows BPF.
    """
    clang = shutil.which("clang")
    if clang is not None:
        return (clang, *_CLANG)
    if find_spec("ziglang") is not None:
        return (sys.executable, *_ZIG)
    raise UnsupportedError(
        "C programs need a compiler: install clang, or run pip install 'tramposim[cc]'"
    )


def compile_c(source: Path, include: Sequence[Path] = (), kernel_btf: Btf | None = None) -> bytes:
    """Compile a C file to an ELF object; `include` are folders to look for headers in.

    If that fails for the types that the shipped `vmlinux.h` has, one with those of
    `kernel_btf` is made. Raises `InputError` with the compiler's errors, `UnsupportedError`
    without a compiler.
    """
    command = compiler_command()
    if not source.is_file():
        raise InputError("cannot be read: no such file", str(source))
    for folder in include:
        if not folder.is_dir():
            raise InputError("no such folder", f"--include {folder}")
    with (
        resources.as_file(resources.files("tramposim.bpf") / "include") as headers,
        tempfile.TemporaryDirectory(prefix="tramposim-") as name,
    ):
        scratch = Path(name)
        folders = [source.parent, *include, headers]
        try:
            return _compiled(command, source, folders, scratch)
        except InputError:
            if kernel_btf is None:
                raise
        (scratch / "vmlinux.h").write_text(kernel_header(kernel_btf))
        return _compiled(command, source, [*folders[:-1], scratch, headers], scratch)


def _compiled(
    command: Sequence[str], source: Path, folders: Sequence[Path], scratch: Path
) -> bytes:
    target = scratch / "program.o"
    options = [*_OPTIONS, *(f"-I{folder}" for folder in folders)]
    try:
        done = subprocess.run(
            [*command, *options, str(source.absolute()), "-o", str(target)],
            env=_environment(scratch),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except OSError as error:
        raise UnsupportedError(f"{command[0]}: {error.strerror or error}") from None
    except subprocess.TimeoutExpired:
        raise InputError(f"took longer than {TIMEOUT_SECONDS} s to compile", str(source)) from None
    if done.returncode or not target.is_file():
        raise InputError(_diagnosis(done.stderr.decode(errors="replace")), str(source))
    return target.read_bytes()


def _environment(scratch: Path) -> dict[str, str]:
    """The compiler's environment; ziglang wants a place for its cache even without a home."""
    places = ("HOME", "XDG_CACHE_HOME", "ZIG_GLOBAL_CACHE_DIR")
    if any(os.environ.get(name) for name in places):
        return dict(os.environ)
    return {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(scratch / "cache")}


def _diagnosis(output: str) -> str:
    """The compiler's errors in one line."""
    found = [f"{Path(file).name}:{line}: {text}" for file, line, text in _ERROR.findall(output)]
    if not found:
        rest = " ".join(output.split())
        return f"does not compile: {rest[:500] or 'the compiler says nothing'}"
    more = len(found) - MAX_ERRORS
    tail = f"; and {more} more" if more > 0 else ""
    return "does not compile: " + "; ".join(found[:MAX_ERRORS]) + tail
