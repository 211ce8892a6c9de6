"""Reports of all forms and versions, and what is no report."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from gpu_narration._errors import NsightReportError
from gpu_narration.nsight.report import opened
from gpu_narration.nsight.tool import NoNsysError, NsysError
from gpu_narration.timeline.nsys.explain import Explanation, explain
from tests.support.nsys_export import TABLES, Export


def explained(path: Path) -> Explanation:
    with opened(path) as report:
        return explain(report)


@pytest.fixture
def export() -> Export:
    """One range with one kernel of 100 ns in it."""
    export = Export()
    export.range(41, 42, 0, 1_000, "step", registered=True)
    export.launch(41, 42, 100, 1, 300, 400)
    return export


# ---- versions ----


def test_a_known_version_warns_of_nothing(export, tmp_path):
    told = explained(export.write(tmp_path / "r.sqlite"))
    assert (told.version, told.warnings) == ("3.25.0", [])


@pytest.mark.parametrize(
    ("version", "said"),
    [("3.26.0", "newer than 3.25"), ("4.0.0", "newer than 3.25"), ("1.2.0", "older than any")],
)
def test_another_version_warns_and_is_read(export, tmp_path, version, said):
    told = explained(export.write(tmp_path / "r.sqlite", version=version))
    assert said in told.warnings[0]
    assert told.attributed.kernels == 1


def test_a_report_that_does_not_say_its_version_is_read(export, tmp_path):
    told = explained(export.write(tmp_path / "r.sqlite", version=None))
    assert "does not say which version" in told.warnings[0]
    assert told.attributed.kernels == 1


@pytest.mark.parametrize(
    "table", ["NVTX_EVENTS", "CUPTI_ACTIVITY_KIND_RUNTIME", "CUPTI_ACTIVITY_KIND_KERNEL", "StringIds"]
)  # fmt: skip
def test_a_table_that_is_missing_is_said(export, tmp_path, table):
    told = explained(export.write(tmp_path / "r.sqlite", without=[table]))
    assert f"table {table}" in [lack.what for lack in told.lacks]
    assert told.work.kernels == (table != "CUPTI_ACTIVITY_KIND_KERNEL")


_REQUIRED = {"start", "end", "eventType", "globalTid", "correlationId"}


@pytest.mark.parametrize(
    "column",
    [
        f"{table}.{column}"
        for table in ("NVTX_EVENTS", "CUPTI_ACTIVITY_KIND_RUNTIME", "CUPTI_ACTIVITY_KIND_KERNEL")
        for column in TABLES[table]
    ],
)
def test_any_column_may_be_missing(export, tmp_path, column):
    """GIVEN a version without some column THEN nothing breaks, and nothing is made up."""
    told = explained(export.write(tmp_path / "r.sqlite", without=[column]))
    assert told.work.kernels in (0, 1)
    assert told.attributed.kernels + told.unattributed.kernels == told.work.kernels
    if column.partition(".")[2] in _REQUIRED:
        assert column.partition(".")[0] in str(told.lacks)


def test_kernels_without_a_process_belong_to_the_only_one(export, tmp_path):
    path = export.write(tmp_path / "r.sqlite", without=["CUPTI_ACTIVITY_KIND_KERNEL.globalPid"])
    assert explained(path).attributed.kernels == 1


def test_kernels_without_a_process_are_not_guessed_between_two(export, tmp_path):
    export.call(51, 51, 0, 1, 1)
    path = export.write(tmp_path / "r.sqlite", without=["CUPTI_ACTIVITY_KIND_KERNEL.globalPid"])
    assert explained(path).attributed.kernels == 0


def test_columns_in_other_letters_are_found(export, tmp_path):
    path = export.write(tmp_path / "r.sqlite")
    connection = sqlite3.connect(path)
    connection.execute("ALTER TABLE NVTX_EVENTS RENAME COLUMN globalTid TO GLOBALTID")
    connection.commit()
    connection.close()
    assert explained(path).attributed.kernels == 1


# ---- forms ----


def as_parquet(database: Path, directory: Path) -> Path:
    directory.mkdir()
    connection = sqlite3.connect(database)
    for (table,) in connection.execute("SELECT name FROM sqlite_master").fetchall():
        cursor = connection.execute(f'SELECT * FROM "{table}"')
        names = [column[0] for column in cursor.description]
        columns = list(zip(*cursor.fetchall(), strict=True))
        parquet.write_table(
            pa.table(dict(zip(names, columns, strict=True))), directory / f"{table}.parquet"
        )
    connection.close()
    return directory


def test_a_directory_of_parquet_files_says_the_same(export, tmp_path):
    database = export.write(tmp_path / "r.sqlite")
    told, same = explained(as_parquet(database, tmp_path / "r_pqtdir")), explained(database)
    assert (told.work, told.attributed, told.version) == (same.work, same.attributed, same.version)
    assert [row.name for row in told.ranges] == ["step"]


def test_a_directory_without_tables_is_no_report(tmp_path):
    (tmp_path / "d").mkdir()
    with pytest.raises(NsightReportError, match="holds no report"):
        explained(tmp_path / "d")


def test_a_damaged_parquet_file_is_named(export, tmp_path):
    directory = as_parquet(export.write(tmp_path / "r.sqlite"), tmp_path / "r_pqtdir")
    (directory / "NVTX_EVENTS.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(NsightReportError, match=r"NVTX_EVENTS\.parquet"):
        explained(directory)


def fake_nsys(directory: Path, body: str) -> None:
    """A command ``nsys``, first on PATH; ``$5`` and later are its arguments as they come."""
    tool = directory / "nsys"
    tool.write_text(f"#!/bin/sh\n{body}\n")
    tool.chmod(0o755)


def test_an_nsys_rep_goes_through_nsys_export(export, tmp_path, monkeypatch):
    """GIVEN nsys on PATH THEN it exports to a temporary place that is gone afterwards."""
    database = export.write(tmp_path / "made.sqlite")
    fake_nsys(
        tmp_path,
        f'echo "$@" > {tmp_path}/args\n'
        f'while [ "$1" != --output ]; do shift; done; cp {database} "$2"',
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "r.nsys-rep").write_bytes(b"as NVIDIA likes it")

    assert explained(tmp_path / "r.nsys-rep").attributed.kernels == 1
    arguments = (tmp_path / "args").read_text().split()
    assert arguments[:3] == ["export", "--type", "sqlite"]
    assert arguments[-1] == str(tmp_path / "r.nsys-rep")
    assert not Path(arguments[arguments.index("--output") + 1]).exists()


def test_without_nsys_an_nsys_rep_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("gpu_narration.nsight.tool._PLACES", ())
    (tmp_path / "r.nsys-rep").write_bytes(b"")
    with pytest.raises(NoNsysError) as caught:
        explained(tmp_path / "r.nsys-rep")
    assert str(caught.value) == (
        "r.nsys-rep can only be read through nsys, and there is no nsys on PATH, in /opt/nvidia or in "
        "/usr/local/cuda; nsys is the command of NVIDIA Nsight Systems, which a CUDA toolkit or the "
        "package nsight-systems-cli installs; install it, add its bin directory to PATH, or export the "
        "report where it is installed: nsys export --type sqlite r.nsys-rep [no-nsys]"
    )


def test_what_nsys_says_when_it_fails_is_passed_on(tmp_path, monkeypatch):
    fake_nsys(tmp_path, "echo 'Unsupported report version' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "r.nsys-rep").write_bytes(b"")
    with pytest.raises(NsysError, match="status 1: Unsupported report version"):
        explained(tmp_path / "r.nsys-rep")


# ---- what is no report ----


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(NsightReportError, match="does not exist"):
        explained(tmp_path / "none.sqlite")


@pytest.mark.parametrize("content", [b"", b"SQLite", b"{}" * 200])
def test_a_file_that_is_no_database_is_said(tmp_path, content):
    (tmp_path / "r.sqlite").write_bytes(content)
    with pytest.raises(NsightReportError, match="is no report"):
        explained(tmp_path / "r.sqlite")


def test_the_database_of_another_program_is_said(tmp_path):
    connection = sqlite3.connect(tmp_path / "r.sqlite")
    connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()
    with pytest.raises(NsightReportError, match="none of the tables"):
        explained(tmp_path / "r.sqlite")


@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_a_report_that_was_cut_short_is_said(export, tmp_path, part):
    path = export.write(tmp_path / "r.sqlite")
    os.truncate(path, int(path.stat().st_size * part))
    with pytest.raises(NsightReportError, match="not whole"):
        explained(path)


def test_a_report_that_is_still_being_written_is_said(export, tmp_path):
    path = export.write(tmp_path / "r.sqlite")
    (tmp_path / "r.sqlite-journal").write_bytes(b"something to undo")
    with pytest.raises(NsightReportError, match="still being exported"):
        explained(path)


def test_a_report_with_damaged_pages_is_said(export, tmp_path):
    for number in range(2_000):
        export.range(41, 42, number, number + 1, f"range {number}")
    path = export.write(tmp_path / "r.sqlite")
    data = bytearray(path.read_bytes())
    data[4096 * 3 : -4096] = b"\xa5" * len(data[4096 * 3 : -4096])
    path.write_bytes(data)
    with pytest.raises(NsightReportError, match="damaged"):
        explained(path)


# ---- odd reports ----


def test_a_report_without_gpu_work_is_explained(tmp_path):
    export = Export()
    export.range(41, 42, 0, 1_000, "step")
    told = explained(export.write(tmp_path / "r.sqlite"))
    assert (told.work.total, told.ranges[0].cpu_ns, told.lag.ns) == (0, 1_000, None)


def test_an_empty_report_is_explained(tmp_path):
    told = explained(Export().write(tmp_path / "r.sqlite", empty=TABLES))
    assert (told.window_ns, told.ranges, told.work.total) == (0, [], 0)


@pytest.mark.parametrize(
    "name", ["'; DROP TABLE NVTX_EVENTS; --", 'a"b', "%s {} \0 \x1b[31m", "x" * 100_000, "\u202eevil", ""]
)  # fmt: skip
def test_a_range_may_have_any_name(export, tmp_path, name):
    export.range(41, 42, 2_000, 3_000, name)
    path = export.write(tmp_path / "r.sqlite")
    before = path.read_bytes()
    told = explained(path)
    assert (name or "(no name)") in [row.name for row in told.ranges]
    assert path.read_bytes() == before


def test_rows_without_sensible_times_are_counted_and_left_out(export, tmp_path):
    """GIVEN kernels that end before they begin, or whose times are text THEN they are counted."""
    export.kernel(41, 400, 300, 1)
    export.kernel(41, "soon", "later", 1)  # type: ignore[arg-type]
    export.range(41, 42, "now", 5, "odd")  # type: ignore[arg-type]
    told = explained(export.write(tmp_path / "r.sqlite"))
    assert told.work.kernels == 1
    assert {name: count.malformed for name, count in told.malformed.items()} == {
        "CUPTI_ACTIVITY_KIND_KERNEL": 2, "NVTX_EVENTS": 1,
    }  # fmt: skip


def test_ids_of_odd_types_are_unknown(export, tmp_path):
    export.kernel(41, 500, 600, "one", device="first", name="odd")  # type: ignore[arg-type]
    told = explained(export.write(tmp_path / "r.sqlite"))
    assert told.unattributed.kernels == 1
    assert {row.index for row in told.devices} == {0, None}


def test_text_that_is_no_utf_8_is_shown_as_far_as_it_is(export, tmp_path):
    path = export.write(tmp_path / "r.sqlite")
    connection = sqlite3.connect(path)
    connection.execute("UPDATE StringIds SET value = CAST(x'73ff74' AS TEXT) WHERE value = 'step'")
    connection.commit()
    connection.close()
    assert [row.name for row in explained(path).ranges] == ["s\ufffdt"]


def test_a_range_that_never_ended_is_open(export, tmp_path):
    export.range(41, 42, 10, None, "serve")
    told = explained(export.write(tmp_path / "r.sqlite"))
    (row,) = [row for row in told.ranges if row.name == "serve"]
    assert (row.open, row.cpu_ns, row.work.kernels) == (1, 0, 1)


def test_a_report_in_a_directory_that_cannot_be_written_is_read(export, tmp_path):
    """GIVEN a directory and file without write permission THEN nothing is asked of them.

    Root may write anyway, so the directory is also looked through afterwards.
    """
    place = tmp_path / "read-only"
    place.mkdir()
    path = export.write(place / "r.sqlite")
    path.chmod(0o444)
    place.chmod(0o555)
    try:
        assert explained(path).attributed.kernels == 1
        assert [entry.name for entry in place.iterdir()] == ["r.sqlite"]
    finally:
        place.chmod(0o755)
