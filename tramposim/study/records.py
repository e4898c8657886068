"""The record format `tramposim.result/1`: what every command that measures prints as JSON.

`{"schema": "tramposim.result/1", "meta": {...}, "rows": [{...}]}`: `meta` says how the rows
were made (command, version, seed, basis of the numbers), each row is one measured thing with
flat names that carry their unit (`cycles_per_call`, `image_bytes`). A name that a row does
not have means that the thing does not exist for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tramposim.errors import InputError

__all__ = ["SCHEMA", "Records", "Value", "decode_records", "encode_records"]

SCHEMA = "tramposim.result/1"

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Records:
    """Rows of measured values and how they were made."""

    meta: Mapping[str, Any]
    rows: tuple[Mapping[str, Value], ...]
    schema: str = field(default=SCHEMA)


def encode_records(records: Records) -> str:
    """JSON text: one row per line, names in the order in which the rows give them."""
    encode = msgspec.json.Encoder().encode
    rows = ",\n  ".join(encode(dict(row)).decode() for row in records.rows)
    meta = encode(dict(records.meta)).decode()
    return (
        f'{{"schema": "{records.schema}",\n "meta": {meta},\n "rows": [\n  {rows}\n ]}}\n'
        if rows
        else f'{{"schema": "{records.schema}",\n "meta": {meta},\n "rows": []}}\n'
    )


class _Document(msgspec.Struct):
    schema: str
    meta: dict[str, Any]
    rows: list[dict[str, Value]]


def decode_records(text: str | bytes, where: str) -> Records:
    """Records from JSON; raises `InputError` naming `where` for anything else."""
    try:
        document = msgspec.json.decode(text, type=_Document)
    except msgspec.MsgspecError as error:
        raise InputError(f"not a {SCHEMA} record: {error}", where) from error
    if document.schema != SCHEMA:
        raise InputError(f"schema is {document.schema!r}; this version reads {SCHEMA!r}", where)
    return Records(meta=document.meta, rows=tuple(document.rows))
