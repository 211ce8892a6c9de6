"""Many durations, and what they are like: total, median, p99, longest.

Percentiles are exact, by nearest rank: the p-th of n values is the ceil(p·n)-th
smallest, so it is always a value that occurred (type 1 in R. J. Hyndman and
Y. Fan, "Sample Quantiles in Statistical Packages", The American Statistician 50,
1996).  The median of two values is the smaller, and below 100 values the p99 is
the largest.

Every value is kept, in 8 bytes: ten million launches take 80 MB, less than a
tenth of what the reader holds for their annotations.  A sketch would save that
and cost the exactness.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass

#: What a 64-bit array holds; a duration beyond it (292 years) is damage.
_LONGEST_NS = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Figures:
    """A distribution in four figures, integer ns; see the module for the percentiles."""

    count: int
    total_ns: int
    median_ns: int
    p99_ns: int
    longest_ns: int


class Distribution:
    """Durations in ns, negative ones too."""

    __slots__ = ("_figures", "_values")

    def __init__(self) -> None:
        self._values = array("q")
        self._figures: Figures | None = None

    def __len__(self) -> int:
        return len(self._values)

    def add(self, ns: int) -> None:
        self._values.append(max(-_LONGEST_NS, min(ns, _LONGEST_NS)))
        self._figures = None

    def extend(self, other: Distribution) -> None:
        """Adds all durations of another one."""
        self._values.extend(other._values)
        self._figures = None

    @property
    def figures(self) -> Figures | None:
        """The figures; None where there is no value."""
        if self._figures is None and self._values:
            ordered = sorted(self._values)
            count = len(ordered)
            self._figures = Figures(
                count,
                sum(ordered),
                ordered[_rank(count, 50)],
                ordered[_rank(count, 99)],
                ordered[-1],
            )
        return self._figures


def _rank(count: int, percent: int) -> int:
    """Where the percentile stands among ``count`` sorted values, from 0."""
    return max(-(-count * percent // 100) - 1, 0)
