import csv
import io

from tramposim.report.export import records_csv
from tramposim.study.records import Records


def test_csv_has_every_field_once_and_leaves_absent_values_empty(records: Records) -> None:
    rows = list(csv.DictReader(io.StringIO(records_csv(records))))
    assert [row["scenario"] for row in rows] == ["untraced", "untraced", "fsession"]
    assert rows[0]["image_bytes"] == ""
    assert rows[2]["image_bytes"] == "237"
