"""``gpu-narration spans``: what a trace amounts to, in tables."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from gpu_narration.cli.options import color_option, report_errors, wants_color
from gpu_narration.cli.progress import given_trace, progress
from gpu_narration.timeline.order import SORT_KEYS, SortKey
from gpu_narration.timeline.tree import TREE_KEYS, TreeKey
from gpu_narration.views.escape import safe, to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

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
  gpu-narration spans demo.gnt --tree --sort gpu
  gpu-narration spans demo.gnt --actor engine --actor cuda --limit 0
  gpu-narration spans demo.gnt --json | jq '.launches[] | {name, stream, untimed}'

\b
Elapsed on stream is the time between two events on the stream.  "call to finish" is
from the CPU time of the call, or of a span's beginning, to the end of its work on the
GPU, right within ±.  Shares are of the time shown and come from intervals that could
be placed on the timeline, where overlapping ones count once; ≥ says that some could
not.  Medians and p99 are exact, by nearest rank.  A dash is unknown; the reasons
are counted at the end.

\b
In the tree own is the time in no span below; launches and GPU busy are those here and
below, a union; lag is the median from the call of a launch to its start; VRAM is what
memory moved by, net.  A span inside one of the same name counts for that one."""
)
@click.argument("trace", type=click.Path(path_type=Path))
@click.option("--by", type=click.Choice(["stream", "name"]), default="stream", show_default=True,
              help="A GPU row for each name on each stream, or for each name.")  # fmt: skip
@click.option("--tree", is_flag=True,
              help="Spans by their nesting, with CPU, GPU, lag and VRAM of each.")  # fmt: skip
@click.option("--sort", type=click.Choice((*SORT_KEYS, *TREE_KEYS)), default=None,
              help="What comes first; largest first, names from A on. Default total; with --tree "
              f"one of {', '.join(TREE_KEYS)}, default cpu.")  # fmt: skip
@click.option("--limit", "-n", type=click.IntRange(min=0), default=None, metavar="ROWS",
              help="Rows of each table, 0 for all; 20 as tables, all as JSON.")  # fmt: skip
@click.option("--actor", multiple=True, shell_complete=_actors,
              help="Only this actor (launches have the actor cuda); may be given again.")  # fmt: skip
@click.option("--correlation", metavar="ID",
              help="Only events of this request; of one to a llama.cpp its steps come first.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object, times in ns.")
