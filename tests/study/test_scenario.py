import pytest

from tramposim.errors import InputError
from tramposim.spec import ProgKind
from tramposim.study.scenario import Term, parse_scenario


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("untraced", ()),
        ("fentry", (Term(ProgKind.FENTRY),)),
        ("fentry+fexit", (Term(ProgKind.FENTRY), Term(ProgKind.FEXIT))),
        ("fsession+cookie", (Term(ProgKind.FSESSION, cookie=True),)),
        (
            "fsession*2+cookie + fentry",
            (Term(ProgKind.FSESSION, 2, cookie=True), Term(ProgKind.FENTRY)),
        ),
        ("fmod_ret*3+ip+sleepable", (Term(ProgKind.FMOD_RET, 3, ip=True, sleepable=True),)),
    ],
)
def test_words_give_terms_in_attach_order(text: str, terms: tuple[Term, ...]) -> None:
    assert parse_scenario(text).terms == terms


@pytest.mark.parametrize("text", ["untraced", "fsession*2+cookie+fentry", "fexit+ip"])
def test_canonical_spelling_reads_back(text: str) -> None:
    assert parse_scenario(text).word == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "unknown word ''"),
        ("fsesion", "unknown word 'fsesion'; known are untraced, fentry"),
        ("fentry++fexit", "unknown word ''"),
        ("untraced+fentry", "unknown word 'untraced'"),
        ("cookie", "must follow the program"),
        ("fentry+cookie", "must follow 'fsession', not 'fentry'"),
        ("fsession+cookie+cookie", "given twice"),
        ("fsession*0", "1 to 4096 programs"),
        ("fsession*99999", "1 to 4096 programs"),
        ("fsession*-1", "unknown word"),
    ],
)
def test_bad_words_are_named_with_the_remedy(text: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_scenario(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
