"""The summary as tables for a terminal.

What is unknown is shown as a dash, never as 0, and its reasons are counted below the tables.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from typing import TextIO, TypeVar

from rich.table import Table
from rich.text import Text

from gpu_narration.timeline.gpu_time import DeviceRow, GpuRow, Share, StreamRow
from gpu_narration.timeline.intervals import Intervals
from gpu_narration.timeline.memory import MemoryRow
from gpu_narration.timeline.summary import SpanRow, Summary
from gpu_narration.views.escape import safe
from gpu_narration.views.tables import TableConsole
from gpu_narration.views.units import duration, size

#: How many rows of a table are shown where nobody says otherwise.
ROWS = 20

UNKNOWN = "\N{EN DASH}"

Row = TypeVar("Row")

#: Wide enough that no table is folded: a file or a pipe has no edge.
_UNBOUNDED = 10_000
#: What the tables need for names of a usual length; a narrower terminal breaks the lines itself,
#: which is easier to read than columns of two letters.
_NARROWEST = 120


class SummaryTables:
    """Prints a summary; ``limit`` rows of each table, all of them if it is 0.

    ``pids`` names the processes of a trace by index.
    """

    def __init__(
        self, out: TextIO, *, color: bool, limit: int = ROWS, pids: Sequence[int] = ()
    ) -> None:
        width = shutil.get_terminal_size().columns if out.isatty() else _UNBOUNDED
        self._console = TableConsole(
            file=out, force_terminal=color, no_color=not color, highlight=False,
            width=max(width, _NARROWEST),
        )  # fmt: skip
        self._limit = limit
        self._pids = pids
        self._printed = False

    def print(self, summary: Summary) -> None:
        """Prints the tables that have rows."""
        window_ns = summary.window_ns
        if summary.spans:
            self._table(_spans(summary.spans, self._limit), len(summary.spans))
        if summary.waits:
            self._table(_waits(summary.waits, self._limit), len(summary.waits))
            self._waiting(summary)
        if summary.launches:
            table = self._gpu("launches", summary.launches, window_ns)
            self._table(table, len(summary.launches))
        if summary.scopes:
            table = self._gpu("spans", summary.scopes, window_ns)
            self._table(table, len(summary.scopes))
        if summary.streams:
            self._table(self._streams(summary.streams), len(summary.streams))
        for device in summary.devices:
            self._line(_device(device, window_ns))
        self._reasons("Without GPU time", summary.untimed)
        self._reasons("Not placed on the timeline", summary.unplaced)
        if summary.memory:
            self._table(_memory(summary.memory), len(summary.memory))

    def _table(self, table: Table, rows: int) -> None:
        left = rows - len(table.rows)
        self._begin()
        self._console.print(table)
        if left > 0:
            self._line(f"… and {left} more rows")

    def _begin(self) -> None:
        if self._printed:
            self._console.print()
        self._printed = True

    def _line(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def _waiting(self, summary: Summary) -> None:
        share = _share(Share(summary.waiting.covered_ns, summary.window_ns, at_least=False))
        self._line(
            f"At least one thread waited for {duration(summary.waiting.covered_ns)}, "
            f"{share} of the time"
        )

    def _reasons(self, title: str, counts: Mapping[str, int]) -> None:
        if not counts:
            return
        self._begin()
        self._line(f"{title}: {sum(counts.values())}")
        width = len(str(max(counts.values())))
        for reason, count in counts.items():
            self._line(f"  {count:>{width}}  {safe(reason)}")

    def _gpu(self, what: str, rows: list[GpuRow], window_ns: int) -> Table:
        several = len({row.process for row in rows}) > 1
        by_stream = any(row.process is not None for row in rows)
        failures = any(row.failed for row in rows)
        table = _table(
            f"GPU time of {what}{_simulated(rows)}: elapsed on stream, and from call to finish",
            "name", *(["process"] if several else []), *(["device", "stream"] if by_stream else []),
            "calls", *(["failed"] if failures else []), "timed", "elapsed", "median", "p99",
            "finish", "p99", "±", "share",
        )  # fmt: skip
        for row in _first(rows, self._limit):
            figures, lag = row.figures, row.finish_lag.figures
            table.add_row(
                _cell(_gpu_name(row), simulated=row.simulated),
                *([self._process(row.process)] if several else []),
                *([_gpu_index(row.device), _number(row.stream)] if by_stream else []),
                str(row.calls), *([str(row.failed)] if failures else []), str(len(row.elapsed)),
                duration(figures.total_ns) if figures else UNKNOWN,
                duration(figures.median_ns) if figures else UNKNOWN,
                duration(figures.p99_ns) if figures else UNKNOWN,
                duration(lag.median_ns) if lag else UNKNOWN,
                duration(lag.p99_ns) if lag else UNKNOWN,
                duration(row.error_ns) if row.error_ns is not None else UNKNOWN,
                _share(row.share(window_ns)),
            )  # fmt: skip
        return table

    def _streams(self, rows: list[StreamRow]) -> Table:
        several = len({row.process for row in rows}) > 1
        table = _table(
            f"Streams{_simulated(rows)}", "device", "stream", *(["process"] if several else []),
            "launches", "timed", "elapsed", "spans", "timed", "elapsed",
        )  # fmt: skip
        for row in _first(rows, self._limit):
            launches, scopes = row.launches, row.scopes
            table.add_row(
                _cell(_gpu_index(row.device), simulated=row.simulated), _number(row.stream),
                *([self._process(row.process)] if several else []),
                str(launches.calls), str(launches.timed),
                duration(launches.elapsed_ns) if launches.timed else UNKNOWN,
                str(scopes.calls), str(scopes.timed),
                duration(scopes.elapsed_ns) if scopes.timed else UNKNOWN,
            )  # fmt: skip
        return table

    def _process(self, index: int | None) -> str:
        if index is None:
            return UNKNOWN
        return str(self._pids[index]) if index < len(self._pids) else str(index)


def print_summary(
    summary: Summary, out: TextIO, *, color: bool, limit: int = ROWS, pids: Sequence[int] = ()
) -> None:
    """Prints the tables of a summary."""
    SummaryTables(out, color=color, limit=limit, pids=pids).print(summary)


def _spans(rows: list[SpanRow], limit: int) -> Table:
    still_open, failures = any(row.open for row in rows), any(row.failed for row in rows)
    table = _table(
        "Spans", "span", "calls",
        *(["failed"] if failures else []), *(["open"] if still_open else []),
        "CPU total", "median", "p99", "longest",
    )  # fmt: skip
    for row in _first(rows, limit):
        table.add_row(
            _cell(f"{row.actor} {row.name}"), str(row.calls),
            *([str(row.failed)] if failures else []),
            *([str(row.open)] if still_open else []), *_figures(row),
        )  # fmt: skip
    return table


def _waits(rows: list[SpanRow], limit: int) -> Table:
    table = _table(
        f"Waiting for the GPU{_simulated(rows)}", "in", "calls", "failed",
        "waited", "median", "p99", "longest",
    )  # fmt: skip
    for row in _first(rows, limit):
        table.add_row(
            _cell(f"{row.actor} {row.name}", simulated=row.simulated),
            str(row.calls), str(row.failed or ""), *_figures(row),
        )  # fmt: skip
    return table


def _memory(rows: list[MemoryRow]) -> Table:
    table = _table(
        f"VRAM{_simulated(rows)}", "device", "source", "moves", "first", "peak", "last", "of",
        "rose in",
    )  # fmt: skip
    for row in rows:
        rose = sorted(row.rose_in.items(), key=lambda item: -item[1])[:3]
        table.add_row(
            _cell(f"gpu{row.device}", simulated=row.simulated), _cell(row.source), str(row.moves),
            size(row.first_bytes), size(row.peak_bytes), size(row.last_bytes),
            size(row.total_bytes),
            _cell(", ".join(f"{scope} {size(count)}" for scope, count in rose)),
        )  # fmt: skip
    return table


def _device(row: DeviceRow, window_ns: int) -> str:
    name = _gpu_index(row.device) + (" simulated" if row.simulated else "")
    if row.placed == 0:
        return f"{name}: busy {UNKNOWN}, none of its work could be placed on the timeline"
    parts = [
        f"{what} {duration(covered.covered_ns)} ({_share(row.share(covered, window_ns))})"
        for what, covered in (("launches", row.launches), ("spans", row.scopes))
        if _any(covered)
    ]
    streams = "1 stream" if row.streams == 1 else f"{row.streams} streams"
    bound = f" ±{duration(row.error_ns)}" if row.error_ns is not None else ""
    return (
        f"{name}, {streams}: in {', in '.join(parts)}; the union of {row.placed} placed "
        f"intervals{bound}, so work that overlaps counts once"
    )


def _any(covered: Intervals) -> bool:
    return covered.last_ns is not None


def _figures(row: SpanRow) -> tuple[str, str, str, str]:
    figures = row.figures
    if figures is None:
        return UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN
    return (
        duration(figures.total_ns),
        duration(figures.median_ns),
        duration(figures.p99_ns),
        duration(figures.longest_ns),
    )


def _share(share: Share | None) -> str:
    if share is None or share.of_ns <= 0:
        return UNKNOWN
    return f"{'≥ ' if share.at_least else ''}{100 * share.fraction:.1f} %"


def _gpu_name(row: GpuRow) -> str:
    name = row.name if row.action != "graph_launch" else f"{row.name} (graph)"
    return f"{name} of {row.scopes}" if row.scopes else name


def _gpu_index(device: int | None) -> str:
    return UNKNOWN if device is None else f"gpu{device}"


def _number(value: int | None) -> str:
    return UNKNOWN if value is None else str(value)


def _simulated(rows: Sequence[SpanRow | GpuRow | StreamRow | MemoryRow]) -> str:
    return " (simulated)" if any(row.simulated for row in rows) else ""


def _first(rows: list[Row], limit: int) -> list[Row]:
    return rows[:limit] if limit else rows


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        if index == 0:
            table.add_column(column, overflow="fold")
        else:
            table.add_column(column, justify="right", no_wrap=True)
    return table


def _cell(text: str, *, simulated: bool = False) -> Text:
    """Text of a program is no markup of ours."""
    return Text(safe(text) + (" simulated" if simulated else ""))
