"""The rule by which changes of memory are told, and what it promises."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_narration.cuda.moves import PAGE_BYTES, Move, Series, threshold_bytes

GIB = 1 << 30

THRESHOLD = 100
readings = st.lists(st.integers(0, 2000), min_size=1, max_size=200)


def _told(values: list[int], threshold: int = THRESHOLD) -> list[Move]:
    series = Series(threshold)
    return [move for value in values if (move := series.take(value)) is not None]


@pytest.mark.parametrize(
    ("total", "threshold"),
    [(8 * GIB, PAGE_BYTES), (16 * GIB, PAGE_BYTES), (24 * GIB, 3 << 20), (80 * GIB, 10 << 20)],
)
def test_the_threshold_grows_with_the_device(total: int, threshold: int) -> None:
    assert threshold_bytes(total) == threshold


def test_the_first_reading_is_told_and_has_no_before() -> None:
    assert _told([500]) == [Move(None, 500, 500)]


def test_a_move_of_the_threshold_is_told_and_a_smaller_one_is_not() -> None:
    assert [move.used_bytes for move in _told([500, 599, 600])] == [500, 600]


def test_a_slow_leak_is_told_though_each_of_its_steps_is_small() -> None:
    assert [move.used_bytes for move in _told(list(range(0, 301, 10)))] == [0, 100, 200, 300]


@given(st.integers(0, 2000), st.lists(st.integers(-49, 49), max_size=100))
def test_noise_round_any_value_never_chatters(middle: int, noise: list[int]) -> None:
    """GIVEN a value that swings by less than a threshold, round any mark, THEN one record."""
    assert len(_told([middle, *(middle + offset for offset in noise)])) == 1


@given(readings)
def test_the_told_series_rebuilds_the_true_one_within_the_threshold(values: list[int]) -> None:
    series = Series(THRESHOLD)
    for value in values:
        series.take(value)
        assert abs(series.told_bytes - value) < THRESHOLD


@given(readings)
def test_the_records_are_no_more_than_total_variation_by_threshold_and_one(
    values: list[int],
) -> None:
    variation = sum(abs(after - before) for before, after in pairwise(values))

    assert len(_told(values)) <= variation // THRESHOLD + 1


@given(readings)
def test_each_record_begins_where_the_one_before_ended(values: list[int]) -> None:
    moves = _told(values)

    assert [move.before_bytes for move in moves] == [None, *(m.used_bytes for m in moves[:-1])]


@given(readings)
def test_no_peak_is_lost_between_records(values: list[int]) -> None:
    """GIVEN any readings, and one more that is told, THEN the peaks hold the highest of them."""
    moves = _told([*values, max(values) + THRESHOLD, 0])[:-1]

    assert max(move.peak_bytes for move in moves) == max(values) + THRESHOLD


def test_a_peak_that_was_too_small_to_tell_is_in_the_next_record() -> None:
    assert _told([500, 599, 300])[-1] == Move(500, 300, 599)


def test_a_peak_belongs_to_one_record_only() -> None:
    assert _told([500, 599, 300, 200])[-1] == Move(300, 200, 300)


def test_after_an_interruption_the_series_begins_anew() -> None:
    series = Series(THRESHOLD)
    series.take(500)
    series.take(590)
    series.interrupt()

    assert series.take(510) == Move(None, 510, 510)
