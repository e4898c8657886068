"""Regenerate this folder and the outputs in the project's pages: `python results/regenerate.py`.

Each result is what one command line prints; nothing is edited by hand. The same checkout gives
the same bytes on every machine.
"""

from __future__ import annotations

import re
import shlex
import sys
import tempfile
from pathlib import Path

from tramposim.cli import main

HERE = Path(__file__).parent
PROJECT = HERE.parent

RESULTS = {
    "compare.md": "compare --format md",
    "compare.json": "compare --format json",
    "compare-its-thunks.md": "compare --arch x86_64 --returns its --format md",
    "compare-call-entry.md": "compare --arch x86_64 --entry call --format md",
    "load-icmp_rcv.md": "load workloads/icmp_rcv.toml --format md",
}
"""File name -> the arguments of the `tramposim` command that prints it."""

PAGES = ("README.md", "docs/tutorial.md")
"""Pages, from the project's root, that show what commands print."""

OUTPUT = re.compile(r"(<!-- output: (.+?) -->\n```\n).*?(```\n)", re.DOTALL)
"""A block of a page that shows what a command prints."""


def printed(words: str) -> str:
    """What `tramposim WORDS` prints into a file; stops the process if the command fails."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output"
        status = main([*shlex.split(words), "-o", str(output)])
        if status:
            sys.exit(status)
        return output.read_text()


def with_outputs(page: str) -> str:
    """The page with every output block made anew."""
    return OUTPUT.sub(lambda block: block[1] + printed(block[2]) + block[3], page)


def folder_readme() -> str:
    """The folder's README: what each file is and how it was made."""
    lines = [
        "# Results",
        "",
        "Generated; regenerate all with `python results/regenerate.py`, never edit.",
        "",
        "| file | made by |",
        "| :-- | :-- |",
        *(f"| [{name}]({name}) | `tramposim {words}` |" for name, words in RESULTS.items()),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for name, words in RESULTS.items():
        (HERE / name).write_text(printed(words))
    (HERE / "README.md").write_text(folder_readme())
    for page in (PROJECT / name for name in PAGES):
        page.write_text(with_outputs(page.read_text()))
