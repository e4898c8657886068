"""Whether this machine's own CPU can be an engine."""

from __future__ import annotations

import pytest

from tramposim.errors import UnsupportedError
from tramposim.machine.native import host_arch
from tramposim.spec import Arch

try:
    ON_X86_64 = host_arch() is Arch.X86_64
except UnsupportedError:
    ON_X86_64 = False

on_x86_64 = pytest.mark.skipif(not ON_X86_64, reason="the host is no x86_64 Linux")
