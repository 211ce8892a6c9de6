"""From a report's clock to CLOCK_MONOTONIC of a trace.

Where ranges of ours are in both, a line is fitted through them that a few late readings
cannot bend: its slope is the median of the slopes between pairs half the recording apart
(after H. Theil, "A rank-invariant method of linear and polynomial regression analysis",
1950, with as many slopes as points), its height the median of what is left.  What is left
of the points then bounds the error; a delay that is the same for all of them cannot be seen.

Without such ranges there are only the two readings that a report has of its start.  How
far the clocks drift apart after that is unknown but limited: the kernel slews
CLOCK_MONOTONIC by at most 500 ppm (adjtimex(2)).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from gpu_narration.nsight.facts import ReportClock

#: How fast CLOCK_MONOTONIC can run away from another clock, at most.
SLEW_MAX = 500e-6

#: More points than these make a line no better.
_POINTS_MAX = 4096
#: What a point may be off at least before it counts as late: reading the clock and telling
#: NVTX are two calls.
_LATE_NS = 2_000


@dataclass(frozen=True, slots=True)
class ClockLine:
    """The trace's time as a line over the report's.

    report_ns, trace_ns: one moment on both clocks.
    drift: how much faster the trace's clock runs, as a fraction.
    points: through how many the line was drawn; 0 if by the start of the session alone.
    late: how many of them are off by more than the bound says, and were left out of it.
    bound_ns: how far the line may be off, from ``first_ns`` to ``last_ns`` of the report.
    growth: how much that grows outside of them, as a fraction.
    """

    report_ns: int
    trace_ns: int
    drift: float
    points: int
    late: int
    bound_ns: int
    first_ns: int
    last_ns: int
    growth: float

    def to_trace(self, report_ns: int) -> int:
        """The trace's time, CLOCK_MONOTONIC in ns, at a time of the report."""
        since_ns = report_ns - self.report_ns
        return self.trace_ns + since_ns + round(since_ns * self.drift)

    def to_report(self, trace_ns: int) -> int:
        """The report's time at a time of the trace."""
        since_ns = trace_ns - self.trace_ns
        return self.report_ns + since_ns - round(since_ns * self.drift / (1 + self.drift))

    def error_ns(self, report_ns: int) -> int:
        """How far :meth:`to_trace` may be off at a time of the report."""
        outside_ns = max(self.first_ns - report_ns, report_ns - self.last_ns, 0)
        return self.bound_ns + round(outside_ns * self.growth)


def fitted(points: Sequence[tuple[int, int]]) -> ClockLine:
    """The line through (report, trace) times of the same moments; at least one."""
    ordered = sorted(points)
    step = -(-len(ordered) // _POINTS_MAX)
    ordered = ordered[::step]
    first_ns, last_ns = ordered[0][0], ordered[-1][0]
    report_ns = ordered[len(ordered) // 2][0]
    drift = _slope(ordered)
    left = [(trace_ns - at_ns) - (at_ns - report_ns) * drift for at_ns, trace_ns in ordered]
    offset = round(median(left))
    off = [abs(one - offset) for one in left]
    usual = max(5 * median(off), _LATE_NS)
    within = [one for one in off if one <= usual]
    # Twice: the points are a little late themselves, all of them, by what no line can show.
    bound_ns = 1 + 2 * round(max(within))
    growth = SLEW_MAX
    if drift and last_ns > first_ns:
        growth = min(SLEW_MAX, 2 * bound_ns / (last_ns - first_ns))
    return ClockLine(
        report_ns, report_ns + offset, drift, len(ordered), len(off) - len(within), bound_ns,
        first_ns, last_ns, growth,
    )  # fmt: skip


def by_session(
    clock: ReportClock, realtime_offset_ns: int | None, last_ns: int
) -> ClockLine | None:  # fmt: skip
    """The line by what the report says of its start, up to ``last_ns``; None if it says nothing.

    ``realtime_offset_ns`` is Unix time minus CLOCK_MONOTONIC in the trace.  Where the report
    has both clocks, what they disagree by is part of the bound.
    """
    by_unix = None
    if clock.unix_ns is not None and realtime_offset_ns is not None:
        by_unix = clock.unix_ns - realtime_offset_ns
    at_zero_ns = clock.monotonic_ns if clock.monotonic_ns is not None else by_unix
    if at_zero_ns is None:
        return None
    apart_ns = abs(at_zero_ns - by_unix) if by_unix is not None else 0
    drifted_ns = round(abs(last_ns) * SLEW_MAX)
    return ClockLine(0, at_zero_ns, 0.0, 0, 0, 1 + apart_ns + drifted_ns, 0, last_ns, SLEW_MAX)


def _slope(ordered: Sequence[tuple[int, int]]) -> float:
    """How much faster the second clock runs; 0 where the points do not tell."""
    half = len(ordered) // 2
    if half < 2:
        return 0.0
    slopes = [
        ((late[1] - early[1]) - (late[0] - early[0])) / (late[0] - early[0])
        for early, late in zip(ordered, ordered[half:], strict=False)
        if late[0] > early[0]
    ]
    if not slopes:
        return 0.0
    slope = float(median(slopes))
    # Points that lie too near each other tell of their own delays, not of the clocks.
    return slope if abs(slope) <= SLEW_MAX else 0.0
