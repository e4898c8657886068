"""Global variables are set where BTF says that they are, or refused."""

from __future__ import annotations

import pytest

from tramposim.errors import InputError
from tramposim.spec import Map, MapFlag, MapType, ProgKind, Program, Scalar
from tramposim.study.globals import set_globals

PARTS = (
    Scalar("pid", 0, 4, signed=True),
    Scalar("config.on", 4, 1),
    Scalar("name", 5, 3, text=True),
    Scalar("ports", 8, 2, count=4),
)
DATA = Map(
    "x.rodata", MapType.ARRAY, 4, 16, 1, flags=MapFlag.RDONLY_PROG, value_parts=PARTS
)  # fmt: skip
PROGRAM = Program("p", ProgKind.FENTRY, b"\x95" + bytes(7), maps=(DATA,))


def test_variables_members_and_elements() -> None:
    words = ["pid=-2", "config.on=1", "name=ab", "ports[3]=0x1234", "ports=7"]
    (changed,) = set_globals([PROGRAM], words)
    expected = "feffffff" + "01" + "616200" + "0700" + "0000" * 2 + "3412"
    assert changed.maps[0].content.hex() == expected
    assert PROGRAM.maps[0].content == b""


@pytest.mark.parametrize(
    ("word", "match"),
    [
        ("pid", "NAME=VALUE"),
        ("nothing=1", "there are config.on, name, pid, ports"),
        ("pid=0x100000000", "no number of 4 bytes"),
        ("pid=x", "no number"),
        ("config.on=-200", "no number of 1 bytes"),
        ("name=abc", "room for 2"),
        ("ports[4]=1", "has 4 elements"),
    ],
)
def test_what_cannot_be_set_is_named(word: str, match: str) -> None:
    with pytest.raises(InputError, match=match):
        set_globals([PROGRAM], [word])
