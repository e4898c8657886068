"""Timing: instructions to uops per core, core descriptions, the core model's Python face."""

from tramposim.timing.core import Core, core_names, load_core
from tramposim.timing.model import Timing, time_trace
from tramposim.timing.states import STATES

__all__ = ["STATES", "Core", "Timing", "core_names", "load_core", "time_trace"]
