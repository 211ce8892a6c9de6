"""What an export of Nsight Systems holds, and how its versions differ.

A table is there only if there was data for it, and columns come and go with the
versions.  Everything above this file asks for the columns below by these names; what
a report lacks is NULL, and a :class:`Lack` says what follows from that.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

#: The newest schema that this adapter was written against.
NEWEST_KNOWN = (3, 25)
#: Older ones (2020 and before) differ in more than missing columns.
OLDEST_KNOWN = (2, 0)

#: ``globalTid`` is (machine and VM, pid, tid) with 24 bits for each of the last two;
#: ``globalPid`` is the same with tid 0.
TID_MASK = (1 << 24) - 1


def pid_of(global_id: int) -> int:
    """The process id in a serialised ``globalTid`` or ``globalPid``."""
    return (global_id >> 24) & TID_MASK


def tid_of(global_tid: int) -> int:
    """The thread id in a serialised ``globalTid``."""
    return global_tid & TID_MASK


#: Values of ``NVTX_EVENTS.eventType``, as ENUM_NSYS_EVENT_TYPE of an export lists them.
CATEGORY, MARK, PUSH_POP, START_END, DOMAIN = 33, 34, 59, 60, 75

#: Value of ``memoryOperationType``: an allocation; 1 is its end.
ALLOCATION = 0

COPY_KINDS = {
    1: "host to device", 2: "device to host", 8: "device to device", 9: "host to host",
    10: "peer to peer",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TableSpec:
    """A table that we read.

    required: without one of these columns the table is of no use.
    optional: column → what cannot be told without it.  ``a|b`` is ``a`` where that is
        there, else ``b``.
    missing: what cannot be told without the table.
    """

    name: str
    required: tuple[str, ...]
    optional: dict[str, str]
    missing: str = ""


NVTX = TableSpec(
    "NVTX_EVENTS",
    ("start", "end", "eventType", "globalTid"),
    {
        "text": "",
        "textId": "",
        "endGlobalTid": "start/end ranges count for the thread that began them",
        "domainId": "ranges of different domains cannot be told apart",
        "int64Value": "ranges of gpu_narration are matched by name and clock, not by their ids",
    },
    "there are no NVTX ranges, so GPU work belongs to none",
)
RUNTIME = TableSpec(
    "CUPTI_ACTIVITY_KIND_RUNTIME",
    ("start", "end", "globalTid", "correlationId"),
    {"nameId": "calls have no names, so waiting cannot be told from launching"},
    "there are no CUDA API calls, so nobody is known to have launched anything",
)
_WORK = {
    "deviceId": "GPUs cannot be told apart",
    "streamId": "streams are unknown",
    "correlationId": "GPU work cannot be followed to its launch call",
    "globalPid": "GPU work names no process",
}
KERNEL = TableSpec(
    "CUPTI_ACTIVITY_KIND_KERNEL",
    ("start", "end"),
    {
        **_WORK,
        "shortName|demangledName": "kernels have no names",
        "graphNodeId": "kernels of graphs cannot be told from others",
    },
    "there are no kernels",
)
COPY = TableSpec(
    "CUPTI_ACTIVITY_KIND_MEMCPY",
    ("start", "end"),
    {**_WORK, "bytes": "sizes of copies are unknown", "copyKind": "", "graphNodeId": ""},
)
MEMSET = TableSpec(
    "CUPTI_ACTIVITY_KIND_MEMSET",
    ("start", "end"),
    {**_WORK, "bytes": "sizes of memsets are unknown", "graphNodeId": ""},
)
GRAPH = TableSpec(
    "CUPTI_ACTIVITY_KIND_GRAPH_TRACE", ("start", "end"), {**_WORK, "graphId": ""}
)  # fmt: skip
SYNC = TableSpec(
    "CUPTI_ACTIVITY_KIND_SYNCHRONIZATION",
    ("start", "end"),
    {"deviceId": "", "streamId": "", "correlationId": "", "globalPid": ""},
)
MEMORY = TableSpec(
    "CUDA_GPU_MEMORY_USAGE_EVENTS",
    ("start", "bytes", "memoryOperationType"),
    {"deviceId": "", "correlationId": "", "globalPid": "", "streamId": ""},
)
STRINGS = TableSpec("StringIds", ("id", "value"), {}, "kernels, calls and registered ranges have no names")  # fmt: skip
SESSION = TableSpec(
    "TARGET_INFO_SESSION_START_TIME", (), {"utcEpochNs": "", "systemClockNs": ""},
)  # fmt: skip
META = TableSpec("META_DATA_EXPORT", ("name", "value"), {})
PROCESSES = TableSpec("PROCESSES", ("globalPid",), {"name": ""})
CUDA_DEVICES = TableSpec("TARGET_INFO_CUDA_DEVICE", ("gpuId", "cudaId"), {})
GPUS = TableSpec("TARGET_INFO_GPU", ("id",), {"uuid": "", "name": ""})

#: One of these is in every report that can be explained or joined.
EVIDENCE = (NVTX, RUNTIME, KERNEL, COPY, MEMSET, GRAPH, META)
#: Tables that are copied where a report is no database already.
ALL = (
    NVTX, RUNTIME, KERNEL, COPY, MEMSET, GRAPH, SYNC, MEMORY, STRINGS, SESSION, META, PROCESSES, GPUS,
    CUDA_DEVICES,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Lack:
    """Something that a report does not have, and what that means."""

    what: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Version:
    """The version of a report's schema; numbers are None where it does not say."""

    text: str | None
    number: tuple[int, int] | None


