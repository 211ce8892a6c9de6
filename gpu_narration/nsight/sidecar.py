"""What a join found, kept beside the trace: ``NAME.gnt/nsight.db``, a SQLite database.

It is made in one piece and replaced in one piece, says which trace it belongs to, and
can be deleted at any time.  Times are CLOCK_MONOTONIC of the trace, in ns.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from gpu_narration._errors import NsightJoinError
from gpu_narration._marker import NSIGHT

VERSION = 1

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE processes (process INTEGER PRIMARY KEY, name TEXT, pid INTEGER);
CREATE TABLE names (work TEXT, id INTEGER, name TEXT, PRIMARY KEY (work, id)) WITHOUT ROWID;
CREATE TABLE gpu_activities (
    start_ns INTEGER, end_ns INTEGER, work TEXT, device INTEGER, stream INTEGER, process INTEGER,
    correlation INTEGER, name INTEGER, size_bytes INTEGER, in_graph INTEGER, launched_ns INTEGER,
    returned_ns INTEGER, event INTEGER, launch INTEGER, narration INTEGER, reason TEXT
);
CREATE TABLE spans (
    process INTEGER, event INTEGER, request TEXT, kernels INTEGER, other_work INTEGER,
    busy_ns INTEGER, own_ns INTEGER, first_ns INTEGER, last_ns INTEGER, lag_ns INTEGER,
    PRIMARY KEY (process, event)
) WITHOUT ROWID;
"""


class ActivityRow(NamedTuple):
    """A row of ``gpu_activities``: one thing that a GPU did for a process of the trace.

    process: the index of the process in the trace.
    launched_ns, returned_ns: its call; None if that is not in the report.
    event: the innermost span that its call was made in; launch: the launch that was recorded
        for it; narration: the newest narration in that span before the call.
    reason: why there is neither ``event`` nor ``launch``.
    """

    start_ns: int
    end_ns: int
    work: str
    device: int | None
    stream: int | None
    process: int
    correlation: int | None
    name: int | None
    size_bytes: int | None
    in_graph: int
    launched_ns: int | None
    returned_ns: int | None
    event: int | None
    launch: int | None
    narration: int | None
    reason: str | None


class SpanWork(NamedTuple):
    """A row of ``spans``: what GPUs did for a span or a launch, inner spans included.

    busy_ns: when at least one GPU worked for it; own_ns: for it and no span inside.
    first_ns, last_ns: from the start of the first work to the end of the last.
    lag_ns: from the first launch call to the start of its work; None if no call is known.
    """

    process: int
    event: int
    request: str | None
    kernels: int
    other_work: int
    busy_ns: int
    own_ns: int
    first_ns: int
    last_ns: int
    lag_ns: int | None


class Writer:
    """Writes a new ``nsight.db``; nothing is there before :meth:`finish`."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / NSIGHT
        self._draft = directory / f".{NSIGHT}.{os.getpid()}"
        self._draft.unlink(missing_ok=True)
        self._connection = sqlite3.connect(self._draft, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.executescript(_TABLES)
        self._connection.execute("BEGIN")

    def activities(self, rows: Iterable[ActivityRow]) -> None:
        holes = ", ".join("?" for _ in ActivityRow._fields)
        self._connection.executemany(f"INSERT INTO gpu_activities VALUES ({holes})", rows)

    def spans(self, rows: Iterable[SpanWork]) -> None:
        holes = ", ".join("?" for _ in SpanWork._fields)
        self._connection.executemany(f"INSERT INTO spans VALUES ({holes})", rows)

    def names(self, rows: Iterable[tuple[str, int, str]]) -> None:
        self._connection.executemany("INSERT INTO names VALUES (?, ?, ?)", rows)

    def finish(
        self, trace_id: str, processes: Iterable[tuple[int, str, int]], facts: Mapping[str, object]
    ) -> Path:
        """Puts it in its place, where it replaces an older one."""
        connection = self._connection
        connection.executemany("INSERT INTO processes VALUES (?, ?, ?)", processes)
        meta = {"version": VERSION, "trace_id": trace_id, **facts}
        connection.executemany(
            "INSERT INTO meta VALUES (?, ?)",
            ((key, json.dumps(value, ensure_ascii=False)) for key, value in meta.items()),
        )
        connection.execute("COMMIT")
        connection.close()
        self._draft.replace(self._path)
        return self._path

    def abandon(self) -> None:
        """Leaves nothing of it."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        self._draft.unlink(missing_ok=True)


