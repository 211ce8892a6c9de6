"""A directory of parquet files, as ``nsys export --type parquetdir`` makes it, as a database.

Only the tables and columns that are read are copied, a batch at a time.
"""

from __future__ import annotations

import contextlib
import importlib
import sqlite3
from pathlib import Path
from typing import Any

from gpu_narration._errors import MissingExtraError, NsightReportError
from gpu_narration.nsight.schema import ALL, EVIDENCE, TableSpec

_ROWS = 50_000


def to_sqlite(directory: Path, database: Path) -> None:
    """Copies what is read of a directory of parquet files into a new database.

    Raises MissingExtraError without pyarrow, and NsightReportError if a file cannot be read
    or none of them is a table of a report.
    """
    files = {path.stem: path for path in sorted(directory.glob("*.parquet"))}
    if not any(spec.name in files for spec in EVIDENCE):
        raise NsightReportError(
            f"{directory} holds no report of Nsight Systems",
            meaning="none of its files is a table of one, as CUPTI_ACTIVITY_KIND_KERNEL.parquet",
            next_step="export one: nsys export --type parquetdir REPORT.nsys-rep",
        )
    arrow = _pyarrow(directory)
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        for spec in ALL:
            if spec.name in files:
                _copy(arrow, files[spec.name], spec, connection)
        connection.execute("COMMIT")


def _pyarrow(directory: Path) -> Any:
    try:
        return importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingExtraError(
            f"{directory} holds parquet files, and pyarrow, which reads them, is not installed",
            next_step="pip install 'gpu-narration[analysis]', or export as SQLite: nsys export --type sqlite REPORT.nsys-rep",
        ) from error


def _copy(arrow: Any, path: Path, spec: TableSpec, connection: sqlite3.Connection) -> None:
    wanted = {
        name.lower() for column in (*spec.required, *spec.optional) for name in column.split("|")
    }
    try:
        file = arrow.ParquetFile(path)
        columns = [name for name in file.schema_arrow.names if name.lower() in wanted]
        if not columns:
            return
        # The names are among those of the schema, whatever else the file holds.
        declared = ", ".join(f'"{name}"' for name in columns)
        connection.execute(f'CREATE TABLE "{spec.name}" ({declared})')
        holes = ", ".join("?" for _ in columns)
        for batch in file.iter_batches(batch_size=_ROWS, columns=columns):
            values = [batch.column(index).to_pylist() for index in range(len(columns))]
            connection.executemany(
                f'INSERT INTO "{spec.name}" VALUES ({holes})', zip(*values, strict=True)
            )
    except (OSError, ValueError, TypeError, OverflowError, sqlite3.Error) as error:
        # pyarrow's own errors are kinds of ValueError and OSError.
        raise NsightReportError(
            f"cannot read {path}: {error}",
            meaning="the file is damaged, or is no parquet file",
            next_step="export the report again",
        ) from error
