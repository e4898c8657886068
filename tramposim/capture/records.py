"""Records of the capture format `tramposim.capture/1`: xz or plain JSON lines.

The first record of a file is its `boot`; the others are read one by one. Fields that are not
listed here are ignored, and kinds of records that are not listed are skipped, so that files
may carry more than tramposim reads. Whatever is malformed raises `InputError` that names file
and line.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from tramposim.errors import InputError

__all__ = [
    "BootRecord",
    "Capture",
    "CaseRecord",
    "FuncRecord",
    "FunctionInput",
    "LinkRecord",
    "LinksRecord",
    "ModelRecord",
    "NodeRecord",
    "NodesRecord",
    "ProgRecord",
    "ProgramRecord",
    "Record",
    "decode_hex",
]

MAX_LINE = 64 << 20
"""Longest record read, in bytes; real ones stay below 2 MiB."""
XZ_MAGIC = b"\xfd7zXZ\0"


class BootRecord(msgspec.Struct, tag_field="rec", tag="boot"):
    """What one boot has in common: kernel, variant, symbols, structure layouts, maps."""

    arch: str
    kernel: str
    variant: str = ""
    cmdline: str = ""
    uname: dict[str, Any] = {}
    vulnerabilities: dict[str, str | None] = {}
    symbols: dict[str, int | None] = {}
    layouts: dict[str, Any] = {}
    sizeof: dict[str, int | None] = {}
    offsets: dict[str, int | None] = {}
    eat: dict[str, int] = {}
    btf_ids: dict[str, int | None] = {}
    x86_return_thunk_value: int | None = None
    x86_return_thunk_symbols: list[str] = []
    maps: dict[str, Any] = {}
    map_defs: dict[str, Any] = {}
    tail_call_progs: dict[str, Any] = {}
    prog_array_contents: dict[str, list[str | None]] = {}


class FunctionInput(msgspec.Struct):
    """A function of a program as the JIT got it: `insnsi` is hex of the instructions."""

    p: int = 0
    len: int = 0
    insnsi: str = ""
    prog_fields: dict[str, Any] = {}
    aux_fields: dict[str, Any] = {}


class ProgramRecord(msgspec.Struct):
    """A program of a `case` or `links` record; `jited` is hex of all functions' code."""

    name: str = ""
    kind: str = ""
    body: str = ""
    opts: dict[str, Any] = {}
    insns: str = ""
    relocs: list[tuple[int, str, str]] = []
    load_errno: int = 0
    log: str | None = None
    jited: str | None = None
    xlated: str | None = None
    ksyms: list[int] = []
    func_lens: list[int] = []
    main: FunctionInput | None = None
    funcs: list[FunctionInput] = []
    p: int | None = None
    bpf_func: int | None = None
    observed: dict[str, Any] | None = None


class LinkRecord(msgspec.Struct):
    """An attachment, in the order of attaching; `errno` 0 is success.

    In `links` records it has `targets` and `cookies`, by the same index, and `multi` tells
    tracing_multi links from single ones.
    """

    link: str = ""
    prog: str = ""
    cookie: int = 0
    method: str = ""
    errno: int = 0
    multi: bool = False
    targets: list[str] = []
    cookies: list[int] | None = None


class ModelRecord(msgspec.Struct):
    """struct btf_func_model of the traced function; sizes in bytes."""

    ret_size: int
    ret_flags: int
    nr_args: int
    arg_size: list[int]
    arg_flags: list[int]


class NodeRecord(msgspec.Struct):
    """One entry of a trampoline's program list."""

    prog: str
    p: int
    bpf_func: int
    cookie: int = 0
    fsession: bool = False
    session_cookie: bool = False
    sleepable: bool = False


class NodesRecord(msgspec.Struct):
    """The lists in invocation order."""

    fentry: list[NodeRecord] = []
    fmod_ret: list[NodeRecord] = []
    fexit: list[NodeRecord] = []


