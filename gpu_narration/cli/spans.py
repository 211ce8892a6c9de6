"""``gpu-narration spans``: what a trace amounts to, in tables."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from gpu_narration.cli.options import color_option, report_errors, wants_color
from gpu_narration.cli.progress import given_trace, progress
from gpu_narration.timeline.order import SORT_KEYS, SortKey
from gpu_narration.views.escape import safe, to_json

if TYPE_CHECKING:
    from gpu_narration.timeline.gpu_time import By


def _actors(
    ctx: click.Context,
    param: click.Parameter,  # noqa: ARG001 - click's signature
    incomplete: str,
) -> list[CompletionItem]:
    """The actors of the trace on the command line, for the shell's completion."""
    trace = given_trace(ctx)
    if trace is None:
        return []  # the shell has nothing to offer
    sites = [site for process in trace.processes for site in process.decoder.sites.values()]
    actors = {site.names[0] for site in sites if site.names[0]}
    return [CompletionItem(actor) for actor in sorted(actors) if actor.startswith(incomplete)]


@click.command(
    epilog="""\b
Examples:
  gpu-narration spans demo.gnt
  gpu-narration spans demo.gnt --by name --sort p99
  gpu-narration spans demo.gnt --correlation demo-1
  gpu-narration spans demo.gnt --actor engine --actor cuda --limit 0
  gpu-narration spans demo.gnt --json | jq '.launches[] | {name, stream, untimed}'

\b
Elapsed on stream is the time between two events on the stream.  "call to finish" is
from the CPU time of the call, or of a span's beginning, to the end of its work on the
GPU, right within ±.  Shares are of the time shown and come from intervals that could
be placed on the timeline, where overlapping ones count once; ≥ says that some could
not.  Medians and p99 are exact, by nearest rank.  A dash is unknown; the reasons
are counted at the end."""
)
@click.argument("trace", type=click.Path(path_type=Path))
@click.option("--by", type=click.Choice(["stream", "name"]), default="stream", show_default=True,
              help="A GPU row for each name on each stream, or for each name.")  # fmt: skip
@click.option("--sort", type=click.Choice(SORT_KEYS), default="total", show_default=True,
              help="What comes first; largest first, names from A on.")  # fmt: skip
@click.option("--limit", "-n", type=click.IntRange(min=0), default=None, metavar="ROWS",
              help="Rows of each table, 0 for all; 20 as tables, all as JSON.")  # fmt: skip
@click.option("--actor", multiple=True, shell_complete=_actors,
              help="Only this actor (launches have the actor cuda); may be given again.")  # fmt: skip
@click.option("--correlation", metavar="ID", help="Only events of this request.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, times in ns.")
@color_option
@report_errors
def spans(
    trace: Path,
    by: By,
    sort: SortKey,
    limit: int | None,
    actor: tuple[str, ...],
    correlation: str | None,
    as_json: bool,
    color: str,
) -> None:
    """Sums up TRACE: spans, waiting, GPU time by launch, span, stream and device, and memory.

    Works on the trace of a program that was killed, too: spans without an end are
    counted as open.  Exit status: 0, or 3 if the trace is damaged.
    """
    from gpu_narration.nsight.sidecar import joined
    from gpu_narration.timeline import order
    from gpu_narration.timeline.nsys.beside import Beside
    from gpu_narration.timeline.summary import device_uuids, summarise
    from gpu_narration.tracefile import Trace
    from gpu_narration.views import jsonl, text
    from gpu_narration.views.nsys_beside import beside_object, print_beside
    from gpu_narration.views.printer import is_damaged
    from gpu_narration.views.summary import ROWS, print_summary
    from gpu_narration.views.summary_object import summary_object

    opened = Trace(trace)
    names = [process.name for process in opened.processes]
    with progress(opened) as events, joined(trace, opened.trace_id, names) as join:
        beside = None
        if join is not None:
            beside = Beside(
                join, opened.annotations, actors=frozenset(actor), correlation=correlation
            )
        summary = summarise(
            events if beside is None else beside.watch(events), opened.annotations, by=by,
            actors=frozenset(actor), correlation=correlation, uuids=device_uuids(opened),
        )  # fmt: skip
    notices = opened.notices()
    order.sort(summary, sort)
    pids = [process.pid for process in opened.processes]
    if as_json:
        record = summary_object(summary, limit=limit or 0, pids=pids)
        if beside is not None:
            record["nsight"] = beside_object(beside.rows(), limit or 0)
        record["notices"] = [jsonl.notice_object(notice) for notice in notices]
        print(to_json(record, indent=2))
    else:
        print_summary(
            summary, sys.stdout, color=wants_color(color, sys.stdout),
            limit=ROWS if limit is None else limit, pids=pids,
        )  # fmt: skip
        if beside is not None:
            print_beside(
                beside.rows(), sys.stdout, color=wants_color(color, sys.stdout),
                limit=ROWS if limit is None else limit,
            )  # fmt: skip
        for notice in notices:
            print(text.notice_line(notice))
    kinds = (summary.spans, summary.waits, summary.launches, summary.scopes, summary.memory)
    if not any(kinds):
        what = "events" if summary.events == 0 else "spans, launches or memory readings"
        of = f" of the request {correlation!r}" if correlation is not None else ""
        whose = f" of the actor {' or '.join(map(repr, actor))}" if actor else ""
        click.echo(safe(f"There are no {what}{whose}{of} in {trace}."), err=True)
    if is_damaged(notices):
        sys.exit(3)
