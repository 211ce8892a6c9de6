"""``gpu-narration filter``: shows or changes what running processes record."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gpu_narration.cli.options import report_errors, timeout_option


@click.command(
    epilog="""\b
Examples:
  gpu-narration filter serve.gnt
  gpu-narration filter serve.gnt 'info,engine=trace'
  gpu-narration filter serve.gnt ''
  watch gpu-narration filter serve.gnt"""
)
@click.argument("trace", type=click.Path(path_type=Path))
@click.argument("directives", required=False)
@timeout_option
@report_errors
def filter(trace: Path, directives: str | None, timeout_s: float) -> None:  # noqa: A001 - the verb
    """Changes what the processes that record to TRACE record, from now on.

    DIRECTIVES are as in GPU_NARRATION: info,myapp.worker=trace,tokenizer=off; an empty
    text lets everything through.  Without DIRECTIVES the filter in force is printed.
    Processes of the trace that start later take the filter over.

    Exit status: 0, 1 if a process did not do it, 2 for what cannot be done.
    """
    from gpu_narration import filters
    from gpu_narration.cli import steering

    if directives is not None:
        filters.parse(directives)  # what does not parse never reaches the program
    outcomes = steering.steer(trace, "filter", directives, timeout_s)
    sys.exit(steering.report(outcomes, lambda text: text or "everything is recorded"))
