"""Programs from files and capture records, as the kernel loads and compiles them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tramposim.bpf.asm import assemble
from tramposim.bpf.compile import compile_c
from tramposim.bpf.fixup import FixupEnvironment, fixup
from tramposim.bpf.host import Host
from tramposim.bpf.inlining import REDIRECTS
from tramposim.bpf.object import DEFAULT_VERSION, load_object
from tramposim.bpf.precheck import check_program
from tramposim.bpf.raw import hex_program, raw_program
from tramposim.bpf.vmlinux import kernel_btf
from tramposim.capture.programs import program_context, programs_of, read_program
from tramposim.capture.select import select_record
from tramposim.errors import InputError
from tramposim.jit.environment import JitEnvironment
from tramposim.jit.listing import function_image
from tramposim.jit.program import compile_program, lay_out
from tramposim.kernel.image import Image
from tramposim.machine.addresses import PAGE, address_map
from tramposim.machine.kerneldata import kernel_memory
from tramposim.machine.runtime import load_runtime
from tramposim.spec import Kernel, Program

__all__ = ["MAX_SOURCE", "program_images", "read_source", "record_images"]

MAX_SOURCE = 256 << 20
"""Largest program file read, in bytes (objects carry debug information)."""
_ELF_MAGIC = b"\x7fELF"


def read_source(
    path: Path,
    *,
    btf: Path | None = None,
    include: Sequence[Path] = (),
    version: str = DEFAULT_VERSION,
) -> tuple[Program, ...]:
    """The programs of a file, told by its suffix and content.

    C (`.c`), an ELF object, raw instructions (`.bin`, or `.hex` in text), else assembler text.
    `btf` is a kernel's BTF file for CO-RE relocations, `include` are folders with headers for
    C, `version` what LINUX_KERNEL_VERSION gives. Raises `InputError` for what cannot be read,
    and what compiling, loading and checking the programs raise.
    """
    programs = _programs(path, btf, include, version)
    for program in programs:
        check_program(program)
    return programs


def _programs(
    path: Path, btf: Path | None, include: Sequence[Path], version: str
) -> tuple[Program, ...]:
    where = str(path)
    content = _content(path)
    types = kernel_btf(btf) if btf else None
    if path.suffix == ".c":
        content = compile_c(path, include, types)
    if content.startswith(_ELF_MAGIC):
        return load_object(content, where, types, version)
    if path.suffix == ".bin":
        return (raw_program(content, where),)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text (byte {error.start})", where) from None
    return (hex_program(text, where),) if path.suffix == ".hex" else assemble(text, where)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_SOURCE + 1)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", str(path)) from None
    if len(content) > MAX_SOURCE:
        raise InputError(f"more than {MAX_SOURCE >> 20} MiB", str(path))
    return content


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
    # Helpers without guest code are where hypercalls would be.
    symbols = dict(runtime.symbols)
    for number, name in enumerate(Host().helpers()):
        symbols.setdefault(REDIRECTS.get(name, name), areas.driver.base + 16 * number)
    env = JitEnvironment(kernel, symbols, accounted=accounted)
    memory, _ = kernel_memory(runtime)
    layout = runtime.structs
    verifier = FixupEnvironment(
        kernel,
        symbols,
        maps,
        text={n: layout.stext + offset for n, (offset, _) in layout.text.items()},
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
