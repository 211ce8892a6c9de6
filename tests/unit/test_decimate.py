"""Fewer points, the same picture."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from gpu_narration.timeline.decimate import Point, decimate

POINTS = st.lists(
    st.tuples(st.integers(0, 10_000), st.one_of(st.none(), st.integers(0, 1 << 40))), max_size=300
).map(lambda points: sorted(points, key=lambda point: point[0]))


@given(POINTS)
def test_the_highest_and_the_lowest_are_kept_and_nothing_is_made_up(points: list[Point]) -> None:
    kept = decimate(points, 0, 10_000, 20)
    known = [value for _, value in points if value is not None]
    kept_known = [value for _, value in kept if value is not None]
    assert set(kept) <= set(points)
    assert (max(known, default=None), min(known, default=None)) == (
        max(kept_known, default=None), min(kept_known, default=None)
    )  # fmt: skip


@given(POINTS)
def test_points_stay_in_the_order_of_time_with_the_first_and_the_last(points: list[Point]) -> None:
    kept = decimate(points, 0, 10_000, 20)
    assert [time_ns for time_ns, _ in kept] == sorted(time_ns for time_ns, _ in kept)
    assert (kept[:1], kept[-1:]) == (points[:1], points[-1:])


@given(POINTS)
def test_a_stretch_with_a_gap_keeps_it(points: list[Point]) -> None:
    def gaps(some: list[Point]) -> set[int]:
        return {min(19, time_ns * 20 // 10_000) for time_ns, value in some if value is None}

    assert gaps(decimate(points, 0, 10_000, 20)) == gaps(points)


def test_a_million_points_become_a_few_thousand_with_the_one_peak_among_them() -> None:
    """GIVEN readings that wander below 100 and one of 999 THEN 999 is drawn."""
    chance = random.Random(7)
    points: list[Point] = [(number, chance.randrange(100)) for number in range(1_000_000)]
    points[654_321] = (654_321, 999)
    kept = decimate(points, 0, 1_000_000, 900)
    assert len(kept) <= 5 * 900
    assert (654_321, 999) in kept
