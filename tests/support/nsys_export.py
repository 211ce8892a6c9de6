"""Writing small exports of Nsight Systems, of several schema versions.

The tables and columns are those of ``nsys export --type sqlite`` as a real export of
schema 3.25 has them (tests/data); what an export leaves out is said by the test.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

PUSH_POP, START_END, MARK, DOMAIN = 59, 60, 34, 75
OURS = "gpu_narration"

#: table → column → type
TABLES: dict[str, dict[str, str]] = {
    "NVTX_EVENTS": {
        "start": "INTEGER NOT NULL", "end": "INTEGER", "eventType": "INTEGER NOT NULL",
        "rangeId": "INTEGER", "category": "INTEGER", "text": "TEXT", "globalTid": "INTEGER",
        "endGlobalTid": "INTEGER", "textId": "INTEGER", "domainId": "INTEGER",
        "int64Value": "INTEGER",
    },
    "CUPTI_ACTIVITY_KIND_RUNTIME": {
        "start": "INTEGER NOT NULL", "end": "INTEGER NOT NULL", "globalTid": "INTEGER",
        "correlationId": "INTEGER", "nameId": "INTEGER NOT NULL",
    },
    "CUPTI_ACTIVITY_KIND_KERNEL": {
        "start": "INTEGER NOT NULL", "end": "INTEGER NOT NULL", "deviceId": "INTEGER NOT NULL",
        "streamId": "INTEGER NOT NULL", "correlationId": "INTEGER", "globalPid": "INTEGER",
        "demangledName": "INTEGER NOT NULL", "shortName": "INTEGER NOT NULL",
        "graphNodeId": "INTEGER", "graphId": "INTEGER",
    },
    "CUPTI_ACTIVITY_KIND_MEMCPY": {
        "start": "INTEGER NOT NULL", "end": "INTEGER NOT NULL", "deviceId": "INTEGER NOT NULL",
        "streamId": "INTEGER NOT NULL", "correlationId": "INTEGER", "globalPid": "INTEGER",
        "bytes": "INTEGER NOT NULL", "copyKind": "INTEGER NOT NULL", "graphNodeId": "INTEGER",
    },
    "CUPTI_ACTIVITY_KIND_MEMSET": {
        "start": "INTEGER NOT NULL", "end": "INTEGER NOT NULL", "deviceId": "INTEGER NOT NULL",
        "streamId": "INTEGER NOT NULL", "correlationId": "INTEGER", "globalPid": "INTEGER",
        "bytes": "INTEGER NOT NULL", "graphNodeId": "INTEGER",
    },
    "CUPTI_ACTIVITY_KIND_GRAPH_TRACE": {
        "start": "INTEGER NOT NULL", "end": "INTEGER NOT NULL", "deviceId": "INTEGER NOT NULL",
        "streamId": "INTEGER NOT NULL", "correlationId": "INTEGER", "globalPid": "INTEGER",
        "graphId": "INTEGER",
    },
    "CUPTI_ACTIVITY_KIND_SYNCHRONIZATION": {
        "start": "INTEGER NOT NULL", "end": "INTEGER NOT NULL", "deviceId": "INTEGER NOT NULL",
        "streamId": "INTEGER NOT NULL", "correlationId": "INTEGER", "globalPid": "INTEGER",
        "syncType": "INTEGER NOT NULL",
    },
    "CUDA_GPU_MEMORY_USAGE_EVENTS": {
        "start": "INTEGER NOT NULL", "globalPid": "INTEGER", "deviceId": "INTEGER NOT NULL",
        "bytes": "INTEGER NOT NULL", "memoryOperationType": "INTEGER", "correlationId": "INTEGER",
    },
    "StringIds": {"id": "INTEGER NOT NULL PRIMARY KEY", "value": "TEXT NOT NULL"},
    "PROCESSES": {"globalPid": "INTEGER", "pid": "INTEGER", "name": "TEXT"},
    "TARGET_INFO_GPU": {"id": "INTEGER", "uuid": "TEXT", "name": "TEXT"},
    "TARGET_INFO_CUDA_DEVICE": {"gpuId": "INTEGER", "cudaId": "INTEGER", "pid": "INTEGER"},
    "TARGET_INFO_SESSION_START_TIME": {"utcEpochNs": "INTEGER", "systemClockNs": "INTEGER"},
    "META_DATA_EXPORT": {"name": "TEXT NOT NULL", "value": "TEXT"},
}  # fmt: skip

Value = int | str | float | None


def global_tid(pid: int, tid: int) -> int:
    """As Nsight Systems serialises them; the upper bits name machine and VM."""
    return 0x1000000000000 | pid << 24 | tid


def global_pid(pid: int) -> int:
    return global_tid(pid, 0)


@dataclass
class Export:
    """Collects rows and writes them as a database."""

    rows: dict[str, list[dict[str, Value]]] = field(default_factory=dict)
    strings: dict[str, int] = field(default_factory=dict)
    domains: dict[tuple[int, str], int] = field(default_factory=dict)

    def add(self, table: str, **values: Value) -> None:
        self.rows.setdefault(table, []).append(values)

    def string(self, text: str) -> int:
        return self.strings.setdefault(text, len(self.strings) + 100)

    def domain(self, pid: int, name: str) -> int:
        """The id of a domain, which the report names."""
        if (pid, name) not in self.domains:
            number = 1 + sum(known == pid for known, _ in self.domains)
            self.domains[pid, name] = number
            self.add(
                "NVTX_EVENTS", start=0, eventType=DOMAIN, text=name, globalTid=global_tid(pid, pid),
                domainId=number,
            )  # fmt: skip
        return self.domains[pid, name]

    def range(
        self, pid: int, tid: int, start: int, end: int | None, name: str, *, kind: int = PUSH_POP,
        domain: str | None = None, payload: int | None = None, ended_by: int | None = None,
        registered: bool = False,
    ) -> None:  # fmt: skip
        """A range; ``ended_by`` is the thread that ended a start/end range."""
        self.add(
            "NVTX_EVENTS", start=start, end=end, eventType=kind, globalTid=global_tid(pid, tid),
            endGlobalTid=None if ended_by is None else global_tid(pid, ended_by),
            text=None if registered else name, textId=self.string(name) if registered else None,
            domainId=0 if domain is None else self.domain(pid, domain), int64Value=payload,
        )  # fmt: skip

    def mark(self, pid: int, tid: int, at: int, name: str, **options: object) -> None:
        self.range(pid, tid, at, None, name, kind=MARK, **options)  # type: ignore[arg-type]

    def call(
        self, pid: int, tid: int, start: int, end: int, correlation: int | None,
        name: str = "cudaLaunchKernel_v7000",
    ) -> None:  # fmt: skip
        self.add(
            "CUPTI_ACTIVITY_KIND_RUNTIME", start=start, end=end, globalTid=global_tid(pid, tid),
            correlationId=correlation, nameId=self.string(name),
        )  # fmt: skip

    def kernel(
        self, pid: int | None, start: int, end: int, correlation: int | None, *, name: str = "saxpy",
        device: int = 0, stream: int = 7, graph_node: int | None = None,
    ) -> None:  # fmt: skip
        self.add(
            "CUPTI_ACTIVITY_KIND_KERNEL", start=start, end=end, deviceId=device, streamId=stream,
            correlationId=correlation, globalPid=None if pid is None else global_pid(pid),
            demangledName=self.string(f"void {name}(int)"), shortName=self.string(name),
            graphNodeId=graph_node,
        )  # fmt: skip

    def copy(
        self, pid: int, start: int, end: int, correlation: int | None, *, size: int = 4096,
        device: int = 0, stream: int = 7, graph_node: int | None = None,
    ) -> None:  # fmt: skip
        self.add(
            "CUPTI_ACTIVITY_KIND_MEMCPY", start=start, end=end, deviceId=device, streamId=stream,
            correlationId=correlation, globalPid=global_pid(pid), bytes=size, copyKind=1,
            graphNodeId=graph_node,
        )  # fmt: skip

    def launch(self, pid: int, tid: int, at: int, correlation: int, start: int, end: int) -> None:
        """A call of 1 µs, and its kernel."""
        self.call(pid, tid, at, at + 1_000, correlation)
        self.kernel(pid, start, end, correlation)

    def session(self, unix_ns: int | None, monotonic_ns: int | None) -> None:
        self.add("TARGET_INFO_SESSION_START_TIME", utcEpochNs=unix_ns, systemClockNs=monotonic_ns)

    def write(
        self, path: Path, *, version: str | None = "3.25.0", without: Iterable[str] = (),
        meta: Mapping[str, str] | None = None, empty: Iterable[str] = (),
    ) -> Path:  # fmt: skip
        """Writes it.  ``without`` are tables, or ``TABLE.column``, that the version lacks;
        tables without rows are left out as nsys does, but for those in ``empty``.
        """
        gone = set(without)
        rows = dict(self.rows)
        rows["StringIds"] = [{"id": number, "value": text} for text, number in self.strings.items()]
        facts = dict(meta or {})
        if version is not None:
            major, minor, *_ = version.split(".")
            facts |= {
                "EXPORT_SCHEMA_VERSION": version, "EXPORT_SCHEMA_VERSION_MAJOR": major,
                "EXPORT_SCHEMA_VERSION_MINOR": minor,
            }  # fmt: skip
        rows["META_DATA_EXPORT"] = [{"name": name, "value": value} for name, value in facts.items()]
        connection = sqlite3.connect(path)
        for table, columns in TABLES.items():
            if table in gone or not (rows.get(table) or table in empty):
                continue
            kept = {name: kind for name, kind in columns.items() if f"{table}.{name}" not in gone}
            declared = ", ".join(f'"{name}" {kind}' for name, kind in kept.items())
            connection.execute(f'CREATE TABLE "{table}" ({declared})')
            holes = ", ".join("?" for _ in kept)
            connection.executemany(
                f'INSERT INTO "{table}" VALUES ({holes})',
                [[row.get(name) for name in kept] for row in rows.get(table, [])],
            )
        connection.commit()
        connection.close()
        return path
