"""A report: its rows in the order in which they are asked for, and facts about it.

Nothing is held in memory that grows with the report: rows come from cursors, sorting
and joining is SQLite's, in temporary files.  In the report itself nothing is made.
"""

from __future__ import annotations

import contextlib
import functools
import heapq
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

from gpu_narration._errors import NsightReportError
from gpu_narration.nsight import schema
from gpu_narration.nsight.rows import Activity, CallRow, Launch, RangeRow, Work
from gpu_narration.nsight.schema import Adapter, TableSpec
from gpu_narration.nsight.source import connected, damage_told

#: Called now and then with the number of rows read since the last time.
Progress = Callable[[int], None]

Row = TypeVar("Row")

_STRIDE = 20_000
_MARKS_AND_RANGES = (schema.MARK, schema.PUSH_POP, schema.START_END)


@dataclass(frozen=True, slots=True)
class ReportClock:
    """What a report says of its clock.

    unix_ns, monotonic_ns: Unix time and CLOCK_MONOTONIC where the report's time is 0,
        or None.
    """

    unix_ns: int | None
    monotonic_ns: int | None


@dataclass(frozen=True, slots=True)
class TableCount:
    """Rows of a table, and how many of them have no times that make sense."""

    rows: int
    malformed: int


class Report:
    """An open report.  Everything it does may raise NsightReportError if it is damaged."""

    def __init__(self, path: Path, connection: sqlite3.Connection, progress: Progress) -> None:
        self.path = path
        self._connection = connection
        self._progress = progress
        self._tables: dict[str, TableCount] = {}
        with damage_told(path):
            self.adapter = Adapter(connection)
            if not self.adapter.is_report():
                raise NsightReportError(
                    f"{path} is no report of Nsight Systems",
                    meaning="it is a SQLite database, but has none of the tables of one",
                    next_step="export a report: nsys export --type sqlite REPORT.nsys-rep",
                )
            self._one_process = self._only_process()
            connection.execute(
                "CREATE TEMP TABLE launches (correlation INTEGER, pid INTEGER, start INTEGER, "
                '"end" INTEGER, name INTEGER, path INTEGER, process INTEGER, event INTEGER, '
                "launch INTEGER, note INTEGER, reason TEXT, PRIMARY KEY (correlation, pid)) "
                "WITHOUT ROWID"
            )
        self.string = functools.lru_cache(1 << 14)(self._string)

    # ---- facts ----

    def count(self, spec: TableSpec) -> TableCount:
        """The rows of a table; none if it is not there."""
        if spec.name not in self._tables:
            self._tables[spec.name] = self._count(spec)
        return self._tables[spec.name]

    def total_rows(self) -> int:
        """How many rows :meth:`ranges`, :meth:`calls` and :meth:`activities` give at most."""
        read = (schema.NVTX, schema.RUNTIME, *(spec for spec, _ in _WORK))
        return sum(self.count(spec).rows for spec in read)

    def clock(self) -> ReportClock:
        """The report's clock.  Times count from the start of the session, unless the export
        was told to shift them (``--ts-shift``) or to give Unix time (``--ts-normalize``).
        """
        meta = self._meta("EXPORT_PARAM_TIME_NORMALIZE", "EXPORT_PARAM_TIME_SHIFT")
        shift_ns = _whole(meta.get("EXPORT_PARAM_TIME_SHIFT")) or 0
        unix_ns, monotonic_ns = None, None
        if self.adapter.has(schema.SESSION):
            row = self._one(
                f"SELECT {self._column(schema.SESSION, 'utcEpochNs')}, "
                f"{self._column(schema.SESSION, 'systemClockNs')} FROM {_named(schema.SESSION)} t"
            )
            unix_ns, monotonic_ns = (_whole(value) for value in row) if row else (None, None)
        if meta.get("EXPORT_PARAM_TIME_NORMALIZE", "").lower() == "true":
            # The times are Unix times: where they are 0, the other clock was before its own 0.
            to_monotonic = None
            if unix_ns is not None and monotonic_ns is not None:
                to_monotonic = monotonic_ns - unix_ns - shift_ns
            return ReportClock(-shift_ns, to_monotonic)
        return ReportClock(
            None if unix_ns is None else unix_ns - shift_ns,
            None if monotonic_ns is None else monotonic_ns - shift_ns,
        )

    def processes(self) -> dict[int, str]:
        """The names of processes by pid."""
        if not self.adapter.has(schema.PROCESSES):
            return {}
        name = self._column(schema.PROCESSES, "name")
        rows = self._all(f"SELECT t.globalPid, {name} FROM {_named(schema.PROCESSES)} t")
        return {
            schema.pid_of(pid): str(name) for pid, name in rows if isinstance(pid, int) and name
        }

    def devices_differ(self) -> bool:
        """Whether processes may number GPUs in ways of their own (CUDA_VISIBLE_DEVICES): then a
        device index means something only together with a process.
        """
        if not self.adapter.has(schema.CUDA_DEVICES):
            return False
        query = f"SELECT count(*) FROM {_named(schema.CUDA_DEVICES)} WHERE gpuId <> cudaId"
        row = self._one(query)
        return row is not None and row[0] > 0

    def gpus(self) -> dict[int, str]:
        """The UUIDs of GPUs by device index, where the report says them beyond doubt."""
        if not self.adapter.has(schema.GPUS) or self.devices_differ():
            return {}
        uuid = self._column(schema.GPUS, "uuid")
        rows = self._all(f"SELECT t.id, {uuid} FROM {_named(schema.GPUS)} t")
        return {index: str(uuid) for index, uuid in rows if isinstance(index, int) and uuid}

    def domains(self) -> dict[tuple[int, int], str]:
        """The names of NVTX domains by (pid, domain id)."""
        if not self.adapter.has_column(schema.NVTX, "domainId"):
            return {}
        rows = self._all(
            f"SELECT a.globalTid, a.domainId, {self._range_name()} {self._from_ranges()} "
            "WHERE a.eventType = ?",
            schema.DOMAIN,
        )
        return {
            (schema.pid_of(tid), domain): str(name)
            for tid, domain, name in rows
            if isinstance(tid, int) and isinstance(domain, int) and name
        }

    # ---- rows ----

    def ranges(self) -> Iterator[RangeRow]:
        """Ranges and marks by thread; in a thread by start, the outer one first.

        A start/end range comes once for each thread that it may hold work of.
        """
        if not self.adapter.has(schema.NVTX):
            return iter(())
        columns = ", ".join(
            self._column(schema.NVTX, name, "a") for name in ("domainId", "int64Value", "endGlobalTid")
        )  # fmt: skip
        kinds = ", ".join(map(str, _MARKS_AND_RANGES))
        columns = f'a.globalTid, a.start, a."end", a.eventType, {self._range_name()}, {columns}'
        sound = (
            "typeof(a.start) = 'integer' AND typeof(a.globalTid) = 'integer' "
            'AND (a."end" IS NULL OR typeof(a."end") = \'integer\' AND a."end" >= a.start)'
        )
        query = (
            f"SELECT a.globalTid AS t, {columns} {self._from_ranges()} "
            f"WHERE a.eventType IN ({kinds}) AND {sound}"
        )
        if self.adapter.has(schema.RUNTIME):
            query += (
                f" UNION ALL SELECT c.tid, {columns} {self._from_ranges()} JOIN "
                f"(SELECT DISTINCT globalTid AS tid FROM {_named(schema.RUNTIME)} "
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
            f"{self._column(schema.RUNTIME, 'nameId', 'a')} FROM {_named(schema.RUNTIME)} a "
            f"WHERE {_TIMES} AND typeof(a.globalTid) = 'integer' ORDER BY a.globalTid, a.start",
        )

    def keep(self, launches: Iterable[Launch]) -> None:
        """Remembers whose the calls are, for :meth:`activities`; the first of one id counts."""
        rows = iter(launches)
        with damage_told(self.path):
            self._connection.execute("BEGIN")
            while batch := list(islice(rows, _STRIDE)):
                self._connection.executemany(
                    "INSERT OR IGNORE INTO temp.launches VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    batch,
                )
            self._connection.execute("COMMIT")

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
        row = self._one(
            f"SELECT count(*) FROM {_named(schema.KERNEL)} a "
            "JOIN temp.launches l ON l.correlation = a.correlationId "
            f"WHERE {_TIMES} AND l.pid <> {self._pid(schema.KERNEL)}"
        )
        return int(row[0]) if row else 0

    # ---- inside ----

    def _work_query(self, spec: TableSpec, kind: str) -> str:
        """Selects the columns of :class:`Activity`."""
        name, size, graph = "NULL", "NULL", "0"
        end = 'a."end"'
        times = _TIMES
        if spec is schema.KERNEL:
            name = self._column(spec, "shortName|demangledName", "a")
        if spec is schema.COPY:
            name = self._column(spec, "copyKind", "a")
        if spec is schema.GRAPH:
            name = self._column(spec, "graphId", "a")
        if "graphNodeId" in spec.optional:
            graph = f"({self._column(spec, 'graphNodeId', 'a')} IS NOT NULL)"
        if "bytes" in (*spec.required, *spec.optional):
            size = self._column(spec, "bytes", "a")
        what = f"'{kind}'"
        if spec is schema.MEMORY:
            what = (
                f"CASE a.memoryOperationType WHEN {schema.ALLOCATION} THEN '{Work.ALLOC}' "
                f"ELSE '{Work.FREE}' END"
            )
            end, times = "a.start", "typeof(a.start) = 'integer'"
        device, stream, correlation = (
            self._column(spec, column, "a") for column in ("deviceId", "streamId", "correlationId")
        )
        pid = self._pid(spec)
        return (
            f"SELECT a.start, {end}, {what}, {device}, {stream}, {pid}, {correlation}, {name}, "
            f'{size}, {graph}, l.start, l."end", l.name, l.path, l.process, l.event, l.launch, '
            f"l.note, l.reason FROM {_named(spec)} a LEFT JOIN temp.launches l "
            f"ON l.correlation = {correlation} AND l.pid = {pid} WHERE {times} ORDER BY a.start"
        )

    def _pid(self, spec: TableSpec) -> str:
        """The process of GPU work; where rows do not say it, the only one there is, if so."""
        if self.adapter.has_column(spec, "globalPid"):
            return self._column(spec, "globalPid", "a")
        return "NULL" if self._one_process is None else str(self._one_process)

    def _only_process(self) -> int | None:
        if not self.adapter.has(schema.RUNTIME):
            return None
        rows = self._all(
            f"SELECT DISTINCT globalTid & ~{schema.TID_MASK} FROM {_named(schema.RUNTIME)} "
            "WHERE typeof(globalTid) = 'integer' LIMIT 2"
        )
        return int(rows[0][0]) if len(rows) == 1 else None

    def _count(self, spec: TableSpec) -> TableCount:
        if not self.adapter.has(spec):
            return TableCount(0, 0)
        sound = _TIMES
        if spec is schema.MEMORY:
            sound = "typeof(a.start) = 'integer'"
        if spec is schema.NVTX:
            sound = f"(a.\"end\" IS NULL AND typeof(a.start) = 'integer' OR {_TIMES})"
        row = self._one(f"SELECT count(*), total({sound}) FROM {_named(spec)} a")
        assert row is not None
        return TableCount(int(row[0]), int(row[0]) - int(row[1]))

    def _meta(self, *names: str) -> dict[str, str]:
        if not self.adapter.has(schema.META):
            return {}
        holes = ", ".join("?" for _ in names)
        rows = self._all(
            f"SELECT name, value FROM {_named(schema.META)} WHERE name IN ({holes})", *names
        )
        return {str(name): str(value) for name, value in rows}

    def _range_name(self) -> str:
        text = self._column(schema.NVTX, "text", "a")
        registered = self._has_registered_names()
        return f"coalesce({text}, s.value)" if registered else text

    def _from_ranges(self) -> str:
        """Registered strings come by a join, for which SQLite indexes them where need be."""
        source = f"FROM {_named(schema.NVTX)} a"
        if self._has_registered_names():
            text_id = self._column(schema.NVTX, "textId", "a")
            source += f" LEFT JOIN {_named(schema.STRINGS)} s ON s.id = {text_id}"
        return source

    def _has_registered_names(self) -> bool:
        return self.adapter.has(schema.STRINGS) and self.adapter.has_column(schema.NVTX, "textId")

    def _string(self, number: int) -> str | None:
        if not self.adapter.has(schema.STRINGS):
            return None
        row = self._one(f"SELECT value FROM {_named(schema.STRINGS)} WHERE id = ?", number)
        return str(row[0]) if row else None

    def _column(self, spec: TableSpec, column: str, alias: str = "t") -> str:
        return self.adapter.expression(spec, column, alias)

    def _one(self, query: str, *values: object) -> tuple[Any, ...] | None:
        rows = self._all(query, *values)
        return rows[0] if rows else None

    def _all(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with damage_told(self.path):
            return self._connection.execute(query, values).fetchall()

    def _rows(self, make: Callable[[Iterable[object]], Row], query: str) -> Iterator[Row]:
        with damage_told(self.path):
            cursor = self._connection.execute(query)
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

#: Rows whose times make sense.
_TIMES = "(typeof(a.start) = 'integer' AND typeof(a.\"end\") = 'integer' AND a.\"end\" >= a.start)"


@contextlib.contextmanager
def opened(path: Path, progress: Progress = lambda _: None) -> Iterator[Report]:
    """Opens a report in whatever form it is; see :func:`~gpu_narration.nsight.source.connected`."""
    with connected(path) as connection:
        yield Report(path, connection, progress)


def _named(spec: TableSpec) -> str:
    return f'main."{spec.name}"'


def _whole(value: object) -> int | None:
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            return None
    return value if isinstance(value, int) else None
