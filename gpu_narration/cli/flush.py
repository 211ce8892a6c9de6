"""``gpu-narration flush``: has running processes bring their trace up to date."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gpu_narration.cli.options import report_errors, timeout_option


@click.command(
    epilog="""\b
Examples:
  gpu-narration flush serve.gnt && cp -r serve.gnt /tmp/until-now.gnt"""
)
@click.argument("trace", type=click.Path(path_type=Path))
@timeout_option
@report_errors
def flush(trace: Path, timeout_s: float) -> None:
    """Waits until all that the processes of TRACE have recorded so far is in its files.

    A flight recorder keeps its events in its ring: see gpu-narration dump.

    Exit status: 0, 1 if a process did not do it, 2 for what cannot be done.
    """
    from gpu_narration.cli import steering

    sys.exit(steering.report(steering.steer(trace, "flush", None, timeout_s)))
