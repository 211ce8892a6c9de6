"""Ticks to nanoseconds: the one place where that happens.

Between two clock points time runs evenly; outside them the rate of the whole
recording goes on.  All arithmetic is on integers.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

from gpu_narration.tracefile.format import CLOCK_MAGIC, CLOCK_POINT


@dataclass(frozen=True, slots=True, order=True)
class ClockPoint:
    """One reading of all clocks; ``spread`` is its uncertainty in ticks."""

    tick: int
    monotonic_ns: int
    realtime_ns: int
    spread: int


def parse_clock_point(data: bytes, position: int) -> ClockPoint | None:
    """The clock point at a position, or None if there is none."""
    magic, spread, tick, monotonic_ns, realtime_ns = CLOCK_POINT.unpack_from(data, position)
    if magic != CLOCK_MAGIC:
        return None
    return ClockPoint(tick, monotonic_ns, realtime_ns, spread)


@dataclass(slots=True)
class Clock:
    """The clock of one recording process."""

    points: list[ClockPoint] = field(default_factory=list)

    def add(self, point: ClockPoint) -> None:
        at = bisect_left(self.points, point)
        if self.points[at : at + 1] != [point]:
            self.points.insert(at, point)

    def monotonic_ns(self, tick: int) -> int:
        """CLOCK_MONOTONIC at a tick."""
        points = self.points
        if not points:
            return tick  # a monotonic tick is ns already; another rate is unknown
        if len(points) == 1:
            return points[0].monotonic_ns + (tick - points[0].tick)
        after = bisect_right(points, tick, key=lambda point: point.tick)
        if 0 < after < len(points):
            first, last = points[after - 1], points[after]
        else:
            first, last = points[0], points[-1]
        anchor = points[min(max(after - 1, 0), len(points) - 1)]
        ticks = last.tick - first.tick
        if ticks <= 0:
            return anchor.monotonic_ns
        return (
            anchor.monotonic_ns
            + (tick - anchor.tick) * (last.monotonic_ns - first.monotonic_ns) // ticks
        )

    def duration_ns(self, ticks: int) -> int:
        """Length of a stretch of ticks, by the rate of the whole recording."""
        points = self.points
        if len(points) < 2 or points[-1].tick == points[0].tick:
            return ticks
        return (
            ticks
            * (points[-1].monotonic_ns - points[0].monotonic_ns)
            // (points[-1].tick - points[0].tick)
        )

    @property
    def realtime_offset_ns(self) -> int:
        """Unix time minus monotonic time, as it was at the first point."""
        if not self.points:
            return 0
        return self.points[0].realtime_ns - self.points[0].monotonic_ns