class Adapter:
    """The tables and columns of one report, and what it lacks."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._columns: dict[str, dict[str, str]] = {}
        names = connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
        present = {str(name) for (name,) in names}
        for spec in ALL:
            if spec.name in present:
                described = connection.execute(f'PRAGMA table_info("{spec.name}")')
                self._columns[spec.name] = {str(row[1]).lower(): str(row[1]) for row in described}
        self.lacks: list[Lack] = []
        for spec in (NVTX, RUNTIME, KERNEL, COPY, MEMSET, GRAPH, STRINGS):
            self._look_at(spec)
        self.version = self._version(connection)

    def has(self, spec: TableSpec) -> bool:
        """Whether the table is there with the columns that it is of no use without."""
        columns = self._columns.get(spec.name)
        return columns is not None and all(name.lower() in columns for name in spec.required)

    def has_column(self, spec: TableSpec, column: str) -> bool:
        return self.has(spec) and self._find(spec, column) is not None

    def expression(self, spec: TableSpec, column: str, alias: str) -> str:
        """The SQL of a column of a table that goes by ``alias``; NULL where it is missing."""
        found = self._find(spec, column)
        return "NULL" if found is None else f'{alias}."{found}"'

    def is_report(self) -> bool:
        return any(spec.name in self._columns for spec in EVIDENCE)

    def warnings(self) -> list[str]:
        """What to know about the version before trusting the rest."""
        number, text = self.version.number, self.version.text
        if number is None:
            said = "it is read as far as its columns are known"
            return [f"the report does not say which version its schema has; {said}"]
        if number > NEWEST_KNOWN:
            known = ".".join(map(str, NEWEST_KNOWN))
            said = f"newer than {known}, the newest that is known here; figures may be missing"
        elif number < OLDEST_KNOWN:
            said = "older than any that is known here; export it again with a newer nsys"
        else:
            return []
        return [f"the report has schema {text}, {said}"]

    def _find(self, spec: TableSpec, column: str) -> str | None:
        columns = self._columns.get(spec.name, {})
        for name in column.split("|"):
            if name.lower() in columns:
                return columns[name.lower()]
        return None

    def _look_at(self, spec: TableSpec) -> None:
        columns = self._columns.get(spec.name)
        if columns is None:
            if spec.missing:
                self.lacks.append(Lack(f"table {spec.name}", spec.missing))
            return
        missing = [name for name in spec.required if name.lower() not in columns]
        if missing:
            what = f"{spec.name}.{', '.join(missing)}"
            self.lacks.append(Lack(what, f"the table {spec.name} was left out"))
            return
        for column, meaning in spec.optional.items():
            if meaning and self._find(spec, column) is None:
                name = column.partition("|")[0]
                self.lacks.append(Lack(f"{spec.name}.{name}", meaning))

    def _version(self, connection: sqlite3.Connection) -> Version:
        if not self.has(META):
            return Version(None, None)
        rows = connection.execute(
            f"SELECT name, value FROM \"{META.name}\" WHERE name LIKE 'EXPORT_SCHEMA_VERSION%'"
        )
        found = {str(name): str(value) for name, value in rows}
        text = found.get("EXPORT_SCHEMA_VERSION")
        parts = [
            found.get("EXPORT_SCHEMA_VERSION_MAJOR"), found.get("EXPORT_SCHEMA_VERSION_MINOR"),
        ]  # fmt: skip
        if None in parts and text is not None:
            parts = [*text.split("."), None, None][:2]
        try:
            number = int(parts[0] or ""), int(parts[1] or "")
        except ValueError:
            return Version(text, None)
        return Version(text or f"{number[0]}.{number[1]}", number)
