"""Facts about a report, each by one query."""

from __future__ import annotations

import functools
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_narration._errors import NsightReportError
from gpu_narration.nsight import schema
from gpu_narration.nsight.schema import Adapter, TableSpec
from gpu_narration.nsight.source import damage_told

#: Rows whose times make sense.
TIMES = "(typeof(a.start) = 'integer' AND typeof(a.\"end\") = 'integer' AND a.\"end\" >= a.start)"


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


class ReportFacts:
    """An open report.  Everything it does may raise NsightReportError if it is damaged."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection
        self._tables: dict[str, TableCount] = {}
        with damage_told(path):
            self.adapter = Adapter(connection)
            if not self.adapter.is_report():
                raise NsightReportError(
                    f"{path} is no report of Nsight Systems",
                    meaning="it is a SQLite database, but has none of the tables of one",
                    next_step="export a report: nsys export --type sqlite REPORT.nsys-rep",
                )
        self.string = functools.lru_cache(1 << 14)(self._string)

    def count(self, spec: TableSpec) -> TableCount:
        """The rows of a table; none if it is not there."""
        if spec.name not in self._tables:
            self._tables[spec.name] = self._count(spec)
        return self._tables[spec.name]

    def clock(self) -> ReportClock:
        """The report's clock.  Times count from the start of the session, unless the export
        was told to shift them (``--ts-shift``) or to give Unix time (``--ts-normalize``).
        """
        meta = self._meta("EXPORT_PARAM_TIME_NORMALIZE", "EXPORT_PARAM_TIME_SHIFT")
        shift_ns = _whole(meta.get("EXPORT_PARAM_TIME_SHIFT")) or 0
        unix_ns, monotonic_ns = None, None
        if self.adapter.has(schema.SESSION):
            row = self.one(
                f"SELECT {self.column(schema.SESSION, 'utcEpochNs')}, "
                f"{self.column(schema.SESSION, 'systemClockNs')} FROM {named(schema.SESSION)} t"
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
        name = self.column(schema.PROCESSES, "name")
        rows = self._all(f"SELECT t.globalPid, {name} FROM {named(schema.PROCESSES)} t")
        return {
            schema.pid_of(pid): str(name) for pid, name in rows if isinstance(pid, int) and name
        }

    def devices_differ(self) -> bool:
        """Whether processes may number GPUs in ways of their own (CUDA_VISIBLE_DEVICES): then a
        device index means something only together with a process.
        """
        if not self.adapter.has(schema.CUDA_DEVICES):
            return False
        query = f"SELECT count(*) FROM {named(schema.CUDA_DEVICES)} WHERE gpuId <> cudaId"
        row = self.one(query)
        return row is not None and row[0] > 0

    def gpus(self) -> dict[int, str]:
        """The UUIDs of GPUs by device index, where the report says them beyond doubt."""
        if not self.adapter.has(schema.GPUS) or self.devices_differ():
            return {}
        uuid = self.column(schema.GPUS, "uuid")
        rows = self._all(f"SELECT t.id, {uuid} FROM {named(schema.GPUS)} t")
        return {index: str(uuid) for index, uuid in rows if isinstance(index, int) and uuid}

    def threads(self) -> list[int]:
        """The ``globalTid`` of all threads that made CUDA calls."""
        if not self.adapter.has(schema.RUNTIME):
            return []
        rows = self._all(
            f"SELECT DISTINCT globalTid FROM {named(schema.RUNTIME)} "
            "WHERE typeof(globalTid) = 'integer' ORDER BY globalTid"
        )
        return [tid for (tid,) in rows]

    def pids(self) -> set[int]:
        """The pids of all processes that made CUDA calls or had NVTX ranges."""
        pids = {schema.pid_of(tid) for tid in self.threads()}
        if self.adapter.has(schema.NVTX):
            rows = self._all(
                f"SELECT DISTINCT globalTid >> 24 FROM {named(schema.NVTX)} "
                "WHERE typeof(globalTid) = 'integer'"
            )
            pids |= {pid & schema.TID_MASK for (pid,) in rows}
        return pids

    def last_ns(self, spec: TableSpec) -> int:
        """The latest start in a table; 0 if there is none."""
        if not self.adapter.has(spec):
            return 0
        row = self.one(f"SELECT max(start) FROM {named(spec)} WHERE typeof(start) = 'integer'")
        return 0 if row is None or row[0] is None else int(row[0])

    def domains(self) -> dict[tuple[int, int], str]:
        """The names of NVTX domains by (pid, domain id)."""
        if not self.adapter.has_column(schema.NVTX, "domainId"):
            return {}
        rows = self._all(
            f"SELECT a.globalTid, a.domainId, {self.range_name()} {self.from_ranges()} "
            "WHERE a.eventType = ?",
            schema.DOMAIN,
        )
        return {
            (schema.pid_of(tid), domain): str(name)
            for tid, domain, name in rows
            if isinstance(tid, int) and isinstance(domain, int) and name
        }

    def only_process(self) -> int | None:
        """The ``globalPid`` of the process that made all CUDA calls; None if it is not one."""
        if not self.adapter.has(schema.RUNTIME):
            return None
        rows = self._all(
            f"SELECT DISTINCT globalTid & ~{schema.TID_MASK} FROM {named(schema.RUNTIME)} "
            "WHERE typeof(globalTid) = 'integer' LIMIT 2"
        )
        return int(rows[0][0]) if len(rows) == 1 else None

    def _count(self, spec: TableSpec) -> TableCount:
        if not self.adapter.has(spec):
            return TableCount(0, 0)
        sound = TIMES
        if spec is schema.MEMORY:
            sound = "typeof(a.start) = 'integer'"
        if spec is schema.NVTX:
            sound = f"(a.\"end\" IS NULL AND typeof(a.start) = 'integer' OR {TIMES})"
        row = self.one(f"SELECT count(*), total({sound}) FROM {named(spec)} a")
        assert row is not None
        return TableCount(int(row[0]), int(row[0]) - int(row[1]))

    def _meta(self, *names: str) -> dict[str, str]:
        if not self.adapter.has(schema.META):
            return {}
        holes = ", ".join("?" for _ in names)
        rows = self._all(
            f"SELECT name, value FROM {named(schema.META)} WHERE name IN ({holes})", *names
        )
        return {str(name): str(value) for name, value in rows}

    def range_name(self) -> str:
        text = self.column(schema.NVTX, "text", "a")
        registered = self._has_registered_names()
        return f"coalesce({text}, s.value)" if registered else text

    def from_ranges(self) -> str:
        """Registered strings come by a join, for which SQLite indexes them where need be."""
        source = f"FROM {named(schema.NVTX)} a"
        if self._has_registered_names():
            text_id = self.column(schema.NVTX, "textId", "a")
            source += f" LEFT JOIN {named(schema.STRINGS)} s ON s.id = {text_id}"
        return source

    def _has_registered_names(self) -> bool:
        return self.adapter.has(schema.STRINGS) and self.adapter.has_column(schema.NVTX, "textId")

    def _string(self, number: int) -> str | None:
        if not self.adapter.has(schema.STRINGS):
            return None
        row = self.one(f"SELECT value FROM {named(schema.STRINGS)} WHERE id = ?", number)
        return str(row[0]) if row else None

    def column(self, spec: TableSpec, column: str, alias: str = "t") -> str:
        return self.adapter.expression(spec, column, alias)

    def one(self, query: str, *values: object) -> tuple[Any, ...] | None:
        rows = self._all(query, *values)
        return rows[0] if rows else None

    def _all(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with damage_told(self.path):
            return self.connection.execute(query, values).fetchall()


def named(spec: TableSpec) -> str:
    return f'main."{spec.name}"'


def _whole(value: object) -> int | None:
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            return None
    return value if isinstance(value, int) else None
