"""Redaction takes twice as long for twice the text, whatever the text is."""

from __future__ import annotations

import time

import pytest

from gpu_narration import _core
from hostile_texts import HOSTILE, repeated

HALF = 1 << 17
LIMIT = 2.5
EVERYTHING = 255
#: Other programs make single rounds slow, never fast: the best of many counts.
LEAST_ROUNDS, MOST_ROUNDS = 4, 60


def _cpu_ns(text: str) -> int:
    begin = time.thread_time_ns()
    _core.redact(text, EVERYTHING)
    return time.thread_time_ns() - begin


@pytest.mark.parametrize("name", HOSTILE)
def test_twice_the_text_takes_twice_the_time(name: str) -> None:
    """GIVEN a hostile pattern WHEN it is twice as long THEN it takes at most 2.5 times as long."""
    half, whole = repeated(HOSTILE[name], HALF), repeated(HOSTILE[name], 2 * HALF)
    best_half = best_whole = 1 << 62
    for done in range(MOST_ROUNDS):
        best_half = min(best_half, _cpu_ns(half))
        best_whole = min(best_whole, _cpu_ns(whole))
        if done >= LEAST_ROUNDS and best_whole <= LIMIT * best_half:
            return
    pytest.fail(f"{best_whole / best_half:.2f} times as long: {best_half} and {best_whole} ns")


def test_the_measure_tells_a_quadratic_pattern() -> None:
    """GIVEN work that is quadratic THEN twice of it takes more than the limit."""

    def work(size: int) -> int:
        begin = time.thread_time_ns()
        for i in range(size):
            sum(range(size - i))
        return time.thread_time_ns() - begin

    assert min(work(1000) for _ in range(5)) > LIMIT * min(work(500) for _ in range(5))
