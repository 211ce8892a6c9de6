"""How often device memory is read: fast while it moves, slowly while it rests."""

from __future__ import annotations

from collections import deque

#: While memory moves, and at rest.
FAST_S, SLOW_S = 0.02, 1.0

#: At most this part of the time is spent in readings, however fast memory moves: a
#: reading may hold a lock of the driver that the program waits for.
TIME_SHARE = 1 / 20

#: The cost of a round is the least of so many: the others waited for the interpreter.
_ROUNDS = 8


class Pace:
    """The pause between two rounds of readings."""

    def __init__(self) -> None:
        self._costs_ns: deque[int] = deque(maxlen=_ROUNDS)
        self.period_s = FAST_S

    def hurry(self) -> float:
        """Between two rounds something was seen to move."""
        self.period_s = max(FAST_S, self._least_s())
        return self.period_s

    def next(self, *, moved: bool, cost_ns: int) -> float:
        """After a round: seconds until the next one is worth while."""
        self._costs_ns.append(cost_ns)
        wanted_s = FAST_S if moved else min(SLOW_S, self.period_s * 2)
        self.period_s = max(wanted_s, self._least_s())
        return self.period_s

    def _least_s(self) -> float:
        return min(self._costs_ns, default=0) / 1e9 / TIME_SHARE
