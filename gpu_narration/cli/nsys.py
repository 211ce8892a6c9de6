"""``gpu-narration nsys``: reports of Nsight Systems, alone and beside a trace of ours."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from gpu_narration.cli.options import color_option, report_errors, wants_color
from gpu_narration.views.escape import safe


@click.group(
    epilog="""\b
Examples:
  gpu-narration nsys explain report.sqlite
  gpu-narration nsys join app.gnt report.nsys-rep

\b
A report is NAME.nsys-rep, which needs the command nsys, or what 'nsys export' made of
it: a SQLite database, or a directory of parquet files, which needs
pip install 'gpu-narration[analysis]'.  Reports are only read."""
)
def nsys() -> None:
    """Reads reports of Nsight Systems."""


@nsys.command(
    epilog="""\b
Examples:
  gpu-narration nsys explain report.sqlite
  gpu-narration nsys explain report.nsys-rep --limit 0
  gpu-narration nsys explain report.sqlite --each
  gpu-narration nsys explain report.sqlite --json | jq '.story[]'

\b
GPU busy is the time in which at least one GPU worked for the range or one inside it:
work that overlaps counts once.  "of busy" is its share of the time in which any GPU
worked at all; "itself" is without the ranges inside.  Lag is the median from the
beginning of the launch call to the start of the kernel.  "idle before" is how long a
GPU did nothing until work of the range came."""
)
@click.argument("report", type=click.Path(path_type=Path))
@click.option("--each", is_flag=True,
              help="Keep what belongs to one call in a range's name, as PyTorch's op_id.")  # fmt: skip
@click.option("--limit", "-n", type=click.IntRange(min=0), default=None, metavar="ROWS",
              help="Rows of each table, 0 for all; 20 as tables, all as JSON.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object, times in ns.")
@color_option
@report_errors
def explain(report: Path, *, each: bool, limit: int | None, as_json: bool, color: str) -> None:
    """Says where the time of REPORT went; it needs no trace of gpu_narration.

    GPU work belongs to the NVTX ranges that were open in the thread at its launch call.
    """
    from gpu_narration.nsight import opened
    from gpu_narration.timeline.nsys.explain import explain as explained

    with rows_read("Reading") as progress, opened(report, progress) as source:
        told = explained(source, by_name=not each)
    for line in [*told.warnings, *(f"no {lack.what}: {lack.meaning}" for lack in told.lacks)]:
        click.echo(safe(f"Note: {line}"), err=True)
    for name, count in told.malformed.items():
        click.echo(
            f"Note: {count.malformed:,} of {count.rows:,} rows of {name} have no times that make sense, "
            "or end before they begin; they are left out", err=True,
        )  # fmt: skip
    if as_json:
        from gpu_narration.views.nsys_object import explanation_object

        record = explanation_object(told, limit=limit or 0)
        print(json.dumps(record, indent=2, ensure_ascii=False))
        return
    from gpu_narration.views.nsys import ROWS, ExplanationTables

    tables = ExplanationTables(
        sys.stdout, color=wants_color(color, sys.stdout), limit=ROWS if limit is None else limit
    )  # fmt: skip
    tables.print(told)


@contextlib.contextmanager
def rows_read(doing: str) -> Iterator[Callable[[int], None]]:
    """A count of rows on stderr, if that is a terminal; small reports never show it."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    bar = Progress(
        SpinnerColumn(), TextColumn(doing + " {task.completed:,} rows"), TimeElapsedColumn(),
        console=Console(stderr=True), transient=True,
    )  # fmt: skip
    task = bar.add_task("read", total=None)

    def advance(count: int) -> None:
        bar.start()
        bar.advance(task, count)

    try:
        yield advance
    finally:
        bar.stop()
