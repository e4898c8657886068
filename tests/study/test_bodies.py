import pytest

from tramposim.errors import InputError
from tramposim.spec import ProgKind
from tramposim.study.bodies import programs_of
from tramposim.study.compare import GRID
from tramposim.study.scenario import parse_scenario


def kinds(scenario: str, body: str) -> list[str]:
    return [program.kind.value for program in programs_of(parse_scenario(scenario), body)]


@pytest.mark.parametrize(("scenario", "body"), GRID)
def test_every_cell_of_the_comparison_has_its_programs(scenario: str, body: str) -> None:
    expected = [] if scenario == "untraced" else scenario.replace("+cookie", "").split("+")
    assert kinds(scenario, body) == expected


def test_copies_are_programs_of_their_own() -> None:
    programs = programs_of(parse_scenario("fsession*3+cookie+fentry+sleepable"), "count")
    assert [program.kind for program in programs] == [ProgKind.FSESSION] * 3 + [ProgKind.FENTRY]
    assert len({program.name for program in programs}) == 4
    assert [program.sleepable for program in programs] == [False] * 3 + [True]


@pytest.mark.parametrize(
    ("scenario", "body", "says"),
    [
        ("fentry", "nothing", "unknown body 'nothing'; known are empty, count"),
        ("fentry", "latency-hash", "fentry has no body 'latency-hash'"),
        ("fsession", "latency-cookie", "fsession has no body 'latency-cookie'"),
    ],
)
def test_bodies_that_do_not_exist_are_named(scenario: str, body: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        programs_of(parse_scenario(scenario), body)
