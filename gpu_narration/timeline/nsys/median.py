"""The median of many durations in bounded memory.

Exact, by nearest rank, up to :data:`EXACT_MAX` values; then they are counted in buckets
whose edges are 1 % apart, and the median is the middle of its bucket, within 0.5 %.
"""

from __future__ import annotations

import math
from array import array

EXACT_MAX = 10_000
_RATIO = math.log(1.01)


class Median:
    """Collects durations in ns, negative ones too."""

    __slots__ = ("_buckets", "_values", "count")

    def __init__(self) -> None:
        self.count = 0
        self._values: array[int] | None = array("q")
        self._buckets: dict[int, int] = {}

    def add(self, ns: int) -> None:
        self.count += 1
        if self._values is None:
            self._count(ns)
            return
        self._values.append(ns)
        if self.count > EXACT_MAX:
            for value in self._values:
                self._count(value)
            self._values = None

    @property
    def is_exact(self) -> bool:
        return self._values is not None

    @property
    def ns(self) -> int | None:
        """The median; None where there is no value."""
        if self.count == 0:
            return None
        rank = (self.count - 1) // 2
        if self._values is not None:
            return sorted(self._values)[rank]
        for bucket in sorted(self._buckets):
            rank -= self._buckets[bucket]
            if rank < 0:
                return _middle(bucket)
        raise AssertionError("a rank lies in a bucket")

    def _count(self, ns: int) -> None:
        bucket = 0 if ns == 0 else 1 + int(math.log(abs(ns)) / _RATIO)
        if ns < 0:
            bucket = -bucket
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1


def _middle(bucket: int) -> int:
    """The middle of a bucket's edges, which are powers of 1.01."""
    if bucket == 0:
        return 0
    size = round(math.exp((abs(bucket) - 0.5) * _RATIO))
    return size if bucket > 0 else -size
