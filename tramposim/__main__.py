"""`python -m tramposim` is the command `tramposim`."""

import sys

from tramposim.cli import main

sys.exit(main())
