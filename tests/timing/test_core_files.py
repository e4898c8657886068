"""Core descriptions: what is shipped loads, what is malformed is refused with its place."""

from __future__ import annotations

from importlib import resources

import pytest

from tramposim.errors import InputError
from tramposim.timing import core_names, load_core
from tramposim.timing.core import parse_core


@pytest.mark.parametrize("name", core_names())
def test_every_number_of_a_shipped_core_names_its_source(name: str) -> None:
    core = load_core(name)
    assert core.name == name
    for _section, _name, parameter in core.parameters():
        assert core.sources[parameter.source]
    for data in core.classes.values():
        assert core.sources[data.source]


def test_an_unknown_core_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="golden-cove"):
        load_core("pentium")


def _golden_cove() -> str:
    return (resources.files("tramposim.timing.cores") / "golden-cove.toml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (
            'value = 512, source = "guide"',
            'value = "many", source = "guide"',
            r"rename\.rob\.value",
        ),
        (
            'value = 512, source = "guide"',
            'value = 512, source = "dream"',
            "unknown source 'dream'",
        ),
        ('alu = { ports = "0 1 5 6 10"', 'alu = { ports = "0 1 55"', "port '55'"),
        ("[rename]", "[renaming]", "renaming"),
        ("latency = 18", "latency = 18000", "out of range"),
    ],
)
def test_a_malformed_core_is_refused_naming_the_place(old: str, new: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        parse_core(_golden_cove().replace(old, new, 1), "mine.toml")
    assert str(caught.value).startswith("mine.toml")


@pytest.mark.parametrize("name", core_names())
def test_a_shipped_core_was_compared_with_silicon_or_says_that_it_was_not(name: str) -> None:
    core = load_core(name)
    assert (core.error == "uncalibrated") == (name not in ("golden-cove", "zen5"))


def test_every_host_has_one_core() -> None:
    hosts = [host for name in core_names() for host in load_core(name).hosts]
    assert len(set(hosts)) == len(hosts)
