"""The command line: one module per command, loaded when it is used.

Data goes to stdout, everything else to stderr. Exit codes: 0 ok, 1 finding, 2 usage or
unreadable input, 3 unsupported instruction, helper or feature, 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import click

from tramposim import __version__
from tramposim.errors import TramposimError

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "compare": "What one fsession program costs versus separate fentry + fexit programs.",
    "bench": "The rows of the kernel's bench trig-*, in its output formats.",
    "explain": "Where the cycles go, part by part; two scenarios side by side.",
    "timeline": "When each instruction passed each stage: text, Konata, Perfetto.",
    "sweep": "The same scenarios over many cores, kernels and knobs.",
    "diff": "What differs between two kernels, knobs, scenarios or records.",
    "gate": "Fail when a cost got worse than a record says it was.",
    "load": "What tracing costs at a call rate: CPU share and latency of a workload.",
    "image": "Build a trampoline image: labelled disassembly, hex, frame layout.",
    "jit": "Compile a BPF program: labelled disassembly or hex.",
    "run": "Execute a BPF program and print its return value and maps.",
    "verify": "Rebuild captured images and programs and compare the bytes.",
    "validate": "Hold images and programs that a JIT emitted against the kernel's rules.",
    "capture": "Write the images of traced functions of the running kernel to a file.",
    "replay": "Execute and time captured images with their kernel's own functions.",
    "throughput": "Cycles per iteration of code blocks on a core.",
    "native": "Measure on this machine's CPU and print beside the model.",
    "report": "Tables, files for other tools, or one HTML page.",
    "cores": "Core models with the source of every number.",
    "doctor": "Check that this installation can do its work.",
}
"""Command names in the order that `--help` lists them, with their one-line help."""


class _LazyGroup(click.Group):
    """Imports a command's module only when the command runs or shows its help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f"tramposim.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with: tramposim compare",
)
@click.version_option(__version__, prog_name="tramposim")
def _tramposim() -> None:
    """Cycle-level simulator of Linux BPF trampolines."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code and never raises for bad input."""
    try:
        status = _tramposim.main(args=arguments, prog_name="tramposim", standalone_mode=False)
        sys.stdout.flush()
    except TramposimError as error:
        return _fail(str(error), error.exit_code)
    except click.ClickException as error:
        return _fail(error.format_message(), 2, _usage_context(error))
    except click.exceptions.Exit as error:
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", 130)
    except ModuleNotFoundError as error:
        return _fail(f"module {error.name} is missing; install tramposim with pip", 2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status if isinstance(status, int) else 0


def _usage_context(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "tramposim"
    return f"; see '{path} --help'" if isinstance(error, click.UsageError) else ""


def _fail(message: str, code: int, hint: str = "") -> int:
    line = " ".join(message.split()).rstrip(".")
    print(f"tramposim: {line}{hint}", file=sys.stderr)
    return code
