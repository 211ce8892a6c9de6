"""Percentiles by nearest rank, exactly; and time covered by intervals, counted once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_narration.timeline.distribution import Distribution, Figures
from gpu_narration.timeline.intervals import Intervals, union

INTERVAL = st.tuples(st.integers(0, 60), st.integers(0, 20)).map(lambda pair: (pair[0], sum(pair)))


def figures_of(values: list[int]) -> Figures | None:
    distribution = Distribution()
    for value in values:
        distribution.add(value)
    return distribution.figures


def covered(intervals: list[tuple[int, int]]) -> Intervals:
    whole = Intervals()
    for start, end in intervals:
        whole.add(start, end)
    return whole


def test_nothing_has_no_figures() -> None:
    assert figures_of([]) is None


@pytest.mark.parametrize(
    ("values", "median", "p99"),
    [([5], 5, 5), ([3, 1], 1, 3), ([1, 2, 3], 2, 3), (list(range(1, 101)), 50, 99),
     (list(range(1, 202)), 101, 199), ([-4, -2], -4, -2)],
)  # fmt: skip
def test_a_percentile_is_the_value_of_its_nearest_rank(
    values: list[int], median: int, p99: int
) -> None:
    figures = figures_of(values)
    assert figures is not None
    assert (figures.median_ns, figures.p99_ns) == (median, p99)


@given(st.lists(st.integers(-(1 << 50), 1 << 50), min_size=1))
def test_the_p99_is_the_smallest_value_that_99_percent_do_not_exceed(values: list[int]) -> None:
    figures = figures_of(values)
    assert figures is not None
    enough = [
        value for value in values
        if 100 * sum(other <= value for other in values) >= 99 * len(values)
    ]  # fmt: skip
    assert figures.p99_ns == min(enough)


def test_total_and_longest_are_those_of_all_values() -> None:
    assert figures_of([7, 1, 2]) == Figures(3, 10, 2, 7, 7)


def test_a_value_that_no_clock_can_give_does_not_end_the_reading() -> None:
    assert figures_of([1 << 80]) is not None


@given(st.lists(INTERVAL))
def test_time_in_several_intervals_is_covered_once(intervals: list[tuple[int, int]]) -> None:
    moments = {moment for start, end in intervals for moment in range(start, end)}
    assert covered(intervals).covered_ns == len(moments)


@given(st.lists(INTERVAL))
def test_what_is_kept_are_islands_in_the_order_of_time(intervals: list[tuple[int, int]]) -> None:
    edges = [edge for island in covered(intervals) for edge in island]
    assert edges == sorted(edges)
    assert all(first < second for first, second in zip(edges[1::2], edges[2::2], strict=False))


@given(st.lists(st.lists(INTERVAL)))
def test_a_union_of_unions_is_the_union_of_all(parts: list[list[tuple[int, int]]]) -> None:
    whole = union(covered(part) for part in parts)
    assert list(whole) == list(covered([interval for part in parts for interval in part]))


def test_an_interval_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ValueError, match="5 ns before it starts"):
        Intervals().add(10, 5)