@color_option
@report_errors
def spans(
    trace: Path,
    by: By,
    tree: bool,
    sort: SortKey | TreeKey | None,
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
    key = _order(sort, tree=tree)
    if tree:
        if click.get_current_context().get_parameter_source("by") is not ParameterSource.DEFAULT:
            raise click.UsageError("--by is for the tables, not for --tree")
        _tree(trace, cast("TreeKey", key), limit, frozenset(actor), correlation,
              as_json=as_json, color=color)  # fmt: skip
        return
    _tables(trace, cast("SortKey", key), by, limit, frozenset(actor), correlation,
            as_json=as_json, color=color)  # fmt: skip


def _order(sort: SortKey | TreeKey | None, *, tree: bool) -> SortKey | TreeKey:
    if sort is None:
        return "cpu" if tree else "total"
    if tree != (sort in TREE_KEYS):
        keys = ", ".join(TREE_KEYS if tree else SORT_KEYS)
        whose = "the tree" if tree else "the tables; give --tree for the others"
        raise click.UsageError(f"--sort {sort} is not for this: {keys} are for {whose}")
    return sort


def _tables(
    path: Path,
    key: SortKey,
    by: By,
    limit: int | None,
    actors: frozenset[str],
    correlation: str | None,
    *,
    as_json: bool,
    color: str,
) -> None:
    from gpu_narration.nsight.sidecar import joined
    from gpu_narration.timeline import order
    from gpu_narration.timeline.nsys.beside import Beside
    from gpu_narration.timeline.request import RequestReader
    from gpu_narration.timeline.summary import device_uuids, summarise
    from gpu_narration.tracefile import Trace
    from gpu_narration.views import jsonl, text
    from gpu_narration.views.nsys_beside import beside_object, print_beside
    from gpu_narration.views.printer import is_damaged
    from gpu_narration.views.request import print_request
    from gpu_narration.views.request_object import request_object
    from gpu_narration.views.summary import ROWS, print_summary
    from gpu_narration.views.summary_object import summary_object

    opened = Trace(path)
    names = [process.name for process in opened.processes]
    reader = RequestReader(correlation, opened.annotations)
    with progress(opened) as read, joined(path, opened.trace_id, names) as join:
        events = reader.watching(read)
        beside = None
        if join is not None:
            beside = Beside(join, opened.annotations, actors=actors, correlation=correlation)
        summary = summarise(
            events if beside is None else beside.watch(events), opened.annotations, by=by,
            actors=actors, correlation=correlation, uuids=device_uuids(opened),
        )  # fmt: skip
    request = reader.finish()
    notices = opened.notices()
    order.sort(summary, key)
    pids = [process.pid for process in opened.processes]
    colored = wants_color(color, sys.stdout)
    rows = ROWS if limit is None else limit
    if as_json:
        record = summary_object(summary, limit=limit or 0, pids=pids)
        if beside is not None:
            record["nsight"] = beside_object(beside.rows(), limit or 0)
        if correlation is not None:
            record["request"] = request_object(request, pids=pids)
        record["notices"] = [jsonl.notice_object(notice) for notice in notices]
        print(to_json(record, indent=2))
    else:
        print_request(request, sys.stdout, color=colored, pids=pids)
        print_summary(
            summary, sys.stdout, color=colored,
            limit=rows, pids=pids,
        )  # fmt: skip
        if beside is not None:
            print_beside(
                beside.rows(), sys.stdout, color=colored,
                limit=rows,
            )  # fmt: skip
        for notice in notices:
            print(text.notice_line(notice))
    kinds = (summary.spans, summary.waits, summary.launches, summary.scopes, summary.memory)
    if not any(kinds):
        what = "events" if summary.events == 0 else "spans, launches or memory readings"
        _say_nothing(what, path, sorted(actors), correlation)
    if is_damaged(notices):
        sys.exit(3)


def _tree(
    path: Path,
    key: TreeKey,
    limit: int | None,
    actors: frozenset[str],
    correlation: str | None,
    *,
    as_json: bool,
    color: str,
) -> None:
    from gpu_narration.nsight.sidecar import joined
    from gpu_narration.timeline.tree import SpanTree, ordered
    from gpu_narration.timeline.vram_devices import uuids_of
    from gpu_narration.tracefile import Trace
    from gpu_narration.views import jsonl, text
    from gpu_narration.views.printer import is_damaged
    from gpu_narration.views.summary import ROWS
    from gpu_narration.views.tree import print_tree, tree_object

    opened = Trace(path)
    names = [process.name for process in opened.processes]
    with progress(opened) as events, joined(path, opened.trace_id, names) as join:
        spans = SpanTree(
            opened.annotations, actors=actors, correlation=correlation,
            uuids=uuids_of(opened), joined=join,
        )  # fmt: skip
        for event in events:
            spans.take(event)
        nodes = spans.close()
    notices = opened.notices()
    if as_json:
        record = tree_object(ordered(nodes, key, limit or 0), adrift=spans.adrift)
        record["notices"] = [jsonl.notice_object(notice) for notice in notices]
        print(to_json(record, indent=2))
    else:
        if nodes:
            print_tree(
                ordered(nodes, key, ROWS if limit is None else limit), sys.stdout,
                color=wants_color(color, sys.stdout), total=len(nodes), adrift=spans.adrift,
            )  # fmt: skip
        for notice in notices:
            print(text.notice_line(notice))
    if not nodes:
        _say_nothing("spans or launches", path, sorted(actors), correlation)
    if is_damaged(notices):
        sys.exit(3)


def _say_nothing(what: str, trace: Path, actors: Sequence[str], correlation: str | None) -> None:
    of = f" of the request {correlation!r}" if correlation is not None else ""
    whose = f" of the actor {' or '.join(map(repr, actors))}" if actors else ""
    click.echo(safe(f"There are no {what}{whose}{of} in {trace}."), err=True)
