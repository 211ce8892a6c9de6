"""When a change of device memory is told: the rule, and what it promises.

A reading is told when it lies a threshold or more away from the value told *last*,
whatever happened in between.  The value told last moves along with every record, so
it is the middle of a dead band of one threshold to either side:

- **Noise stays quiet.**  No line can be drawn that a value crosses to and fro:
  wherever it swings, by less than a threshold, it stays in the band.  (Fixed marks,
  say one every 4 MiB, would chatter as soon as a value swings round one of them.)
- **A slow leak is told.**  The distance counts from what was told, not from what was
  read before, so steps that are each too small still add up.
- **The series can be rebuilt.**  At every reading the value told last is less than a
  threshold away from the true one.
- **The number of records is bounded** by the total variation of the readings divided
  by the threshold, plus one for the first: each record needs a way of a threshold.

The highest reading since the record before is kept, so that a peak between two
records is not lost.
"""

from __future__ import annotations

from dataclasses import dataclass

#: The driver maps device memory in pages of this size (what
#: ``cuMemGetAllocationGranularity`` answers): there is nothing smaller to tell.
PAGE_BYTES = 2 << 20


def threshold_bytes(total_bytes: int) -> int:
    """One page of 2 MiB, on large devices 1/8192 of their memory (80 GiB: 10 MiB)."""
    return max(PAGE_BYTES, total_bytes // 8192)


@dataclass(frozen=True, slots=True)
class Move:
    """A change to be told; ``before_bytes`` is None for the first of a series.

    ``peak_bytes``: the highest reading since the record before, both ends included.
    """

    before_bytes: int | None
    used_bytes: int
    peak_bytes: int


class Series:
    """The readings of one device; not for several threads at once."""

    def __init__(self, threshold: int) -> None:
        self.threshold_bytes = threshold
        self.told_bytes: int | None = None
        self._peak_bytes = 0

    def take(self, used_bytes: int) -> Move | None:
        """Takes a reading; what is to be told, if anything."""
        before, peak_bytes = self.told_bytes, max(self._peak_bytes, used_bytes)
        if before is not None and abs(used_bytes - before) < self.threshold_bytes:
            self._peak_bytes = peak_bytes
            return None
        self.told_bytes = self._peak_bytes = used_bytes
        return Move(before, used_bytes, peak_bytes)

    def interrupt(self) -> None:
        """The device cannot be read: what comes next begins anew."""
        self.told_bytes, self._peak_bytes = None, 0
