import json

import pytest

from tramposim.errors import InputError
from tramposim.study.records import Records, decode_records, encode_records

RECORDS = Records(meta={"seed": 1}, rows=({"arch": "arm64", "cycles_per_call": 3.5, "slots": 2},))


def test_json_has_the_schema_and_flat_rows() -> None:
    document = json.loads(encode_records(RECORDS))
    assert document == {
        "schema": "tramposim.result/1",
        "meta": {"seed": 1},
        "rows": [{"arch": "arm64", "cycles_per_call": 3.5, "slots": 2}],
    }


def test_no_rows_is_still_a_document() -> None:
    assert json.loads(encode_records(Records(meta={}, rows=())))["rows"] == []


def test_what_was_written_reads_back() -> None:
    assert decode_records(encode_records(RECORDS), "memory") == RECORDS


@pytest.mark.parametrize(
    "text",
    ["", "{}", '{"schema": "other/1", "meta": {}, "rows": []}', '{"schema": 1}', "[1, 2"],
)
def test_anything_else_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(InputError, match=r"^base\.json: "):
        decode_records(text, "base.json")
