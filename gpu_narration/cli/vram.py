"""``gpu-narration vram``: device memory over a trace, as lines, a table or a picture."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from gpu_narration.cli.options import Finite, color_option, report_errors, wants_color
from gpu_narration.cli.progress import given_trace, progress
from gpu_narration.views.escape import safe, to_json

if TYPE_CHECKING:
    from gpu_narration.timeline.vram import StateChange, VramHistory
    from gpu_narration.timeline.vram_devices import DeviceMemory
    from gpu_narration.timeline.vram_scopes import ScopeRow
    from gpu_narration.tracefile import Trace

#: Times further off than 30 years are of no trace.
_FAR_S = 1e9
_FORMATS = (".png", ".html", ".svg")


def _devices(
    ctx: click.Context,
    param: click.Parameter,  # noqa: ARG001 - click's signature
    incomplete: str,
) -> list[CompletionItem]:
    """The devices that the trace's notes name, for the shell's completion."""
    from gpu_narration.timeline.vram_devices import uuids_of

    trace = given_trace(ctx)
    known = uuids_of(trace) if trace is not None else {}
    offered = {f"gpu{index}" for _, index in known} | set(known.values())
    return [CompletionItem(name) for name in sorted(offered) if name.startswith(incomplete)]


def _picture_file(
    ctx: click.Context,  # noqa: ARG001 - click's signature
    param: click.Parameter,  # noqa: ARG001 - click's signature
    value: Path | None,
) -> Path | None:
    if value is not None and value.suffix.lower() not in _FORMATS:
        raise click.BadParameter(f"{value} ends in none of {', '.join(_FORMATS)}")
    return value


@click.command(
    epilog="""\b
Examples:
  gpu-narration vram demo.gnt
  gpu-narration vram demo.gnt --by-scope
  gpu-narration vram demo.gnt --by-scope --correlation demo-1
  gpu-narration vram demo.gnt --device gpu0 --plot memory.png
  gpu-narration vram demo.gnt --plot memory.html
  gpu-narration vram demo.gnt --plot begin.svg --from 0 --to 0.05
  gpu-narration vram demo.gnt --by-scope --json | jq '.scopes[] | {scope, net_bytes}'

