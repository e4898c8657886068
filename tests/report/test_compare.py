from dataclasses import replace

from tramposim.report.compare import compare_markdown, compare_text
from tramposim.study.records import Records


def test_text_names_core_error_kernel_and_entry(records: Records) -> None:
    title = " ".join(compare_text(records, output="file").splitlines()[:2])
    for words in ("bpf_fentry_test1 on x86_64", "golden-cove (model error: 5.1 %", "entry by jmp"):
        assert words in title


def test_untraced_is_shown_once_and_absent_values_are_blank(records: Records) -> None:
    lines = compare_text(records, output="file").splitlines()
    untraced = [line for line in lines if line.startswith(" untraced")]
    assert [line.split() for line in untraced] == [["untraced", "empty", "3.0"]]
    assert any(line.split() == ["fsession", "empty", "1,068.5", "1,065.5", "237"] for line in lines)


def test_break_even_is_one_sentence_with_numbers(records: Records) -> None:
    text = " ".join(compare_text(records, output="file").split())
    assert "costs the pair more than 3.0 cycles" in text
    assert "the cookie saves 200.0 cycles per call (50 %)" in text


def test_break_even_says_when_the_fsession_wins_without_work(records: Records) -> None:
    found = {**records.meta["break_even"][0], "cookie_extra_cycles": -2.5}
    cheaper = replace(records, meta={**records.meta, "break_even": [found]})
    assert "2.5 cycles per call less than the pair" in " ".join(
        compare_text(cheaper, output="file").split()
    )


def test_break_even_at_equal_cost_claims_no_difference(records: Records) -> None:
    found = {**records.meta["break_even"][0], "cookie_extra_cycles": -0.004}
    equal = replace(records, meta={**records.meta, "break_even": [found]})
    assert "costs what the pair costs" in " ".join(compare_text(equal, output="file").split())


def test_markdown_is_a_table_with_aligned_numbers(records: Records) -> None:
    lines = compare_markdown(records).splitlines()
    assert lines[3].startswith("| :-- | :-- | --: |")
    assert "| fsession | empty | 1,068.5 | 1,065.5 |  |" in lines[5]