class CaseRecord(msgspec.Struct, tag_field="rec", tag="case"):
    """One traced function with its programs; `img` is hex of the image, if there is one."""

    id: str
    group: str = ""
    target: str = ""
    proto: str = ""
    target_info: dict[str, Any] = {}
    maps: list[Any] = []
    progs: list[ProgramRecord] = []
    links: list[LinkRecord] = []
    image: int | None = None
    im: int | None = None
    func_addr: int | None = None
    flags: int | None = None
    im_size: int | None = None
    img: str | None = None
    code_len: int | None = None
    func_bytes_m16: str | None = None
    model: ModelRecord | None = None
    nodes: NodesRecord | None = None
    skips: list[dict[str, int]] = []
    run: dict[str, Any] | None = None
    tgt_prog: ProgramRecord | None = None
    map: str | None = None
    site_ops: int | None = None
    ops_direct_call: int | None = None
    links_id: str | None = None


class LinksRecord(msgspec.Struct, tag_field="rec", tag="links"):
    """tracing_multi links that several `case` records share."""

    id: str
    progs: list[ProgramRecord] = []
    links: list[LinkRecord] = []


class ProgRecord(msgspec.Struct, tag_field="rec", tag="prog"):
    """One compiled program with its run."""

    id: str
    ptype: str = ""
    insns: str = ""
    relocs: list[tuple[int, str, str]] = []
    feats: list[str] = []
    deterministic: bool = False
    load_errno: int = 0
    log: str | None = None
    jited: str | None = None
    xlated: str | None = None
    ksyms: list[int] = []
    func_lens: list[int] = []
    main: FunctionInput | None = None
    funcs: list[FunctionInput] = []
    run: dict[str, Any] | None = None
    ms_after: str | None = None


class FuncRecord(msgspec.Struct, tag_field="rec", tag="func"):
    """A function of the kernel's text: `bytes` is hex, `pre16` the 16 bytes before it."""

    name: str
    addr: int
    size: int
    bytes: str
    aliases: list[str] = []
    pre16: str | None = None
    depth: int = 0
    calls: list[dict[str, Any]] = []
    refs: list[dict[str, Any]] = []


Record = CaseRecord | LinksRecord | ProgRecord | FuncRecord


class _Kind(msgspec.Struct):
    rec: str


_DECODER: msgspec.json.Decoder[BootRecord | Record] = msgspec.json.Decoder(BootRecord | Record)
_KIND = msgspec.json.Decoder(_Kind)
_KNOWN = {"boot", "case", "links", "prog", "func"}


class Capture:
    """A capture file: `boot` is read on opening; iterating gives (place, record).

    The place is `file:line`, for messages. Raises `InputError` if the file cannot be read,
    does not begin with a boot record, or holds a malformed one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines = self._read_lines()
        first = next(self._lines, None)
        record = self._decode(*first) if first else None
        if not isinstance(record, BootRecord):
            raise InputError("a capture file begins with a record of rec 'boot'", str(path))
        self.boot = record

    def __iter__(self) -> Iterator[tuple[str, Record]]:
        for number, line in self._lines:
            record = self._decode(number, line)
            where = f"{self.path}:{number}"
            if isinstance(record, BootRecord):
                raise InputError("a second boot record", where)
            if record is not None:
                yield where, record

    def _read_lines(self) -> Iterator[tuple[int, bytes]]:
        try:
            with self._open() as stream:
                number = 0
                while line := stream.readline(MAX_LINE + 1):
                    number += 1
                    if len(line) > MAX_LINE:
                        raise InputError(
                            f"a record of more than {MAX_LINE >> 20} MiB", f"{self.path}:{number}"
                        )
                    if line.strip():
                        yield number, line
        except (OSError, EOFError, lzma.LZMAError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            raise InputError(f"cannot be read: {reason or error}", str(self.path)) from None

    def _open(self) -> IO[bytes]:
        with self.path.open("rb") as stream:
            compressed = stream.read(len(XZ_MAGIC)) == XZ_MAGIC
        return lzma.open(self.path) if compressed else self.path.open("rb")

    def _decode(self, number: int, line: bytes) -> BootRecord | Record | None:
        """The record of a line; None if it is of a kind that is not read."""
        try:
            return _DECODER.decode(line)
        except (msgspec.DecodeError, RecursionError) as error:
            where = f"{self.path}:{number}"
            try:
                if _KIND.decode(line).rec not in _KNOWN:
                    return None
            except (msgspec.DecodeError, RecursionError):
                raise InputError(f"not a capture record: {error}", where) from None
            raise InputError(f"malformed record: {error}", where) from None


def decode_hex(text: str, what: str, where: str) -> bytes:
    """Bytes of a hex field; raises `InputError` naming the field and the place."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise InputError(f"{what} is not hex", where) from None
