"""Stretches of time, some of which overlap, as the time that they cover."""

from __future__ import annotations

import heapq
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class Intervals:
    """A union of intervals ``[start, end)`` in ns.

    Kept as islands that do not touch, 16 bytes each, in the order of time.  Work on
    a stream comes nearly in order, which is the cheap case.
    """

    __slots__ = ("_ends", "_starts")

    def __init__(self) -> None:
        self._starts = array("q")
        self._ends = array("q")

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._ends, strict=True)

    def add(self, start_ns: int, end_ns: int) -> None:
        """Covers ``start_ns`` to ``end_ns``; one that ends before it starts is refused."""
        if end_ns < start_ns:
            raise ValueError(f"an interval cannot end {start_ns - end_ns} ns before it starts")
        starts, ends = self._starts, self._ends
        if not ends or start_ns > ends[-1]:
            starts.append(start_ns)
            ends.append(end_ns)
            return
        # The islands from `first` up to `last` touch the new one: they become one.
        first = bisect_left(ends, start_ns)
        last = bisect_right(starts, end_ns)
        if first < last:
            start_ns = min(start_ns, starts[first])
            end_ns = max(end_ns, ends[last - 1])
        starts[first:last] = array("q", (start_ns,))
        ends[first:last] = array("q", (end_ns,))

    @property
    def covered_ns(self) -> int:
        """The time in at least one of them, counted once."""
        return sum(self._ends) - sum(self._starts)

    @property
    def last_ns(self) -> int | None:
        """The end of the last one."""
        return self._ends[-1] if self._ends else None


def union(parts: Iterable[Intervals]) -> Intervals:
    """What several unions cover together."""
    whole = Intervals()
    for start_ns, end_ns in heapq.merge(*parts):
        whole.add(start_ns, end_ns)
    return whole
