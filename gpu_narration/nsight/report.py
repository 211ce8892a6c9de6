"""A report: its rows in the order in which they are asked for.

Nothing is held in memory that grows with the report: rows come from cursors, sorting
and joining is SQLite's, in temporary files.  In the report itself nothing is made.
"""

from __future__ import annotations

import contextlib
import heapq
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

from gpu_narration.nsight import schema
from gpu_narration.nsight.facts import TIMES, ReportFacts, named
from gpu_narration.nsight.rows import Activity, CallRow, Launch, RangeRow, Work
from gpu_narration.nsight.schema import TableSpec
from gpu_narration.nsight.source import connected, damage_told

#: Called now and then with the number of rows read since the last time.
Progress = Callable[[int], None]

Row = TypeVar("Row")

_STRIDE = 20_000
_MARKS_AND_RANGES = (schema.MARK, schema.PUSH_POP, schema.START_END)


class Report(ReportFacts):
    """An open report and its rows."""

    def __init__(self, path: Path, connection: sqlite3.Connection, progress: Progress) -> None:
        super().__init__(path, connection)
        self._progress = progress
        self._one_process = self.only_process()
        with damage_told(path):
            connection.execute(
                "CREATE TEMP TABLE launches (correlation INTEGER, pid INTEGER, start INTEGER, "
                '"end" INTEGER, name INTEGER, path INTEGER, process INTEGER, event INTEGER, '
                "launch INTEGER, note INTEGER, reason TEXT, PRIMARY KEY (correlation, pid)) "
                "WITHOUT ROWID"
            )

    def ranges(self) -> Iterator[RangeRow]:
        """Ranges and marks by thread; in a thread by start, the outer one first.

        A start/end range comes once for each thread that it may hold work of.
        """
        if not self.adapter.has(schema.NVTX):
            return iter(())
        columns = ", ".join(
            self.column(schema.NVTX, name, "a") for name in ("domainId", "int64Value", "endGlobalTid")
        )  # fmt: skip
        kinds = ", ".join(map(str, _MARKS_AND_RANGES))
        columns = f'a.globalTid, a.start, a."end", a.eventType, {self.range_name()}, {columns}'
        sound = (
            "typeof(a.start) = 'integer' AND typeof(a.globalTid) = 'integer' "
            'AND (a."end" IS NULL OR typeof(a."end") = \'integer\' AND a."end" >= a.start)'
        )
        query = (
            f"SELECT a.globalTid AS t, {columns} {self.from_ranges()} "
            f"WHERE a.eventType IN ({kinds}) AND {sound}"
        )
        if self.adapter.has(schema.RUNTIME):
            query += (
                f" UNION ALL SELECT c.tid, {columns} {self.from_ranges()} JOIN "
                f"(SELECT DISTINCT globalTid AS tid FROM {named(schema.RUNTIME)} "
                "WHERE typeof(globalTid) = 'integer') c ON c.tid <> a.globalTid "
                f"AND (c.tid & ~{schema.TID_MASK}) = (a.globalTid & ~{schema.TID_MASK}) "
                f"WHERE a.eventType = {schema.START_END} AND {sound}"
            )
        return self._rows(
            RangeRow._make,
            f'SELECT * FROM ({query}) ORDER BY t, start, coalesce("end", 9223372036854775807) DESC',
        )

    def calls(self) -> Iterator[CallRow]:
        """CUDA calls by thread and start."""
        if not self.adapter.has(schema.RUNTIME):
            return iter(())
        return self._rows(
            CallRow._make,
            'SELECT a.globalTid, a.start, a."end", a.correlationId, '
            f"{self.column(schema.RUNTIME, 'nameId', 'a')} FROM {named(schema.RUNTIME)} a "
            f"WHERE {TIMES} AND typeof(a.globalTid) = 'integer' ORDER BY a.globalTid, a.start",
        )

    def keep(self, launches: Iterable[Launch]) -> None:
        """Remembers whose the calls are, for :meth:`activities`; the first of one id counts."""
        rows = iter(launches)
        with damage_told(self.path):
            self.connection.execute("BEGIN")
            while batch := list(islice(rows, _STRIDE)):
                self.connection.executemany(
                    "INSERT OR IGNORE INTO temp.launches VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    batch,
                )
            self.connection.execute("COMMIT")

    def activities(self) -> Iterator[Activity]:
        """All GPU work by start, with the calls that were kept."""
        parts = [
            self._rows(Activity._make, self._work_query(spec, kind))
            for spec, kind in _WORK
            if self.adapter.has(spec)
        ]
        return heapq.merge(*parts, key=itemgetter(0))

    def wrong_by_correlation_alone(self) -> int:
        """How many rows a join of kernels to kept calls would have too many, were it on the
        correlation id without the process.
        """
        if not self.adapter.has_column(schema.KERNEL, "correlationId"):
            return 0
        row = self.one(
            f"SELECT count(*) FROM {named(schema.KERNEL)} a "
            "JOIN temp.launches l ON l.correlation = a.correlationId "
            f"WHERE {TIMES} AND l.pid <> {self._pid(schema.KERNEL)}"
        )
        return int(row[0]) if row else 0

    def _work_query(self, spec: TableSpec, kind: str) -> str:
        """Selects the columns of :class:`Activity`."""
        name, size, graph = "NULL", "NULL", "0"
        end = 'a."end"'
        times = TIMES
        if spec is schema.KERNEL:
            name = self.column(spec, "shortName|demangledName", "a")
        if spec is schema.COPY:
            name = self.column(spec, "copyKind", "a")
        if spec is schema.GRAPH:
            name = self.column(spec, "graphId", "a")
        if "graphNodeId" in spec.optional:
            graph = f"({self.column(spec, 'graphNodeId', 'a')} IS NOT NULL)"
        if "bytes" in (*spec.required, *spec.optional):
            size = self.column(spec, "bytes", "a")
        what = f"'{kind}'"
        if spec is schema.MEMORY:
            what = (
                f"CASE a.memoryOperationType WHEN {schema.ALLOCATION} THEN '{Work.ALLOC}' "
                f"ELSE '{Work.FREE}' END"
            )
            end, times = "a.start", "typeof(a.start) = 'integer'"
        device, stream, correlation = (
            self.column(spec, column, "a") for column in ("deviceId", "streamId", "correlationId")
        )
        pid = self._pid(spec)
        return (
            f"SELECT a.start, {end}, {what}, {device}, {stream}, {pid}, {correlation}, {name}, "
            f'{size}, {graph}, l.start, l."end", l.name, l.path, l.process, l.event, l.launch, '
            f"l.note, l.reason FROM {named(spec)} a LEFT JOIN temp.launches l "
            f"ON l.correlation = {correlation} AND l.pid = {pid} WHERE {times} ORDER BY a.start"
        )

    def _pid(self, spec: TableSpec) -> str:
        """The process of GPU work; where rows do not say it, the only one there is, if so."""
        if self.adapter.has_column(spec, "globalPid"):
            return self.column(spec, "globalPid", "a")
        return "NULL" if self._one_process is None else str(self._one_process)

    def _rows(self, make: Callable[[Iterable[object]], Row], query: str) -> Iterator[Row]:
        with damage_told(self.path):
            cursor = self.connection.execute(query)
            cursor.arraysize = 1000
            unsaid = 0
            while batch := cursor.fetchmany():
                yield from map(make, batch)
                unsaid += len(batch)
                if unsaid >= _STRIDE:
                    self._progress(unsaid)
                    unsaid = 0


#: GPU work, and what it is called; of memory operations the row itself says it.
_WORK = (
    (schema.KERNEL, Work.KERNEL), (schema.COPY, Work.COPY), (schema.MEMSET, Work.MEMSET),
    (schema.GRAPH, Work.GRAPH), (schema.SYNC, Work.SYNC), (schema.MEMORY, ""),
)  # fmt: skip


@contextlib.contextmanager
def opened(path: Path, progress: Progress = lambda _: None) -> Iterator[Report]:
    """Opens a report in whatever form it is; see :func:`~gpu_narration.nsight.source.connected`."""
    with connected(path) as connection:
        yield Report(path, connection, progress)
