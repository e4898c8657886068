import pytest

from tramposim.study.records import Records

ROW = {
    "arch": "x86_64",
    "core": "golden-cove",
    "core_error": "5.1 % mean over 34 images",
    "kernel": "7.2",
    "returns": "plain",
    "entry": "jmp",
}


@pytest.fixture
def records() -> Records:
    """Three rows and a break-even with round numbers."""
    return Records(
        meta={
            "function": "bpf_fentry_test1",
            "state": "hot",
            "break_even": [
                {
                    "arch": "x86_64",
                    "core": "golden-cove",
                    "cookie_extra_cycles": 3.0,
                    "hash_cycles": 400.0,
                    "cookie_cycles": 200.0,
                    "saved_cycles": 200.0,
                    "saved_share": 0.5,
                }
            ],
        },
        rows=(
            {**ROW, "entry": None, "scenario": "untraced", "body": "empty", "cycles_per_call": 3.0},
            {**ROW, "entry": None, "scenario": "untraced", "body": "count", "cycles_per_call": 3.0},
            {
                **ROW,
                "scenario": "fsession",
                "body": "empty",
                "cycles_per_call": 1068.54,
                "cycles_over_untraced": 1065.54,
                "image_bytes": 237,
            },
        ),
    )
