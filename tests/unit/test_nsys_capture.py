"""A real capture of two H100 GPUs, against figures that SQL finds in another way."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_narration.nsight.report import opened
from gpu_narration.timeline.nsys import reasons
from gpu_narration.timeline.nsys.explain import Explanation, explain
from tests.support.nsys_capture import unpacked

#: Tables of the test's own, in a copy in memory: ranges by their shared name, GPU work, and
#: GPU work with its launch call, by correlation id and process.
PREPARED = """
CREATE TABLE named AS SELECT *, CASE WHEN instr(text, ', op_id = ')
    THEN substr(text, 1, instr(text, ', op_id = ') - 1) ELSE text END AS name FROM NVTX_EVENTS;
CREATE INDEX by_name ON named (name, globalTid, start);
CREATE INDEX by_id ON CUPTI_ACTIVITY_KIND_RUNTIME (correlationId);
CREATE TABLE work AS
    SELECT start, "end", correlationId, globalPid FROM CUPTI_ACTIVITY_KIND_KERNEL
    UNION ALL SELECT start, "end", correlationId, globalPid FROM CUPTI_ACTIVITY_KIND_MEMCPY
    UNION ALL SELECT start, "end", correlationId, globalPid FROM CUPTI_ACTIVITY_KIND_MEMSET;
CREATE TABLE launched AS SELECT w.start, w."end", r.globalTid AS tid, r.start AS called FROM work w
    JOIN CUPTI_ACTIVITY_KIND_RUNTIME r
    ON r.correlationId = w.correlationId AND r.globalTid / 0x1000000 = w.globalPid / 0x1000000;
CREATE INDEX by_call ON launched (tid, called);
"""
#: What intervals cover: each adds what lies behind the ends of all that began before it.
COVERED = """,
behind AS (
    SELECT start, "end", max("end") OVER (ORDER BY start, "end"
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before FROM mine
)
SELECT total(max(0, "end" - max(start, coalesce(before, start)))) FROM behind
"""
OF_A_RANGE = """WITH mine AS (
    SELECT DISTINCT l.rowid, l.start, l."end" FROM named n CROSS JOIN launched l
    ON l.tid = n.globalTid AND l.called >= n.start AND l.called < n."end" WHERE n.name = ?
)"""
OF_A_PROCESS = """WITH mine AS (
    SELECT start, "end" FROM work WHERE globalPid / 0x1000000 % 0x1000000 = ?
)"""


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(tmp_path_factory.mktemp("capture"))


@pytest.fixture(scope="module")
def told(capture: Path) -> Explanation:
    with opened(capture) as report:
        return explain(report)


@pytest.fixture(scope="module")
def copy(capture: Path) -> Iterator[sqlite3.Connection]:
    memory, file = sqlite3.connect(":memory:"), sqlite3.connect(capture)
    file.backup(memory)
    file.close()
    memory.executescript(PREPARED)
    yield memory
    memory.close()


def test_every_kernel_is_attributed_or_counted_with_its_reason(told):
    assert (told.work.kernels, told.attributed.kernels, told.unattributed.kernels) == (
        3442, 1632, 1810,
    )  # fmt: skip
    assert {reason: counts.kernels for reason, counts in told.reasons.items()} == {
        reasons.NO_CALL: 1810
    }


def test_both_processes_have_their_share(told):
    assert [(row.pid, row.work.kernels, row.attributed.kernels) for row in told.processes] == [
        (111, 1721, 816), (112, 1721, 816),
    ]  # fmt: skip


def test_a_join_on_correlation_alone_has_eleven_rows_too_many(told, copy):
    """GIVEN two processes that share ids THEN SQL without the process finds 1,643 rows, of
    which 1,632 are right.
    """
    ((alone,),) = copy.execute(
        "SELECT count(*) FROM CUPTI_ACTIVITY_KIND_KERNEL k JOIN CUPTI_ACTIVITY_KIND_RUNTIME r "
        "ON r.correlationId = k.correlationId"
    )
    assert alone == 1643
    assert told.wrong_by_correlation_alone == alone - told.attributed.kernels == 11


def test_the_median_lag_is_that_of_the_rows(told, copy):
    """GIVEN 1,632 launches THEN the lower of the two middle lags is the median, some 421 ms."""
    rows = copy.execute(
        "SELECT k.start - r.start FROM CUPTI_ACTIVITY_KIND_KERNEL k "
        "JOIN CUPTI_ACTIVITY_KIND_RUNTIME r ON r.correlationId = k.correlationId "
        "AND (r.globalTid & ~0xFFFFFF) = k.globalPid ORDER BY 1"
    ).fetchall()
    assert told.lag.ns == rows[815][0] == 421_303_804
    assert told.lag.is_exact


def test_gpu_busy_of_the_top_ranges_is_what_sql_finds(told, copy):
    """GIVEN the ten ranges with most GPU time THEN window functions find the same unions."""
    top = told.ranges[:10]
    assert top[0].name == "aten::copy_"
    found = [copy.execute(OF_A_RANGE + COVERED, (row.name,)).fetchone()[0] for row in top]
    assert [row.busy.covered_ns for row in top] == found


def test_cpu_time_and_calls_are_what_sql_finds(told, copy):
    """GIVEN ranges inside one of the same name THEN only the outer one's time counts."""
    rows = copy.execute(
        "SELECT a.name, count(*), total(CASE WHEN NOT EXISTS (SELECT 1 FROM named b "
        "WHERE b.name = a.name AND b.globalTid = a.globalTid AND b.start <= a.start "
        'AND b."end" >= a."end" AND b.rowid <> a.rowid) THEN a."end" - a.start END) '
        "FROM named a GROUP BY 1"
    )
    assert {(row.name, row.calls, row.cpu_ns) for row in told.ranges} == set(rows)


def test_each_process_keeps_a_gpu_busy_for_the_union_of_its_work(told, copy):
    found = [copy.execute(OF_A_PROCESS + COVERED, (row.pid,)).fetchone()[0] for row in told.processes]  # fmt: skip
    assert [row.busy.covered_ns for row in told.processes] == found


def test_the_report_is_not_touched(capture):
    before = capture.read_bytes()
    with opened(capture) as report:
        explain(report)
    assert capture.read_bytes() == before
    assert [path.name for path in capture.parent.iterdir()] == [capture.name]
