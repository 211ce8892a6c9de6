"""The command's entry: the group of verbs, and how the process ends."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import click

from gpu_narration._escape import safe
from gpu_narration._version import __version__


class LazyGroup(click.Group):
    """Imports a verb's file when the verb is used: ``run`` must not pay for the others."""

    verbs: ClassVar = {
        "demo": "Runs a small model and some kernels, traced, and shows what happened.",
        "doctor": "Says what was found on this machine, and what to do about what is missing.",
        "dump": "Has running flight recorders write out what they hold.",
        "export": "Gives a trace to other tools: OpenTelemetry.",
        "filter": "Shows or changes what running processes record.",
        "flush": "Has running processes bring their trace up to date.",
        "lint": "Checks the texts of calls in Python sources, without running them.",
        "nsys": "Reads reports of Nsight Systems: explains them, joins them with a trace.",
        "run": "Runs a Python program and records it.",
        "show": "Prints a trace as text.",
        "spans": "Sums a trace up: spans, waiting, GPU time, memory.",
        "strip": "Takes the trace calls out of sources, or out of a wheel.",
        "vram": "Shows who moved device memory and when: lines, a table by scope, a picture.",
        "watch": "Shows a running trace, or the machine's GPUs, live in the terminal.",
    }

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return sorted(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in self.verbs:
            return None
        from importlib import import_module

        command = getattr(import_module(f"gpu_narration.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(self.verbs.items()))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Examples:
  gpu-narration demo
  gpu-narration run -o app.gnt app.py --steps 10
  gpu-narration show app.gnt | less
  gpu-narration spans app.gnt
  gpu-narration vram app.gnt --by-scope
  gpu-narration nsys explain report.sqlite
  gpu-narration watch app.gnt
  gpu-narration filter app.gnt 'info,engine=trace'
  gpu-narration doctor

\b
Shell completion, for bash (zsh and fish alike):
  eval "$(_GPU_NARRATION_COMPLETE=bash_source gpu-narration)"
""",
)
@click.version_option(__version__, prog_name="gpu-narration")
def cli() -> None:
    """Traces programs that make a GPU work."""


def main() -> int:
    """Runs the command; its exit status.

    ``run`` leaves a program to run behind: that happens here, outside of click,
    so that the program's exceptions, signals and exit status are its own.
    """
    outcome = _parse()
    if callable(outcome):
        outcome()
    return outcome if isinstance(outcome, int) else 0


@contextlib.contextmanager
def _closed_streams_replaced() -> Iterator[None]:
    """A verb may be started with stdout or stderr closed (``>&-``): it says it to nobody.

    The program that ``run`` leaves behind begins after this, with its streams as they were.
    """
    closed = [name for name in ("stdout", "stderr") if getattr(sys, name) is None]
    with contextlib.ExitStack() as stack:
        for name in closed:
            nowhere = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
            stack.callback(setattr, sys, name, None)
            setattr(sys, name, nowhere)
        yield


def _parse() -> object:
    """What the verb returned, or the exit status of an error of use."""
    try:
        with _closed_streams_replaced():
            return cli.main(prog_name="gpu-narration", standalone_mode=False)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.Abort:
        click.echo("Aborted.", err=True)
        return 130
    except BrokenPipeError:
        return 0  # of --help; verbs have seen to it themselves
    except OSError as error:
        from gpu_narration.cli.options import drop_output

        drop_output()
        click.echo(safe(f"Error: {error} [system-error]"), err=True)
        return 2
    except click.ClickException as error:
        # What was typed stands in it; the line breaks are click's own.
        shown = io.StringIO()
        error.show(shown)
        click.echo("\n".join(map(safe, shown.getvalue().split("\n"))), err=True, nl=False)
        return error.exit_code
