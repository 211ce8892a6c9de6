"""A real capture of two H100 GPUs, against figures that SQL finds in another way."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from gpu_narration.nsight import opened
from gpu_narration.timeline.nsys import reasons
from gpu_narration.timeline.nsys.explain import Explanation, explain
from tests.support.nsys_capture import unpacked

#: GPU work with its launch call, by correlation id and process.
OWNED = """
WITH work AS (
    SELECT start, "end", correlationId, globalPid FROM CUPTI_ACTIVITY_KIND_KERNEL
    UNION ALL SELECT start, "end", correlationId, globalPid FROM CUPTI_ACTIVITY_KIND_MEMCPY
    UNION ALL SELECT start, "end", correlationId, globalPid FROM CUPTI_ACTIVITY_KIND_MEMSET
),
launched AS (
    SELECT w.start, w."end", r.globalTid AS tid, r.start AS called FROM work w
    JOIN CUPTI_ACTIVITY_KIND_RUNTIME r
    ON r.correlationId = w.correlationId AND (r.globalTid / 0x1000000) = (w.globalPid / 0x1000000)
),
named AS (
    SELECT *, CASE WHEN instr(text, ', op_id = ') THEN substr(text, 1, instr(text, ', op_id = ') - 1)
              ELSE text END AS name FROM NVTX_EVENTS
)
"""
#: What the intervals of a range cover: each adds what lies behind all that began before it.
COVERED = (
    OWNED
    + """, mine AS (
    SELECT start, "end" FROM launched l WHERE EXISTS (
        SELECT 1 FROM named n WHERE n.name = ? AND n.globalTid = l.tid
        AND n.start <= l.called AND l.called < n."end")
),
behind AS (
    SELECT start, "end", max("end") OVER (ORDER BY start, "end"
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before FROM mine
)
SELECT total(max(0, "end" - max(start, coalesce(before, start)))) FROM behind
"""
)


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(tmp_path_factory.mktemp("capture"))


@pytest.fixture(scope="module")
def told(capture: Path) -> Explanation:
    with opened(capture) as report:
        return explain(report)


def query(capture: Path, text: str, *values: object) -> list[tuple[int, ...]]:
    connection = sqlite3.connect(capture)
    rows = connection.execute(text, values).fetchall()
    connection.close()
    return rows


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


def test_a_join_on_correlation_alone_has_eleven_rows_too_many(told, capture):
    """GIVEN two processes that share ids THEN SQL without the process finds 1,643 rows, of
    which 1,632 are right.
    """
    ((alone,),) = query(
        capture,
        "SELECT count(*) FROM CUPTI_ACTIVITY_KIND_KERNEL k JOIN CUPTI_ACTIVITY_KIND_RUNTIME r "
        "ON r.correlationId = k.correlationId",
    )
    assert alone == 1643
    assert told.wrong_by_correlation_alone == alone - told.attributed.kernels == 11


def test_the_median_lag_is_that_of_the_rows(told, capture):
    """GIVEN 1,632 launches THEN the lower of the two middle lags is the median, some 421 ms."""
    lags = sorted(
        lag
        for (lag,) in query(
            capture,
            "SELECT k.start - r.start FROM CUPTI_ACTIVITY_KIND_KERNEL k "
            "JOIN CUPTI_ACTIVITY_KIND_RUNTIME r ON r.correlationId = k.correlationId "
            "AND (r.globalTid & ~0xFFFFFF) = k.globalPid",
        )
    )
    assert told.lag.ns == lags[815] == 421_303_804
    assert told.lag.is_exact


def test_gpu_busy_of_the_top_ranges_is_what_sql_finds(told, capture):
    """GIVEN the ten ranges with most GPU time THEN window functions find the same unions."""
    top = told.ranges[:10]
    assert top[0].name == "aten::copy_"
    assert [row.busy.covered_ns for row in top] == [
        query(capture, COVERED, row.name)[0][0] for row in top
    ]


def test_cpu_time_and_calls_are_what_sql_finds(told, capture):
    rows = query(capture, OWNED + 'SELECT name, count(*), sum("end" - start) FROM named GROUP BY 1')
    assert {(row.name, row.calls, row.cpu_ns) for row in told.ranges} == set(rows)


def test_each_gpu_is_busy_for_the_union_of_its_work(told, capture):
    covered = OWNED.partition("launched AS")[0].rstrip().rstrip(",") + """, behind AS (
        SELECT start, "end", max("end") OVER (ORDER BY start, "end"
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before FROM work
        WHERE globalPid / 0x1000000 % 0x1000000 = ?
    )
    SELECT total(max(0, "end" - max(start, coalesce(before, start)))) FROM behind"""
    assert [row.busy.covered_ns for row in told.processes] == [
        query(capture, covered, row.pid)[0][0] for row in told.processes
    ]


def test_the_report_is_not_touched(capture):
    before = capture.read_bytes()
    with opened(capture) as report:
        explain(report)
    assert capture.read_bytes() == before
    assert [path.name for path in capture.parent.iterdir()] == [capture.name]
