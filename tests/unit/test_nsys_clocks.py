"""Lines between two clocks, and how far they say they may be off."""

from __future__ import annotations

import random

import pytest

from gpu_narration.nsight.facts import ReportClock
from gpu_narration.timeline.nsys.clocks import by_session, fitted
from tests.support.nsys_joined import ReportTime

SECOND = 1_000_000_000
CLOCK = ReportTime(offset_ns=7 * SECOND, ppm=20)


def points(count: int = 1_000, *, late_every: int = 0) -> list[tuple[int, int]]:
    """Moments of 10 s, told up to 400 ns late, and some of them by up to 1 ms."""
    chance = random.Random(3)
    found = []
    for number in range(count):
        at_ns = 8 * SECOND + number * 10 * SECOND // count
        late_ns = chance.randrange(400)
        if late_every and number % late_every == 0:
            late_ns += chance.randrange(50_000, 1_000_000)
        found.append((CLOCK(at_ns + late_ns), at_ns))
    return found


@pytest.mark.parametrize("late_every", [0, 7])
def test_offset_and_drift_are_found_within_a_microsecond(late_every):
    """GIVEN 7 s and 20 ppm between the clocks, and late points THEN times are right within 1 µs."""
    line = fitted(points(late_every=late_every))

    for at_ns in range(8 * SECOND, 18 * SECOND, SECOND // 3):
        assert abs(line.to_trace(CLOCK(at_ns)) - at_ns) <= 1_000
        assert abs(line.to_trace(CLOCK(at_ns)) - at_ns) <= line.error_ns(CLOCK(at_ns))
    assert line.drift * 1e6 == pytest.approx(-20, abs=0.2)


def test_late_points_are_counted_and_leave_the_bound_alone():
    line = fitted(points(late_every=10))

    assert line.late == 100
    assert line.bound_ns <= 1_000


def test_the_way_back_is_the_same():
    line = fitted(points())
    for at_ns in range(8 * SECOND, 18 * SECOND, SECOND):
        assert abs(line.to_report(line.to_trace(at_ns)) - at_ns) <= 1


def test_one_point_gives_an_offset_and_a_growing_bound():
    line = fitted([(SECOND, 8 * SECOND)])

    assert line.to_trace(2 * SECOND) == 9 * SECOND
    assert line.error_ns(2 * SECOND) >= 500_000


def test_by_its_start_alone_a_report_is_right_within_the_bound():
    clock = ReportClock(unix_ns=100 * SECOND, monotonic_ns=7 * SECOND)
    line = by_session(clock, 93 * SECOND, 10 * SECOND)

    assert line is not None
    for at_ns in range(7 * SECOND, 17 * SECOND, SECOND // 3):
        report_ns = CLOCK(at_ns)
        assert abs(line.to_trace(report_ns) - at_ns) <= line.error_ns(report_ns)
    assert line.bound_ns <= 6_000_000


def test_clocks_that_disagree_widen_the_bound():
    clock = ReportClock(unix_ns=100 * SECOND, monotonic_ns=7 * SECOND)
    line = by_session(clock, 93 * SECOND - 40_000_000, SECOND)

    assert line is not None
    assert line.bound_ns >= 40_000_000


def test_unix_time_alone_will_do():
    line = by_session(ReportClock(unix_ns=100 * SECOND, monotonic_ns=None), 93 * SECOND, SECOND)

    assert line is not None
    assert line.to_trace(0) == 7 * SECOND


def test_a_report_that_says_nothing_of_its_start_has_no_line():
    assert by_session(ReportClock(None, None), 0, SECOND) is None
