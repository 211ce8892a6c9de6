"""Kernel time beside elapsed on stream, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from rich.text import Text

from gpu_narration.timeline.nsys.beside import BesideRow
from gpu_narration.views.escape import safe
from gpu_narration.views.nsys import UNKNOWN, table_console, titled_table
from gpu_narration.views.units import duration


def print_beside(rows: Sequence[BesideRow], out: TextIO, *, color: bool, limit: int) -> None:
    """Prints the table, ``limit`` rows of it or all if that is 0; nothing without rows."""
    if not rows:
        return
    console = table_console(out, color=color)
    table = titled_table(
        "Nsight Systems: kernel time beside elapsed on stream", "name", "calls", "joined", "CPU",
        "work", "kernel time", "compared", "elapsed", "kernel time", "difference", "lag",
    )  # fmt: skip
    for row in rows[:limit] if limit else rows:
        lag = row.lag.figures
        table.add_row(
            Text(safe(f"{row.actor} {row.name}" + (" (launch)" if row.is_launch else ""))),
            f"{row.calls:,}", f"{row.joined:,}", UNKNOWN if row.is_launch else duration(row.cpu_ns),
            f"{row.kernels + row.other_work:,}", duration(row.busy_ns), f"{row.compared:,}",
            duration(row.elapsed_ns) if row.compared else UNKNOWN,
            duration(row.compared_busy_ns) if row.compared else UNKNOWN,
            UNKNOWN if row.difference_ns is None else duration(row.difference_ns),
            UNKNOWN if lag is None else duration(lag.median_ns),
        )  # fmt: skip
    console.print()
    console.print(table)
    if limit and len(rows) > limit:
        console.print(Text(f"… and {len(rows) - limit:,} more rows"))


def beside_object(rows: Sequence[BesideRow], limit: int) -> list[dict[str, object]]:
    """The same as plain values; times in ns."""
    return [
        {
            "actor": row.actor,
            "name": row.name,
            "launch": row.is_launch,
            "calls": row.calls,
            "joined": row.joined,
            "cpu_ns": None if row.is_launch else row.cpu_ns,
            "kernels": row.kernels,
            "other_work": row.other_work,
            "kernel_busy_ns": row.busy_ns,
            "compared": row.compared,
            "compared_elapsed_on_stream_ns": row.elapsed_ns if row.compared else None,
            "compared_kernel_busy_ns": row.compared_busy_ns if row.compared else None,
            "difference_ns": row.difference_ns,
            "launch_to_start_median_ns": None if row.lag.figures is None else row.lag.figures.median_ns,
        }
        for row in rows[: limit or None]
    ]  # fmt: skip
