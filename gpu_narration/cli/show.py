"""``gpu-narration show``: a trace as text, one event a line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gpu_narration._types import FORMATS, VOICES
from gpu_narration.cli.options import color_option, report_errors, wants_color

if TYPE_CHECKING:
    from gpu_narration.filters import Filter


@click.command(
    epilog="""\b
Examples:
  gpu-narration show demo.gnt | head -50
  gpu-narration show demo.gnt --time --ids
  gpu-narration show demo.gnt --actor llama --level info
  gpu-narration show running.gnt --follow
  gpu-narration show demo.gnt --json | jq .actor
  gpu-narration show demo.gnt --level info --format pretty --voice story"""
)
@click.argument("trace", type=click.Path(path_type=Path))
@click.option("--follow", "-f", is_flag=True, help="Go on while the trace grows; end with it.")
@click.option("--voice", type=click.Choice(VOICES), default=None, envvar="GPU_NARRATION_VOICE",
              help="Whose words to show; default: those the recording was begun with.")  # fmt: skip
@click.option("--level", type=click.Choice(["trace", "debug", "info", "warn", "error", "fatal"]),
              default="trace", show_default=True, help="Lowest level to show.")  # fmt: skip
@click.option("--actor", multiple=True, help="Only this actor; may be given again.")
@click.option("--correlation", help="Only events of this correlation id.")
@click.option(
    "--time",
    "show_time",
    is_flag=True,
    help="Begin lines with the time since the start in seconds.",
)
@click.option(
    "--ids", "show_ids", is_flag=True, help="Begin lines with process, thread and event id."
)
@click.option("--as-console", is_flag=True,
              help="Only what the console: directives of the recording's filter let through.")  # fmt: skip
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True,
              help="A line each; lines with all there is; one JSON object a line; key=value.")  # fmt: skip
@click.option("--json", "form", flag_value="json", help="The same as --format json.")
@color_option
@report_errors
def show(
    trace: Path,
    follow: bool,
    voice: str | None,
    level: str,
    actor: tuple[str, ...],
    correlation: str | None,
    show_time: bool,
    show_ids: bool,
    as_console: bool,
    form: str,
    color: str,
) -> None:
    """Prints the events of TRACE in the order of time.

    What was lost or is damaged is shown as WARN lines at the end.  Exit status:
    0, or 3 if the trace is damaged.
    """
    from gpu_narration._types import Level
    from gpu_narration.views.printer import Printer, Selection

    selection = Selection(Level[level.upper()], frozenset(actor), correlation)
    printer = Printer(
        sys.stdout, voice=voice, color=wants_color(color, sys.stdout), show_time=show_time, show_ids=show_ids,
        form=form, selection=selection, console=_console_of if as_console else None,
    )  # fmt: skip
    damaged = printer.follow(trace) if follow else printer.show(trace)
    if damaged:
        sys.exit(3)


def _console_of(text: str) -> Filter | None:
    """The console's part of a filter; none of one that another version has written."""
    from gpu_narration import filters
    from gpu_narration._errors import FilterError

    try:
        return filters.parse(text).console
    except FilterError:
        return None
