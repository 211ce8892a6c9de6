"""``gpu-narration watch``: a running trace, or the machine, live in the terminal."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

from gpu_narration._types import VOICES
from gpu_narration.cli.options import Finite, color_option, report_errors, wants_color

if TYPE_CHECKING:
    from gpu_narration.timeline.live import LiveState


class _Source(Protocol):
    """Where looks come from."""

    def look(self, until_s: float) -> LiveState:
        """Takes in what has come, but not beyond that time (of ``time.monotonic``)."""

    def look_once(self) -> LiveState:
        """Everything that there is now."""

    @property
    def ended(self) -> bool: ...


@click.command(
    epilog="""\b
Examples:
  gpu-narration watch app.gnt
  gpu-narration watch
  gpu-narration watch app.gnt --once
  gpu-narration watch app.gnt --json | jq '.devices[] | {name, used_bytes}'

\b
q or Ctrl-C ends it, and so does the end of the trace."""
)
@click.argument("trace", type=click.Path(path_type=Path), required=False)
@click.option(
    "--once", is_flag=True, help="One look as text; the default where stdout is no terminal."
)
@click.option("--json", "as_json", is_flag=True, help="One look as a JSON object.")
@click.option("--per-second", type=Finite(0.2, 20), default=3.0, show_default=True,
              help="How often to look.")  # fmt: skip
@click.option("--voice", type=click.Choice(VOICES), default="human", envvar="GPU_NARRATION_VOICE",
              show_default=True, help="Whose words to show.")  # fmt: skip
@color_option
@report_errors
def watch(
    trace: Path | None, once: bool, as_json: bool, per_second: float, voice: str, color: str
) -> None:
    """Shows what TRACE is doing now, or without TRACE the memory of this machine's GPUs.

    From top to bottom: VRAM of each device with its peak, what moved it last, the
    work with the most time on the GPU, the newest narrations.

    Exit status: 0, or 2 if there is no such trace, or no NVML where the machine was
    asked for.
    """
    from gpu_narration.views.escape import to_json
    from gpu_narration.views.live import plain
    from gpu_narration.views.live_object import live_object

    source: _Source = _Machine() if trace is None else _Trace(trace)
    if as_json:
        print(to_json(live_object(source.look_once()), indent=2))
    elif once or not sys.stdout.isatty() or os.environ.get("TERM") in (None, "", "dumb"):
        width = shutil.get_terminal_size((100, 40)).columns
        for line in plain(source.look_once(), width=width, height=60, voice=voice):
            print(line)
    else:
        _live(source, 1 / per_second, voice, colored=wants_color(color, sys.stdout))


def _live(source: _Source, period_s: float, voice: str, *, colored: bool) -> None:
    from rich.console import Console
    from rich.live import Live

    from gpu_narration.cli.keyboard import Keyboard
    from gpu_narration.views.live import LiveView

    console = Console(no_color=not colored, highlight=False)
    state = source.look(time.monotonic() + period_s)
    try:
        with Keyboard() as keyboard:
            last_line = "q ends" if keyboard.listens else "Ctrl-C ends"
            first = LiveView(state, voice=voice, last_line=last_line)
            with Live(first, console=console, screen=True, auto_refresh=False) as live:
                live.refresh()
                while not source.ended and "q" not in keyboard.wait(period_s).lower():
                    state = source.look(time.monotonic() + period_s)
                    view = LiveView(state, voice=voice, last_line=last_line)
                    live.update(view, refresh=True)
    except KeyboardInterrupt:
        pass  # the usual end
    # What was seen last stays on the screen that the program was called from.
    console.print(LiveView(state, voice=voice), height=max(1, console.height - 2))


class _Trace:
    def __init__(self, path: Path) -> None:
        from gpu_narration.timeline.live import LiveTrace

        self._live = LiveTrace(path)

    @property
    def ended(self) -> bool:
        return self._live.ended

    def look(self, until_s: float) -> LiveState:
        while self._live.poll() and time.monotonic() < until_s:
            pass
        return self._live.state()

    def look_once(self) -> LiveState:
        self._live.catch_up()
        return self._live.state()


class _Machine:
    ended = False

    def __init__(self) -> None:
        from gpu_narration.cli.machine import Machine

        self._machine = Machine()

    def look(self, until_s: float) -> LiveState:  # noqa: ARG002 - a look takes no time
        return self._machine.state()

    def look_once(self) -> LiveState:
        return self._machine.state()
