"""Opening a report of Nsight Systems, in whatever form it is.

Everything becomes a connection to a SQLite database that is only read: an export as
it lies there, and what is no database (``.nsys-rep``, a directory of parquet files)
as a temporary one.  A report may lie on a disk that cannot be written: it is opened
as immutable, and all that we make is in SQLite's temporary database.
"""

from __future__ import annotations

import contextlib
import sqlite3
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from gpu_narration._errors import NsightReportError
from gpu_narration.nsight.parquet import to_sqlite
from gpu_narration.nsight.tool import NoNsysError, NsysError, find_nsys

_MAGIC = b"SQLite format 3\x00"
_REPORTS = (".nsys-rep", ".qdrep")

#: What SQLite may keep of the report and of its temporary tables in memory, in KiB each.
_CACHE_KIB = 64 << 10


@contextlib.contextmanager
def connected(report: Path) -> Iterator[sqlite3.Connection]:
    """A connection that reads a report; what was made for it is gone afterwards.

    Raises :class:`~gpu_narration._errors.NsightReportError` for what is no report or a damaged
    one, :class:`~gpu_narration.nsight.tool.NsysError` where ``nsys export`` is needed and
    cannot do it,
    :class:`~gpu_narration.MissingExtraError` where pyarrow is.
    """
    if not report.exists():
        raise NsightReportError(
            f"{report} does not exist",
            next_step="give a report of Nsight Systems: NAME.nsys-rep, its export as SQLite, or as a directory of parquet files",
        )
    if not report.is_dir() and report.suffix not in _REPORTS:
        with _connection(report) as connection:
            yield connection
        return
    with tempfile.TemporaryDirectory(prefix="gpu-narration-nsys-") as directory:
        database = Path(directory) / "report.sqlite"
        if report.is_dir():
            to_sqlite(report, database)
        else:
            _export(report, database)
        with _connection(database) as connection:
            yield connection


@contextlib.contextmanager
def damage_told(report: Path) -> Iterator[None]:
    """What SQLite says while a report is read becomes an error that tells what to do."""
    try:
        yield
    except sqlite3.Error as error:
        full = "full" in str(error)  # of the disk with the temporary tables, not of the report
        raise NsightReportError(
            f"cannot read {report}: {error}",
            meaning="the disk with the temporary files is full" if full
            else "the export is damaged, or was not finished",
            next_step="set TMPDIR to a larger disk" if full
            else "export it again: nsys export --type sqlite --force-overwrite true REPORT.nsys-rep",
        ) from error  # fmt: skip


@contextlib.contextmanager
def _connection(database: Path) -> Iterator[sqlite3.Connection]:
    _check_file(database)
    with damage_told(database):
        uri = f"file:{quote(str(database.absolute()))}?mode=ro&immutable=1"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    try:
        connection.text_factory = _text
        with damage_told(database):
            connection.execute("PRAGMA temp_store = FILE")
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            connection.execute(f"PRAGMA temp.cache_size = -{_CACHE_KIB}")
        yield connection
    finally:
        connection.close()


def _text(data: bytes) -> str:
    """Names come from programs: what is no UTF-8 is replaced, never an error."""
    return data.decode("utf-8", "replace")


def _check_file(path: Path) -> None:
    """Refuses what is no whole database, before SQLite finds out in the midst of it."""
    if not path.is_file():
        raise NsightReportError(f"{path} is no regular file", next_step="give the report's file")
    with path.open("rb") as file:
        header = file.read(100)
    if not header.startswith(_MAGIC) or len(header) < 100:
        raise NsightReportError(
            f"{path} is no report of Nsight Systems",
            meaning="it is neither a SQLite database nor NAME.nsys-rep nor a directory",
            next_step="export one: nsys export --type sqlite REPORT.nsys-rep",
        )
    # The header's page size and its count of pages: offsets 16 and 28 of the file format.
    size, count = struct.unpack_from(">H", header, 16)[0], struct.unpack_from(">I", header, 28)[0]
    whole = (65536 if size == 1 else size) * count
    there = path.stat().st_size
    journal = path.with_name(path.name + "-journal")
    unfinished = journal.exists() and journal.stat().st_size > 0
    if there < whole or unfinished:
        raise NsightReportError(
            f"{path} is not whole"
            + (f": {there} of {whole} bytes are there" if there < whole else ""),
            meaning="it is still being exported, or the export or a copy was cut short",
            next_step="wait for it, or export it again: nsys export --type sqlite --force-overwrite true REPORT.nsys-rep",
        )


def _export(report: Path, database: Path) -> None:
    try:
        nsys = find_nsys()
    except NoNsysError as error:
        raise NoNsysError(
            f"{report.name} can only be read through nsys, and {error.problem}",
            meaning=error.meaning,
            next_step="install it, add its bin directory to PATH, or export the report where it is "
            f"installed: nsys export --type sqlite {report.name}",
        ) from error
    command = [
        str(nsys.path), "export", "--type", "sqlite", "--quiet", "true", "--force-overwrite", "true",
        "--output", str(database), str(report),
    ]  # fmt: skip
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )  # fmt: skip
    if done.returncode == 0 and database.exists():
        return
    said = [line.strip() for line in (done.stderr + "\n" + done.stdout).splitlines()]
    last = next((line for line in reversed(said) if line), "it said nothing")
    raise NsysError(
        f"'nsys export' of {report} ended with status {done.returncode}: {last[-500:]}",
        meaning="the report is damaged, or is of a newer version than this nsys",
        next_step=f"try it by hand: nsys export --type sqlite {report.name}",
    )
