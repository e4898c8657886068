"""`FILE#ID`: one record of a capture file."""

from __future__ import annotations

from pathlib import Path

from tramposim.capture.records import Capture, CaseRecord, LinksRecord, ProgRecord
from tramposim.errors import InputError

__all__ = ["Selected", "is_record_spec", "select_record"]

Selected = tuple[Capture, str, CaseRecord | LinksRecord | ProgRecord]
"""The file, the place of the record in it (`file:line`), the record."""


def is_record_spec(spec: str) -> bool:
    """Whether a SPEC names a record: `FILE#ID`."""
    return "#" in spec


def select_record(spec: str) -> Selected:
    """The first record with the id of `FILE#ID`.

    Raises `InputError` if the file cannot be read or has no such record.
    """
    path, _, record_id = spec.partition("#")
    if not path or not record_id:
        raise InputError("write FILE#ID, as in capture.jsonl.xz#n1.bpf_fentry_test1.fs", spec)
    capture = Capture(Path(path))
    for where, record in capture:
        if isinstance(record, CaseRecord | LinksRecord | ProgRecord) and record.id == record_id:
            return capture, where, record
    raise InputError(f"no record with id {record_id!r}", path)
