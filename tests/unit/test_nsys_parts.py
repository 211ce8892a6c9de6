"""The small parts under an explanation: medians, paths, unions."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_narration.timeline.nsys import paths
from gpu_narration.timeline.nsys.median import EXACT_MAX, Median
from gpu_narration.timeline.nsys.paths import OTHERS, Paths, shared_name
from gpu_narration.timeline.nsys.table import Union


def median_of(values: list[int]) -> Median:
    median = Median()
    for value in values:
        median.add(value)
    return median


@given(values=st.lists(st.integers(-(1 << 40), 1 << 40), min_size=1, max_size=50))
def test_a_median_is_exact_while_values_are_few(values):
    assert median_of(values).ns == sorted(values)[(len(values) - 1) // 2]


@pytest.mark.parametrize(("low", "high"), [(1, 10**9), (-(10**9), -1), (-50, 50)])
def test_of_many_values_a_median_is_within_half_a_percent(low, high):
    """GIVEN twice as many values as are kept THEN the median is within 0.5 %, or 1 ns."""
    chance = random.Random(1)
    values = [chance.randint(low, high) for _ in range(2 * EXACT_MAX)]
    median = median_of(values)
    true = sorted(values)[(len(values) - 1) // 2]

    assert not median.is_exact
    assert median.ns is not None
    assert abs(median.ns - true) <= max(abs(true) * 0.005, 1)


def test_without_values_there_is_no_median():
    assert Median().ns is None


@given(pairs=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 60)), max_size=30))
def test_a_union_covers_each_nanosecond_once(pairs):
    union = Union()
    for start, length in sorted(pairs):
        union.add(start, start + length)

    assert union.covered_ns == len({ns for start, length in pairs for ns in range(start, start + length)})  # fmt: skip


def test_a_name_comes_once_in_a_path():
    tree = Paths()
    a, b = tree.name("a"), tree.name("b")
    path = tree.child(tree.child(tree.child(0, a), b), a)

    assert tree.distinct(path) == (b, a)


def test_further_names_go_under_one(monkeypatch):
    """GIVEN room for two names THEN the third and all later ones share one."""
    monkeypatch.setattr(paths, "_NAMES_MAX", 2)
    tree = Paths()
    numbers = [tree.name(name) for name in ("a", "b", "c", "d", "a")]

    assert numbers[2] == numbers[3] == 0
    assert tree.names[0] == OTHERS
    assert numbers[0] == numbers[4] != 0


def test_further_paths_end_where_they_are(monkeypatch):
    monkeypatch.setattr(paths, "_PATHS_MAX", 1)
    tree = Paths()
    first = tree.child(0, tree.name("a"))

    assert tree.child(first, tree.name("b")) == first


@pytest.mark.parametrize(
    ("name", "shared"),
    [
        ("aten::mm, op_id = 5", "aten::mm"),
        ("aten::mm, seq = 5, op_id = 5, sizes = [[1, 2]]", "aten::mm"),
        ("step 5, batch 3", "step 5, batch 3"),
        ("a, sequence = 5", "a, sequence = 5"),
    ],
)
def test_what_is_of_one_call_is_left_out(name, shared):
    assert shared_name(name) == shared
