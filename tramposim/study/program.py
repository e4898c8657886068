"""Programs from files and capture records, as the kernel loads and compiles them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tramposim.bpf.asm import assemble
from tramposim.bpf.fixup import FixupEnvironment, fixup
from tramposim.capture.programs import program_context, programs_of, read_program
from tramposim.capture.select import select_record
from tramposim.errors import InputError, UnsupportedError
from tramposim.jit.environment import JitEnvironment
from tramposim.jit.listing import function_image
from tramposim.jit.program import compile_program, lay_out
from tramposim.kernel.image import Image
from tramposim.machine.addresses import PAGE, address_map
from tramposim.machine.kerneldata import kernel_memory
from tramposim.machine.runtime import load_runtime
from tramposim.spec import Kernel, Program

__all__ = ["MAX_SOURCE", "program_images", "read_source", "record_images"]

MAX_SOURCE = 16 << 20
"""Largest source text read, in bytes."""
_ELF_MAGIC = b"\x7fELF"


def read_source(path: Path) -> tuple[Program, ...]:
    """The programs of an assembler source file.

    Raises `InputError` if it cannot be read or assembled, `UnsupportedError` for an object.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_SOURCE + 1)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", str(path)) from None
    if content.startswith(_ELF_MAGIC):
        raise UnsupportedError(f"{path}: an ELF object; give the program as assembler text")
    if len(content) > MAX_SOURCE:
        raise InputError(f"more than {MAX_SOURCE >> 20} MiB of source", str(path))
    try:
        return assemble(content.decode(), str(path))
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text (byte {error.start})", str(path)) from None


def program_images(
    kernel: Kernel, programs: tuple[Program, ...]
) -> Iterator[tuple[str, tuple[Image, ...]]]:
    """Name and functions of each program, at the places of `machine.addresses`.

    Maps lie a page apart. Raises what rewriting and compiling raise.
    """
    areas = address_map(kernel.arch)
    runtime = load_runtime(kernel)
    maps: dict[str, int] = {}
    for program in programs:
        for declared in program.maps:
            maps.setdefault(declared.name, areas.objects.base + len(maps) * PAGE)
    accounted = frozenset(runtime.symbols[name] for name in runtime.accounted)
    env = JitEnvironment(kernel, runtime.symbols, accounted=accounted)
    memory, _ = kernel_memory(runtime)
    verifier = FixupEnvironment(
        kernel,
        runtime.symbols,
        maps,
        private_stack=lambda size, align: memory.percpu(size, "a private stack", align),
    )
    names = {address: f"map {name}" for name, address in maps.items()}
    names |= {
        address + verifier.offsets.array_value: f"value of map {name}"
        for name, address in maps.items()
    }
    address = areas.jit.base
    for program in programs:
        loaded = fixup(program, verifier)
        compiled = compile_program(env, loaded, lay_out(env, loaded, address))
        pairs = zip(loaded.functions, compiled.functions, strict=True)
        yield program.name, tuple(function_image(env, *pair, names) for pair in pairs)
        address += len(compiled.content) + areas.jit.align & -areas.jit.align


def record_images(spec: str) -> Iterator[tuple[str, tuple[Image, ...]]]:
    """Name and functions of each program of the record `FILE#ID`, built from its inputs.

    Raises `InputError` for a record without compiled programs.
    """
    capture, where, record = select_record(spec)
    context = program_context(capture.path, capture.boot)
    found = False
    for subject, program in programs_of(record):
        captured = read_program(program, context, f"{where}: {subject}")
        if captured is None:
            continue
        found = True
        built = compile_program(captured.env, captured.program, captured.addresses)
        pairs = zip(captured.program.functions, built.functions, strict=True)
        yield subject, tuple(function_image(captured.env, *pair) for pair in pairs)
    if not found:
        raise InputError("the record has no compiled program", spec)
