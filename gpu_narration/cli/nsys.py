"""``gpu-narration nsys``: reports of Nsight Systems, alone and beside a trace of ours."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gpu_narration.cli.options import color_option, report_errors, wants_color
from gpu_narration.views.escape import safe, to_json

if TYPE_CHECKING:
    from gpu_narration.nsight.schema import Adapter


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
    from gpu_narration.nsight.report import opened
    from gpu_narration.timeline.nsys.explain import explain as explained

    with rows_read("Reading") as progress, opened(report, progress) as source:
        told = explained(source, by_name=not each)
        _tell_lacks(source.adapter)
    for name, count in told.malformed.items():
        click.echo(
            f"Note: {count.malformed:,} of {count.rows:,} rows of {safe(name)} have no times that make "
            "sense, or end before they begin; they are left out", err=True,
        )  # fmt: skip
    if as_json:
        from gpu_narration.views.nsys_object import explanation_object

        record = explanation_object(told, limit=limit or 0)
        print(to_json(record, indent=2))
        return
    from gpu_narration.views.nsys import ROWS, ExplanationTables

    tables = ExplanationTables(
        sys.stdout, color=wants_color(color, sys.stdout), limit=ROWS if limit is None else limit
    )  # fmt: skip
    tables.print(told)


@nsys.command(
    epilog="""\b
Examples:
  gpu-narration nsys join app.gnt report.sqlite
  gpu-narration spans app.gnt
  gpu-narration show app.gnt --json | jq .fields.kernel_busy_ns

\b
The result is the file nsight.db in the trace's directory, a SQLite database with the
tables gpu_activities and spans.  A new join replaces it, and it can be deleted.  With it
'show' and 'spans' tell how long kernels really ran, beside elapsed on stream."""
)
@click.argument("trace", type=click.Path(path_type=Path))
@click.argument("report", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object, times in ns.")
@report_errors
def join(trace: Path, report: Path, *, as_json: bool) -> None:
    """Finds whose the GPU work in REPORT is: which span and launch of TRACE.

    Both must be of the same run: record under nsys profile --trace cuda,nvtx.  Ranges carry
    the ids of their spans; where they do not, names and clocks tell.  Exit status: 0, or 3
    if the trace is damaged.
    """
    from gpu_narration.cli.progress import progress
    from gpu_narration.nsight.report import opened
    from gpu_narration.nsight.sidecar import written
    from gpu_narration.timeline.nsys.join import join as joined
    from gpu_narration.timeline.nsys.join import read_for_join
    from gpu_narration.tracefile import Trace, Trouble
    from gpu_narration.views import text
    from gpu_narration.views.nsys_join import join_lines, join_object
    from gpu_narration.views.printer import is_damaged

    recorded = Trace(trace)
    with progress(recorded) as events:
        traced = read_for_join(recorded, events)
    notices = recorded.notices()
    with rows_read("Joining") as advance, opened(report, advance) as source, written(trace) as into:
        result = joined(traced, source, into)
        _tell_lacks(source.adapter)
        facts = {
            "report": str(report),
            "still_recording": any(notice.trouble is Trouble.RUNNING for notice in notices),
            **join_object(result),
        }
        processes = [(process.index, process.name, process.pid) for process in traced.processes]
        path = into.finish(recorded.trace_id, processes, facts)
    if as_json:
        facts["notices"] = [text_of.text for text_of in notices]
        print(to_json(facts, indent=2))
    else:
        for line in join_lines(result):
            print(line)
        print(safe(f"Kept in {path}; 'gpu-narration spans {trace}' shows it."))
        for notice in notices:
            print(text.notice_line(notice))
    if is_damaged(notices):
        sys.exit(3)


def _tell_lacks(adapter: Adapter) -> None:
    for line in [*adapter.warnings(), *(f"no {lack.what}: {lack.meaning}" for lack in adapter.lacks)]:  # fmt: skip
        click.echo(safe(f"Note: {line}"), err=True)


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
