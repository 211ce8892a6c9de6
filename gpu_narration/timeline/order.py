"""The order of a summary's rows."""

from __future__ import annotations

from typing import Literal

from gpu_narration.timeline.distribution import Figures
from gpu_narration.timeline.gpu_time import GpuRow
from gpu_narration.timeline.summary import SpanRow, Summary

SortKey = Literal["total", "calls", "median", "p99", "longest", "failed", "name"]
SORT_KEYS: tuple[SortKey, ...] = (
    "total", "calls", "median", "p99", "longest", "failed", "name",
)  # fmt: skip


def sort(summary: Summary, key: SortKey) -> None:
    """Sorts the rows of spans, waits, launches and scopes in place.

    The largest come first, names from A on; rows without a figure come last, and
    rows that are equal by name.
    """
    for rows in (summary.spans, summary.waits):
        rows.sort(key=lambda row: _place(row, key))
    for gpu_rows in (summary.launches, summary.scopes):
        gpu_rows.sort(key=lambda row: _place(row, key))


def _place(row: SpanRow | GpuRow, key: SortKey) -> tuple[bool, int, str, int]:
    name = row.name if isinstance(row, GpuRow) else f"{row.actor} {row.name}"
    stream = (row.stream or 0) if isinstance(row, GpuRow) else 0
    if key == "name":
        return False, 0, name, stream
    if key in ("calls", "failed"):
        return False, -(row.calls if key == "calls" else row.failed), name, stream
    figures = row.figures
    if figures is None:
        return True, -row.calls, name, stream
    return False, -_figure(figures, key), name, stream


def _figure(figures: Figures, key: SortKey) -> int:
    match key:
        case "median":
            return figures.median_ns
        case "p99":
            return figures.p99_ns
        case "longest":
            return figures.longest_ns
        case _:
            return figures.total_ns
