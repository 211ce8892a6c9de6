"""Where GPU work lies on the CPU's timeline: pairs of (CPU, GPU) clock readings.

An *anchor* is an event of ours, recorded on a non-blocking stream of ours that is
otherwise empty.  The CPU's clock is read before the record and after the query
that found the event done, so the GPU reached it inside that window.  The elapsed
time from an anchor to an event of the program then places that event.

What makes a placement uncertain, and what is done about it:

- **The window.**  Wider while the GPU or the interpreter is busy; the best of a few
  tries is kept, and an event is placed by the anchor that costs it least.
- **The reading.**  ``cuEventElapsedTime`` gives float32 ms with a resolution of about
  0.5 µs (CUDA Driver API, Event Management).  Up to 4,096 ms half a unit in the last
  place of a float32 is below 0.13 µs, beyond it grows without end; so no anchor is
  used over a longer distance, and anchors are renewed.
- **The clocks' rates.**  They differ by what their oscillators do, and CLOCK_MONOTONIC
  is slewed by up to 500 ppm (Linux, adjtimex: the largest frequency correction).  The
  rate is measured from anchor to anchor; what is assumed is that within the reach of
  one anchor it stays within :data:`WANDER` of what was measured.

All of it is interval arithmetic: a place is a pair of bounds, not a number with a
hope.  Used by one thread at a time, the watcher.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator

from gpu_narration.cuda.backend import Backend, CudaError, Event, Stream

#: Of ``cuEventElapsedTime``: CUDA Driver API, Event Management.
RESOLUTION_NS = 500
#: The longest distance that is read as one, in ns.
REACH_NS = 4_096_000_000
#: While work finishes, an anchor older than this is renewed.
FRESH_NS = 100_000_000
#: While work only runs, or a span is only open.
BEAT_NS = 1_000_000_000
#: The largest difference of the clocks' rates before one was measured.
UNMEASURED = 500e-6
#: How far the difference may stray from what was measured, within the reach of an anchor.
WANDER = 2e-6
#: A window below this is as good as it gets.
GOOD_WINDOW_NS = 20_000
_TRIES = 3
#: Queries in one go before an anchor is left to a later round.
_QUERIES = 40


def reading_error_ns(elapsed_ns: int) -> int:
    """How far a reading of this length may be from the truth, in ns.

    The resolution, and half a unit in the last place of a float32 count of ms.
    """
    _, exponent = math.frexp(elapsed_ns / 1e6)  # |ms| < 2 ** exponent
    return RESOLUTION_NS + math.ceil(1e6 * 2.0 ** (exponent - 25))


class Spot:
    """Where an event lies: on the GPU's clock, and on the CPU's within bounds.

    ``at_ns`` counts GPU time since the first anchor of ``chain``, to within
    ``error_ns``; ``lo_ns`` and ``hi_ns`` are CLOCK_MONOTONIC.
    """

    __slots__ = ("at_ns", "chain", "error_ns", "hi_ns", "lo_ns")

    def __init__(self, chain: int, at_ns: int, error_ns: int, lo_ns: int, hi_ns: int) -> None:
        self.chain = chain
        self.at_ns = at_ns
        self.error_ns = error_ns
        self.lo_ns = lo_ns
        self.hi_ns = hi_ns


class _Anchor(Spot):
    __slots__ = ("event",)

    def __init__(self, event: Event, lo_ns: int, hi_ns: int) -> None:
        super().__init__(0, 0, 0, lo_ns, hi_ns)
        self.event = event


class AnchorLine:
    """The anchors of one device.  Any call to the backend may raise CudaError here.

    ``clock`` is CLOCK_MONOTONIC in ns, or the simulator's.
    """

    def __init__(self, backend: Backend, device: int, clock: Callable[[], int]) -> None:
        self._backend = backend
        self._device = device
        self._clock = clock
        self._stream: Stream | None = None
        self._line: deque[_Anchor] = deque()
        self._spare: list[Event] = []
        #: Recorded and not yet done: (event, CPU time before the record).
        self._under_way: tuple[Event, int] | None = None
        self._chain = 0
        #: Bounds of the CPU's ns in excess of one, for each ns of the GPU.
        self._rate = (-UNMEASURED, UNMEASURED)

    @property
    def count(self) -> int:
        """How many anchors can be used now."""
        return len(self._line)

    def tend(self, age_ns: int) -> None:
        """Takes a new anchor if the newest is older than that, or goes on with one begun."""
        now = self._clock()
        if self._under_way is None:
            if self._line and now - self._line[-1].hi_ns < age_ns:
                return
            self._begin()
        best: _Anchor | None = None
        for attempt in range(_TRIES):
            if attempt > 0:
                self._begin()
            taken = self._finish()
            if taken is None:
                break  # the GPU is busy: a later round asks again
            best = self._better(best, taken)
            if best.hi_ns - best.lo_ns <= GOOD_WINDOW_NS:
                break
        if best is not None:
            self._add(best)

    def locate(self, event: Event, about_ns: int) -> Spot | None:
        """Places a finished event that happened near a CPU time; None if no anchor is near."""
        for anchor in self._nearest(about_ns):
            elapsed_ns = self._elapsed(anchor, event)
            if abs(elapsed_ns) <= REACH_NS:
                return self._spot(anchor, elapsed_ns)
        return None

    def cpu_length_ns(self, elapsed_ns: int) -> tuple[int, int]:
        """A length of GPU time as CPU time, and by how much that may be wrong."""
        low, high = self._rate
        middle = elapsed_ns * (low + high) / 2
        return elapsed_ns + round(middle), math.ceil(abs(elapsed_ns) * (high - low) / 2)

    def close(self) -> None:
        """Destroys the events and the stream."""
        events = [*self._spare, *(anchor.event for anchor in self._line)]
        if self._under_way is not None:
            events.append(self._under_way[0])
        stream = self._stream
        self.forget()
        for event in events:
            self._backend.event_destroy(event)
        if stream is not None:
            self._backend.stream_destroy(stream)

    def forget(self) -> None:
        """Lets go of everything without a call: the context is gone."""
        self._stream = self._under_way = None
        self._line.clear()
        self._spare.clear()

    # ---- taking one ----

    def _begin(self) -> None:
        if self._stream is None:
            self._stream = self._backend.stream_create(self._device)
        event = self._spare.pop() if self._spare else self._backend.event_create(self._device)
        before = self._clock()
        try:
            self._backend.event_record(event, self._stream)
        except CudaError:
            self._spare.append(event)
            raise
        self._under_way = event, before

    def _finish(self) -> _Anchor | None:
        assert self._under_way is not None
        event, before = self._under_way
        for _ in range(_QUERIES):
            if self._backend.event_query(event):
                after = self._clock()
                self._under_way = None
                return _Anchor(event, before, after)
        return None

    def _better(self, best: _Anchor | None, taken: _Anchor) -> _Anchor:
        if best is None:
            return taken
        narrow, wide = sorted((best, taken), key=lambda anchor: anchor.hi_ns - anchor.lo_ns)
        self._spare.append(wide.event)
        return narrow

    def _add(self, anchor: _Anchor) -> None:
        self._link(anchor)
        self._line.append(anchor)
        while anchor.lo_ns - self._line[0].lo_ns > REACH_NS:
            self._spare.append(self._line.popleft().event)

    def _link(self, anchor: _Anchor) -> None:
        """Counts its GPU time on from the oldest anchor in reach, and measures the rate.

        From the oldest, since each link adds the error of a reading.
        """
        for base in self._line:
            if anchor.lo_ns - base.lo_ns > REACH_NS:
                continue
            elapsed_ns = self._elapsed(base, anchor.event)
            if elapsed_ns <= 0 or elapsed_ns > REACH_NS:
                continue
            error_ns = reading_error_ns(elapsed_ns)
            anchor.chain = base.chain
            anchor.at_ns = base.at_ns + elapsed_ns
            anchor.error_ns = base.error_ns + error_ns
            self._measure_rate(
                (anchor.lo_ns - base.hi_ns) / (elapsed_ns + error_ns) - 1,
                (anchor.hi_ns - base.lo_ns) / max(1, elapsed_ns - error_ns) - 1,
            )
            return
        self._chain += 1
        anchor.chain = self._chain

    def _measure_rate(self, low: float, high: float) -> None:
        known_low, known_high = self._rate[0] - WANDER, self._rate[1] + WANDER
        low, high = low - WANDER, high + WANDER
        both = max(low, known_low), min(high, known_high)
        self._rate = both if both[0] <= both[1] else (low, high)

    # ---- using one ----

    def _nearest(self, about_ns: int) -> Iterator[_Anchor]:
        """The anchors, those first that leave the least uncertainty."""
        spread = self._rate[1] - self._rate[0]

        def cost(anchor: _Anchor) -> float:
            distance = abs(about_ns - (anchor.lo_ns + anchor.hi_ns) // 2)
            return anchor.hi_ns - anchor.lo_ns + distance * spread

        yield from sorted(self._line, key=cost)[:4]

    def _elapsed(self, anchor: _Anchor, event: Event) -> int:
        return self._backend.event_elapsed_ns(anchor.event, event, self._device)

    def _spot(self, anchor: _Anchor, elapsed_ns: int) -> Spot:
        error_ns = reading_error_ns(elapsed_ns)
        length_ns, stray_ns = self.cpu_length_ns(elapsed_ns)
        return Spot(
            anchor.chain,
            anchor.at_ns + elapsed_ns,
            anchor.error_ns + error_ns,
            anchor.lo_ns + length_ns - stray_ns - error_ns,
            anchor.hi_ns + length_ns + stray_ns + error_ns,
        )