\b
In the table rose, fell and net are with the scopes inside, own is net without them,
so what stands under own adds up.  exact: read in that moment; sampled: by NVML now
and then.  A dash is unknown."""
)
@click.argument("trace", type=click.Path(path_type=Path))
@click.option("--by-scope", is_flag=True, help="A table: which scope moved how much.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              callback=_picture_file,
              help="Draw memory over time with scopes and narrations: .png, .html or .svg.")  # fmt: skip
@click.option("--from", "from_s", type=Finite(-_FAR_S, _FAR_S), default=None, metavar="SECONDS",
              help="Begin the picture so many seconds after the trace began.")  # fmt: skip
@click.option("--to", "to_s", type=Finite(-_FAR_S, _FAR_S), default=None, metavar="SECONDS",
              help="End the picture there.")  # fmt: skip
@click.option("--device", "-d", multiple=True, shell_complete=_devices,
              help="Only this device: 0, gpu0 or its UUID; may be given again.")  # fmt: skip
@click.option("--correlation", metavar="ID", help="Only changes and scopes of this request.")
@click.option("--limit", "-n", type=click.IntRange(min=0), default=None, metavar="ROWS",
              help="Rows of the table, 0 for all; 20 as a table, all as JSON.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True,
              help="One JSON object a line; with --by-scope one object in all.")  # fmt: skip
@color_option
@report_errors
def vram(
    trace: Path,
    by_scope: bool,
    plot: Path | None,
    from_s: float | None,
    to_s: float | None,
    device: tuple[str, ...],
    correlation: str | None,
    limit: int | None,
    as_json: bool,
    color: str,
) -> None:
    """Shows how device memory moved in TRACE: each change as the line that show prints,
    or with --by-scope a table, or with --plot a picture.

    Exit status: 0; 1 if there is nothing of the kind in the trace; 3 if it is damaged.
    """
    from gpu_narration.timeline.vram import VramHistory
    from gpu_narration.timeline.vram_devices import is_meant, uuids_of
    from gpu_narration.tracefile import Trace
    from gpu_narration.views import jsonl, text
    from gpu_narration.views.printer import is_damaged

    if plot is None and (from_s is not None or to_s is not None):
        raise click.UsageError("--from and --to are for a picture: give --plot FILE, too")
    opened = Trace(trace)
    history = VramHistory(opened.annotations, uuids=uuids_of(opened), correlation=correlation)
    lines = not by_scope and plot is None
    shown = 0
    with progress(opened) as events:
        for event in events:
            change = history.take(event)
            if (
                lines
                and change is not None
                and is_meant(change.device, device)
                and correlation in (None, change.correlation)
            ):
                shown += 1
                _print_change(opened, change, as_json=as_json)
    rows = [row for row in history.close() if is_meant(row.device, device)]
    devices = [found for found in history.devices if is_meant(found, device)]
    if plot is not None and any(found.first_bytes is not None for found in devices):
        _draw(plot, opened, history, devices, rows, (from_s, to_s))
        shown += 1
    if by_scope:
        shown += bool(devices if correlation is None else rows)
        _print_scopes(opened, devices, rows, limit=limit, as_json=as_json, color=color)
    notices = opened.notices()
    for notice in notices:
        if not as_json:
            print(text.notice_line(notice), file=sys.stdout if lines or by_scope else sys.stderr)
        elif lines:
            print(to_json(jsonl.notice_object(notice)))
    if is_damaged(notices):
        sys.exit(3)
    if not shown:
        click.echo(safe(_nothing(opened, history, device, correlation)), err=True)
        sys.exit(1)


def _print_change(trace: Trace, change: StateChange, *, as_json: bool) -> None:
    from gpu_narration.views import jsonl, text

    annotations = trace.annotations(change.event)
    if as_json:
        record = jsonl.event_object(change.event, annotations)
        print(to_json(record))
    else:
        print(text.line(change.event, annotations))


def _print_scopes(
    trace: Trace,
    devices: Sequence[DeviceMemory],
    rows: Sequence[ScopeRow],
    *,
    limit: int | None,
    as_json: bool,
    color: str,
) -> None:
    from gpu_narration.views import jsonl
    from gpu_narration.views.summary import ROWS
    from gpu_narration.views.vram_tables import print_scopes, scopes_object

    pids = [process.pid for process in trace.processes]
    if as_json:
        record = scopes_object(devices, rows, limit=limit or 0, pids=pids)
        record["notices"] = [jsonl.notice_object(notice) for notice in trace.notices()]
        print(to_json(record, indent=2))
        return
    print_scopes(
        devices, rows, sys.stdout, color=wants_color(color, sys.stdout),
        limit=ROWS if limit is None else limit, pids=pids,
    )  # fmt: skip


def _draw(
    path: Path,
    trace: Trace,
    history: VramHistory,
    devices: Sequence[DeviceMemory],
    rows: Sequence[ScopeRow],
    between_s: tuple[float | None, float | None],
) -> None:
    from gpu_narration.views.vram_plot import picture

    origin_ns, end_ns = history.begin_ns or 0, history.end_ns or 0
    from_s, to_s = between_s
    begin_ns = origin_ns + round((from_s or 0.0) * 1e9)
    end_ns = end_ns if to_s is None else origin_ns + round(to_s * 1e9)
    if begin_ns > end_ns:
        raise click.UsageError(
            f"the picture would end before it begins: the trace has "
            f"{((history.end_ns or 0) - origin_ns) / 1e9:.3f} s"
        )
    drawn = picture(
        f"VRAM over time in {trace.path.name}",
        [device for device in devices if device.first_bytes is not None],
        rows, history.marks,
        begin_ns=begin_ns, end_ns=end_ns, origin_ns=origin_ns,
        pids=[process.pid for process in trace.processes],
        marks_left_out=history.marks_left_out,
    )  # fmt: skip
    if path.suffix.lower() == ".png":
        from gpu_narration.views.vram_png import write_png

        write_png(drawn, path)
    elif path.suffix.lower() == ".html":
        from gpu_narration.views.vram_html import html

        path.write_text(html(drawn), encoding="utf-8")
    else:
        from gpu_narration.views.vram_svg import svg

        path.write_text(svg(drawn), encoding="utf-8")
    click.echo(safe(f"The picture is {path}"), err=True)


def _nothing(
    trace: Trace, history: VramHistory, wanted: Sequence[str], correlation: str | None
) -> str:
    """Why there is nothing to show, as far as the trace knows."""
    from gpu_narration.views.escape import safe

    if any(True for _ in history.devices):
        of = [f"device {', '.join(wanted)}"] if wanted else []
        of += [f"the request {correlation!r}"] if correlation is not None else []
        known = ", ".join(sorted({device.name for device in history.devices}))
        return (
            f"No memory moved{' of ' + ' and '.join(of) if of else ''} in {trace.path}; "
            f"it has readings of {known} [no-vram]"
        )
    reasons = sorted(
        {
            reason
            for process in trace.processes
            if isinstance(reason := process.note("vram").get("reason"), str)
        }
    )
    why = f" (no NVML: {safe('; '.join(reasons))})" if reasons else ""
    return (
        f"There are no readings of device memory in {trace.path}{why}; they come where NVML "
        "is, from span(vram=True) on a GPU, and from the simulator (backend='mock') [no-vram]"
    )
