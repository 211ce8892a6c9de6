"""Looking for speech takes time in proportion to the text, whatever the text."""

from __future__ import annotations

import time

import pytest

from gpu_narration.editorial.speech import speeches

SHORT, TIMES = 20_000, 4


def _cpu_s(text: str) -> float:
    best = float("inf")
    for _ in range(3):
        begin = time.process_time()
        speeches(text)
        best = min(best, time.process_time() - begin)
    return best


@pytest.mark.parametrize("part", ["'a ", "'a' b, ", "'a's ", "‘a "])
def test_four_times_the_text_takes_about_four_times_as_long(part: str) -> None:
    """GIVEN texts full of apostrophes THEN no square of their length: that would be 16 times."""
    text = part * (SHORT // len(part))

    assert _cpu_s(text * TIMES) < 2 * TIMES * _cpu_s(text)