@contextlib.contextmanager
def written(directory: Path) -> Iterator[Writer]:
    """A writer for a trace; nothing is left of it if the block does not end well.

    Raises NsightJoinError where it cannot be written.
    """
    try:
        writer = Writer(directory)
    except (sqlite3.Error, OSError) as error:
        raise NsightJoinError(
            f"cannot write {directory / NSIGHT}: {error}",
            meaning="a join is kept in the trace's directory",
            next_step="copy the trace to a disk that can be written, and join the copy",
        ) from error
    try:
        yield writer
    except BaseException:
        writer.abandon()
        raise


class Joined:
    """A join beside a trace, opened for reading."""

    def __init__(self, connection: sqlite3.Connection, here: Mapping[int, int]) -> None:
        self._connection = connection
        self._here = here
        self.facts = {
            str(key): json.loads(value)
            for key, value in connection.execute("SELECT key, value FROM meta")
        }

    def of(self, process: int, event: int) -> SpanWork | None:
        """What GPUs did for a span or launch; None if nothing is known."""
        there = self._here.get(process)
        if there is None:
            return None
        row = self._connection.execute(
            "SELECT * FROM spans WHERE process = ? AND event = ?", (there, event)
        ).fetchone()
        return None if row is None else SpanWork._make(row)

    def activities(self) -> Iterator[ActivityRow]:
        """All of the table ``gpu_activities``, by start."""
        rows = self._connection.execute("SELECT * FROM gpu_activities ORDER BY start_ns")
        return map(ActivityRow._make, rows)

    def name(self, work: str, number: int) -> str | None:
        """The name of a kernel by its id in :meth:`activities`."""
        row = self._connection.execute(
            "SELECT name FROM names WHERE work = ? AND id = ?", (work, number)
        ).fetchone()
        return None if row is None else str(row[0])

    def close(self) -> None:
        self._connection.close()


@contextlib.contextmanager
def joined(directory: Path, trace_id: str, processes: Sequence[str]) -> Iterator[Joined | None]:
    """The join beside a trace; None if there is none, or only one of another recording.

    ``processes`` are the names of the trace's processes in order.  Raises NsightJoinError for
    one that cannot be read.
    """
    path = directory / NSIGHT
    if not path.is_file():
        yield None
        return
    try:
        uri = f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"
        connection = sqlite3.connect(uri, uri=True)
    except sqlite3.Error as error:
        raise _unreadable(path, error) from error
    with contextlib.closing(connection):
        try:
            found = _checked(path, connection, trace_id, processes)
        except (sqlite3.Error, ValueError) as error:
            raise _unreadable(path, error) from error
        try:
            yield found
        except sqlite3.Error as error:
            raise _unreadable(path, error) from error


def _checked(
    path: Path, connection: sqlite3.Connection, trace_id: str, processes: Sequence[str]
) -> Joined | None:
    meta = dict(connection.execute("SELECT key, value FROM meta WHERE key IN ('version', 'trace_id')"))  # fmt: skip
    if json.loads(meta.get("version", "0")) != VERSION:
        raise NsightJoinError(
            f"{path} is of another version of gpu_narration",
            next_step="join again, or delete it",
        )
    if json.loads(meta.get("trace_id", "null")) != trace_id:
        return None
    there = {name: index for index, name in connection.execute("SELECT process, name FROM processes")}  # fmt: skip
    here = {index: there[name] for index, name in enumerate(processes) if name in there}
    return Joined(connection, here)


def _unreadable(path: Path, error: Exception) -> NsightJoinError:
    return NsightJoinError(
        f"cannot read {path}: {error}",
        meaning="the join beside this trace is damaged",
        next_step="join again, or delete it",
    )
