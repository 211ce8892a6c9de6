"""``gpu-narration dump``: has flight recorders write out what their rings hold."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gpu_narration.cli.options import report_errors, timeout_option


@click.command(
    epilog="""\b
Examples:
  gpu-narration run --flight -o serve.gnt serve.py &
  gpu-narration dump serve.gnt && gpu-narration show serve.gnt | tail -100"""
)
@click.argument("trace", type=click.Path(path_type=Path))
@timeout_option
@report_errors
def dump(trace: Path, timeout_s: float) -> None:
    """Has the processes that record to TRACE in flight mode write out what they hold.

    They go on; the trace notes when it was.  A process in stream mode writes all the
    time and only flushes.

    Exit status: 0, 1 if a process did not do it, 2 for what cannot be done.
    """
    from gpu_narration.cli import steering

    sys.exit(steering.report(steering.steer(trace, "dump", None, timeout_s)))
