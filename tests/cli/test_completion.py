"""Shell completion: commands, and values that are looked up when a shell asks."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("tramposim thr", ["throughput"]),
        ("tramposim compare --core golden", ["golden-cove"]),
        ("tramposim image --returns srso-", ["srso-alias"]),
        ("tramposim explain fentry+fe", ["fentry+fentry", "fentry+fexit"]),
        ("tramposim bench --kernel 7.", ["7.0", "7.1", "7.2", "7.3"]),
    ],
)
def test_a_shell_gets_the_words_that_fit(words: str, expected: list[str]) -> None:
    environment = {
        **os.environ,
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
        "_TRAMPOSIM_COMPLETE": "bash_complete",
    }
    code = "import sys; from tramposim.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == [f"plain,{word}" for word in expected]
