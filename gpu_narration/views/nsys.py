"""A report of Nsight Systems as tables for a terminal."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import TextIO

from rich.table import Table
from rich.text import Text

from gpu_narration.timeline.nsys.explain import Explanation
from gpu_narration.timeline.nsys.median import Median
from gpu_narration.timeline.nsys.table import DeviceTotals, ProcessTotals, RangeTotals
from gpu_narration.views.escape import safe
from gpu_narration.views.nsys_story import amounts, story
from gpu_narration.views.tables import TableConsole
from gpu_narration.views.units import duration

#: How many rows of a table are shown where nobody says otherwise.
ROWS = 20

UNKNOWN = "\N{EN DASH}"

#: As wide as the tables need to be: narrower terminals break their lines themselves.
_NARROWEST, _UNBOUNDED = 120, 10_000


class ExplanationTables:
    """Prints an explanation; ``limit`` rows of each table, all of them if it is 0."""

    def __init__(self, out: TextIO, *, color: bool, limit: int = ROWS) -> None:
        self._console = table_console(out, color=color)
        self._limit = limit

    def print(self, told: Explanation) -> None:
        for sentence in story(told):
            self._line(safe(sentence))
        if told.ranges:
            self._table(self._ranges(told), len(told.ranges))
        if told.processes:
            self._table(_processes(told), 0)
        if told.devices:
            self._table(_devices(told), 0)
        if told.calls:
            self._table(self._calls(told), len(told.calls))
        if told.kernels:
            self._table(self._kernels(told), len(told.kernels))
        self._reasons(told)

    def _reasons(self, told: Explanation) -> None:
        if told.reasons:
            self._console.print()
            self._line("GPU work in no range:")
            width = max(len(f"{counts.total:,}") for counts in told.reasons.values())
            for reason, counts in told.reasons.items():
                self._line(f"  {counts.total:>{width},}  {safe(reason)} ({amounts(counts)})")
        if told.wrong_by_correlation_alone:
            self._line(
                f"A join of kernels and calls on the correlation id alone would have "
                f"{told.wrong_by_correlation_alone:,} rows too many: processes use the same ids."
            )

    def _ranges(self, told: Explanation) -> Table:
        table = titled_table(
            "Ranges, with what is inside them", "range", "calls", "CPU", "in CUDA calls", "waiting",
            "kernels", "other work", "GPU busy", "of busy", "itself", "lag", "idle before", "gaps",
        )  # fmt: skip
        whole_ns = told.busy.covered_ns
        rows = told.ranges[: self._limit] if self._limit else told.ranges
        for row in rows:
            table.add_row(*_range(row, whole_ns))
        left = told.unattributed
        if left.total:
            table.add_row(
                Text("(in no range)"), "", "", "", "", f"{left.kernels:,}", f"{left.total - left.kernels:,}",
                duration(told.unattributed_busy.covered_ns),
                share(told.unattributed_busy.covered_ns, whole_ns), "", "", "", "",
            )  # fmt: skip
        return table

    def _calls(self, told: Explanation) -> Table:
        table = titled_table("CUDA calls, added up over threads", "call", "calls", "total", "waits")
        for row in told.calls[: self._limit] if self._limit else told.calls:
            table.add_row(
                Text(safe(row.name)), f"{row.calls:,}", duration(row.total_ns), "yes" if row.waits else ""
            )  # fmt: skip
        return table

    def _kernels(self, told: Explanation) -> Table:
        table = titled_table("Kernels, overlapping ones counted twice", "kernel", "count", "total")
        for row in told.kernels[: self._limit] if self._limit else told.kernels:
            table.add_row(Text(safe(row.name)), f"{row.count:,}", duration(row.total_ns))
        return table

    def _table(self, table: Table, rows: int) -> None:
        self._console.print()
        self._console.print(table)
        if self._limit and rows > self._limit:
            self._line(f"… and {rows - self._limit:,} more rows")

    def _line(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)


def table_console(out: TextIO, *, color: bool) -> TableConsole:
    """Where the tables go; a file or a pipe has no edge."""
    width = shutil.get_terminal_size().columns if out.isatty() else _UNBOUNDED
    return TableConsole(
        file=out, force_terminal=color, no_color=not color, highlight=False,
        width=max(width, _NARROWEST),
    )  # fmt: skip


def titled_table(title: str, *columns: str) -> Table:
    """A table whose first column is a name, and the others numbers."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        if index == 0:
            table.add_column(column, overflow="fold")
        else:
            table.add_column(column, justify="right", no_wrap=True)
    return table


def _range(row: RangeTotals, whole_ns: int) -> Sequence[str | Text]:
    other = row.work.total - row.work.kernels
    return (
        Text(safe(row.name)), f"{row.calls:,}",
        UNKNOWN if row.calls == row.open else ("≥ " if row.open else "") + duration(row.cpu_ns),
        duration(row.api_ns) if row.api_ns else "", duration(row.waiting_ns) if row.waiting_ns else "",
        f"{row.work.kernels:,}" if row.work.kernels else "", f"{other:,}" if other else "",
        duration(row.busy.covered_ns) if row.work.total else "",
        share(row.busy.covered_ns, whole_ns) if row.work.total else "",
        duration(row.own.covered_ns) if row.own.covered_ns else "",
        _median(row.lag), duration(row.idle.total_ns) if row.idle.gaps else "",
        f"{row.idle.gaps:,}" if row.idle.gaps else "",
    )  # fmt: skip


def _processes(told: Explanation) -> Table:
    table = titled_table(
        "Processes", "process", "kernels", "in ranges", "other work", "in ranges", "in no range", "GPU busy",
    )  # fmt: skip
    for row in told.processes:
        work, known = row.work, row.attributed
        table.add_row(
            _process_name(row), f"{work.kernels:,}", f"{known.kernels:,}", f"{work.total - work.kernels:,}",
            f"{known.total - known.kernels:,}", share(work.total - known.total, work.total),
            duration(row.busy.covered_ns),
        )  # fmt: skip
    return table


def _devices(told: Explanation) -> Table:
    table = titled_table(
        "GPUs", "GPU", "kernels", "other work", "busy", "of the time covered", "idle between", "gaps",
        "longest", "not asked yet",
    )  # fmt: skip
    for row in told.devices:
        table.add_row(
            _device_name(row), f"{row.work.kernels:,}", f"{row.work.total - row.work.kernels:,}",
            duration(row.busy.covered_ns), share(row.busy.covered_ns, told.window_ns),
            duration(row.idle.total_ns), f"{row.idle.gaps:,}", duration(row.idle.longest_ns),
            duration(row.idle.starved_ns),
        )  # fmt: skip
    return table


def _process_name(row: ProcessTotals) -> Text:
    pid = UNKNOWN if row.pid is None else str(row.pid)
    return Text(safe(f"{pid} {row.name}" if row.name else pid))


def _device_name(row: DeviceTotals) -> Text:
    name = UNKNOWN if row.index is None else f"gpu{row.index}"
    if row.pid is not None:
        name += f" of process {row.pid}"
    return Text(safe(f"{name} {row.uuid}" if row.uuid else name))


def _median(lag: Median) -> str:
    if lag.ns is None:
        return ""
    return duration(lag.ns) if lag.is_exact else f"≈ {duration(lag.ns)}"


def share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else UNKNOWN
