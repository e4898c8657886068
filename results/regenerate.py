"""Regenerate every file of this folder: `python results/regenerate.py [FOLDER]`.

Each result is what one command line prints; nothing here is edited by hand. The same
checkout gives the same bytes on every machine.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tramposim.cli import main

HERE = Path(__file__).parent

RESULTS = {
    "compare.md": "compare --format md",
    "compare.json": "compare --format json",
    "compare-its-thunks.md": "compare --arch x86_64 --returns its --format md",
    "compare-call-entry.md": "compare --arch x86_64 --entry call --format md",
    "load-icmp_rcv.md": "load workloads/icmp_rcv.toml --format md",
}
"""File name -> the arguments of the `tramposim` command that prints it."""


def readme() -> str:
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


def regenerate(folder: Path) -> int:
    """Write all results into `folder`; the exit code of the first command that fails, or 0."""
    for name, words in RESULTS.items():
        status = main([*words.split(), "-o", str(folder / name)])
        if status:
            return status
    (folder / "README.md").write_text(readme())
    return 0


if __name__ == "__main__":
    sys.exit(regenerate(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE))
