"""Measuring in turns: every row once a turn, so that a machine whose speed drifts moves
all of them together, and the figure to quote is the median of the ratios, turn by turn.
"""

from __future__ import annotations

import contextlib
import gc
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from calls import WARM_UP, Block


class Spread(NamedTuple):
    """A median and the quartiles round it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)

    @classmethod
    def exactly(cls, value: float) -> Spread:
        """Of what is the same at each time."""
        return cls(value, value, value)


def ns_per_call(
    block: Block, call: Any, count: int, clock: Callable[[], int] = time.perf_counter_ns
) -> float:
    """ns of one call, the loop included."""
    begin = clock()
    block.run(call, count)
    return (clock() - begin) / count


def ns_per_pass(block: Block, count: int, clock: Callable[[], int] = time.perf_counter_ns) -> float:
    """ns of one pass of the loop alone."""
    begin = clock()
    block.bare(count)
    return (clock() - begin) / count


class Turns:
    """Rows of ns per call, one figure a turn."""

    def __init__(self) -> None:
        self.rows: dict[str, list[float]] = {}
        self._loops: dict[str, Block] = {}

    def add(self, row: str, ns: float) -> None:
        self.rows.setdefault(row, []).append(ns)

    def measure(self, row: str, block: Block, call: Any, count: int) -> None:
        """Adds what one call costs, the loop taken off; each row has a loop of its own."""
        if row not in self._loops:
            self._loops[row] = block.copy()
            self._loops[row].run(call, min(WARM_UP, count))
        loop = self._loops[row]
        base = ns_per_pass(loop, count)
        self.add(row, ns_per_call(loop, call, count) - base)

    def ns(self, row: str) -> Spread:
        return Spread.of(self.rows[row])

    def ratio(self, row: str, ruler: str) -> Spread:
        """`row` over `ruler`, turn by turn."""
        pairs = zip(self.rows[row], self.rows[ruler], strict=True)
        return Spread.of([value / one for value, one in pairs])

    def difference(self, row: str, ruler: str) -> Spread:
        """`row` less `ruler`, turn by turn, in ns."""
        pairs = zip(self.rows[row], self.rows[ruler], strict=True)
        return Spread.of([value - one for value, one in pairs])


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """The collector of cycles is off inside, as in timeit."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
