"""The summary as tables for a terminal."""

from __future__ import annotations

from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gpu_narration.timeline.summary import LaunchRow, MemoryRow, SpanRow, Summary
from gpu_narration.views.escape import safe
from gpu_narration.views.units import milliseconds, size

_ROWS = 10


def print_summary(summary: Summary, out: TextIO, *, color: bool) -> None:
    """Prints the largest rows of each table; nothing for an empty one."""
    console = Console(
        file=out, force_terminal=color, no_color=not color, highlight=False, width=100
    )
    if summary.spans:
        console.print(_spans(summary.spans))
    if summary.launches:
        console.print(_launches(summary.launches))
    if summary.memory:
        console.print(_memory(summary.memory))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", no_wrap=index == 0)
    return table


def _cell(text: str) -> Text:
    """Text of a program is no markup of ours."""
    return Text(safe(text))


def _spans(rows: list[SpanRow]) -> Table:
    table = _table(
        "Top spans", "span", "calls", "failed", "total ms", "longest ms", "GPU ms on stream"
    )
    for row in rows[:_ROWS]:
        gpu = milliseconds(row.gpu_ns) if row.gpu_known else ""
        if row.gpu_unknown:
            gpu += f" + {sum(row.gpu_unknown.values())} unknown"
        table.add_row(
            _cell(f"{row.actor} {row.name}"), str(row.calls), str(row.failed or ""),
            milliseconds(row.total_ns), milliseconds(row.longest_ns), gpu,
        )  # fmt: skip
    if len(rows) > _ROWS:
        table.caption = f"and {len(rows) - _ROWS} more"
    return table


def _launches(rows: list[LaunchRow]) -> Table:
    simulated = any(row.simulated for row in rows)
    table = _table(
        "GPU time (simulated)" if simulated else "GPU time",
        "kernel", "device", "stream", "launches", "elapsed ms on stream", "unknown",
    )  # fmt: skip
    for row in rows[:_ROWS]:
        unknown = "; ".join(f"{count}: {reason}" for reason, count in row.unknown.items())
        table.add_row(
            _cell(row.name), "?" if row.device is None else f"gpu{row.device}",
            "?" if row.stream is None else str(row.stream), str(row.launches),
            milliseconds(row.gpu_ns) if row.known else "None", _cell(unknown),
        )  # fmt: skip
    return table


def _memory(rows: list[MemoryRow]) -> Table:
    simulated = any(row.simulated for row in rows)
    table = _table(
        "VRAM (simulated)" if simulated else "VRAM",
        "device", "source", "moves", "first", "peak", "last", "of", "rose in",
    )  # fmt: skip
    for row in rows:
        rose = sorted(row.rose_in.items(), key=lambda item: -item[1])[:3]
        table.add_row(
            f"gpu{row.device}", row.source, str(row.moves), size(row.first_bytes),
            size(row.peak_bytes), size(row.last_bytes), size(row.total_bytes),
            _cell(", ".join(f"{scope} {size(count)}" for scope, count in rose)),
        )  # fmt: skip
    return table
