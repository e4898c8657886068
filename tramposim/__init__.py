"""tramposim: cycle-level simulation of Linux BPF trampolines."""

__version__ = "0.1.0"
