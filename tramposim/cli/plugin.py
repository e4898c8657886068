"""`tramposim-bpf-plugin`: the plugin that the bpf_conformance runner calls for every test."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from tramposim.errors import InputError, TramposimError
from tramposim.spec import Arch, Kernel, Program

__all__ = ["main"]

_NAME = "tramposim-bpf-plugin"
_MAX_TEXT = 64 << 20


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Example:
  echo 'b7 00 00 00 05 00 00 00 95 00 00 00 00 00 00 00' | tramposim-bpf-plugin --engine jit""",
)
@click.argument("memory", metavar="[MEMORY-HEX]", default="")
@click.option(
    "--arch",
    type=click.Choice([arch.value for arch in Arch]),
    default=Arch.X86_64.value,
    show_default=True,
    help="Architecture of the JIT.",
)
@click.option(
    "--engine",
    type=click.Choice(["interp", "jit"]),
    default="interp",
    show_default=True,
    help="The reference interpreter, or the JIT's code in the emulated machine.",
)
@click.option(
    "--elf", is_flag=True, help="The program is an ELF object, whose first program is run."
)
@click.option("--program", metavar="HEX", help="The program, instead of standard input.")
@click.option("--debug", is_flag=True, help="Accepted and ignored.")
def _plugin(
    memory: str, arch: str, engine: str, elf: bool, program: str | None, debug: bool
) -> None:
    """Execute the eBPF program on standard input (hex) and print r0 in hex.

    The program gets the address of MEMORY-HEX in r1 and its length in r2.
    """
    from tramposim.machine.bare import compile_and_run, interpret_bare

    content = _bytes(memory, "the memory")
    text = sys.stdin.read(_MAX_TEXT + 1) if program is None else program
    if len(text) > _MAX_TEXT:
        raise InputError(f"more than {_MAX_TEXT >> 20} MiB of program text")
    given = _bytes(text, "the program")
    code = _first_program(given) if elf else given
    if engine == "interp":
        result = interpret_bare(code, content)
    else:
        result = compile_and_run(Kernel(Arch(arch)), code, content)
    click.echo(f"{result.value:x}")


def _first_program(content: bytes) -> Program:
    from tramposim.bpf.first import first_program

    return first_program(content, "the program")


def _bytes(text: str, what: str) -> bytes:
    """Bytes from hex digits with any white space between them."""
    digits = "".join(text.split())
    try:
        return bytes.fromhex(digits)
    except ValueError:
        raise InputError(f"{what} is not hex") from None


def _arguments(arguments: Sequence[str]) -> list[str]:
    """Arguments as given, or several options in one argument, as the runner passes them."""
    found: list[str] = []
    for argument in arguments:
        found += argument.split() if argument.startswith("-") else [argument]
    return [text for text in found if text.strip()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the plugin; returns the exit code and never raises for bad input."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        _plugin.main(args=_arguments(given), prog_name=_NAME, standalone_mode=False)
        sys.stdout.flush()
    except TramposimError as error:
        return _fail(str(error), error.exit_code)
    except UnicodeDecodeError:
        return _fail("the program is not hex", 2)
    except click.ClickException as error:
        return _fail(error.format_message(), 2)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", 130)
    return 0


def _fail(message: str, code: int) -> int:
    print(f"{_NAME}: {' '.join(message.split())}", file=sys.stderr)
    return code
