"""Machine code as records: an image by its parts, programs by their eBPF instructions, a frame
by its slots."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from tramposim import __version__
from tramposim.errors import InputError
from tramposim.kernel.image import Image
from tramposim.machine.disassembly import disassemble
from tramposim.study.records import Records, Value

__all__ = ["frame_records", "image_records", "program_records"]

_Row = Mapping[str, Value]


def image_records(image: Image, about: Mapping[str, Value]) -> Records:
    """A row per part of an image, in the order of the code; `code` is in hex.

    `about` goes into `meta`, as do address, bytes, frame and the whole code.
    """
    frame = image.frame
    meta = {
        **_meta("image", about),
        "address": f"{image.address:#x}",
        "image_bytes": len(image.code),
        "im_size_bytes": image.size,
        **({"frame_base": frame.base, "frame_bytes": frame.size} if frame else {}),
        "code": image.code.hex(),
    }
    return Records(meta, tuple(_parts(image)))


def frame_records(image: Image, about: Mapping[str, Value]) -> Records:
    """A row per slot of an image's stack frame, from high to low addresses.

    Raises `InputError` for an image without a frame.
    """
    frame = image.frame
    if frame is None:
        raise InputError("the image has no stack frame")
    meta = {**_meta("image", about), "frame_base": frame.base, "frame_bytes": frame.size}
    rows: list[_Row] = [
        {"slot": slot.name, "offset_bytes": slot.offset, "bytes": slot.size} for slot in frame.slots
    ]
    return Records(meta, tuple(rows))


def program_records(
    programs: Iterable[tuple[str, Sequence[Image]]], about: Mapping[str, Value]
) -> Records:
    """A row per eBPF instruction (or other part) of the functions of each program.

    `functions` of `meta` has address, bytes and code of each function.
    """
    rows: list[_Row] = []
    functions: list[_Row] = []
    for program, images in programs:
        for number, image in enumerate(images):
            functions.append(
                {
                    "program": program,
                    "function": number,
                    "address": f"{image.address:#x}",
                    "program_bytes": len(image.code),
                    "code": image.code.hex(),
                }
            )
            rows += [{"program": program, "function": number, **row} for row in _parts(image)]
    return Records({**_meta("jit", about), "functions": functions}, tuple(rows))


def _meta(command: str, about: Mapping[str, Value]) -> dict[str, Value]:
    return {"command": command, "version": __version__, **about}


def _parts(image: Image) -> Iterator[_Row]:
    """The parts that have bytes: name, whom it is about, place, code."""
    starts = [
        insn.address - image.address for insn in disassemble(image.arch, image.code, image.address)
    ]
    detailed = any(part.detail for part in image.parts)
    for part in image.parts:
        if part.start < part.end:
            yield {
                "part": part.name,
                **({"detail": part.detail or None} if detailed else {}),
                "offset_bytes": part.start,
                "bytes": part.end - part.start,
                "instructions": sum(part.start <= start < part.end for start in starts),
                "code": image.code[part.start : part.end].hex(),
            }
