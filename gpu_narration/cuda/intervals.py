"""What an interval is, and what becomes of its two events once they are done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpu_narration.cuda import reasons
from gpu_narration.cuda.anchors import REACH_NS, AnchorLine, Spot, reading_error_ns
from gpu_narration.cuda.backend import Backend, CudaError, Event, Stream
from gpu_narration.cuda.pool import EventPool

if TYPE_CHECKING:
    from gpu_narration.cuda.timing import Timer

#: What an elapsed time may exceed the CPU's time by: the difference of the clocks'
#: rates, and the resolution of a reading.
_RATE_SLACK, _SLACK_NS = 1e-3, 10_000


class Home:
    """A device and what a timer keeps for it: events, anchors, and whether it is lost."""

    __slots__ = ("anchors", "device", "lost", "no_anchors", "pool", "timer")

    def __init__(self, timer: Timer, device: int, pool: EventPool, anchors: AnchorLine) -> None:
        self.timer = timer
        self.device = device
        self.pool = pool
        self.anchors = anchors
        #: (reason, detail) once nothing can be timed here any more.
        self.lost: tuple[str, str] | None = None
        #: Why there are no anchors, if they failed.
        self.no_anchors = ""

    def lose(self, error: CudaError) -> None:
        """The context is gone: from here on nothing in it is touched.

        From any thread; what is pending is answered by the next round.
        """
        if self.lost is None:
            self.lost = reasons.of_loss(error), str(error)
            self.pool.forget()


class Interval:
    """A stretch of work on a stream that belongs to one event of the trace.

    ``start`` and ``stop`` are its own until it is answered.
    """

    __slots__ = (
        "answered", "event_id", "home", "mark", "opened_ns", "spoiled", "start", "stop",
        "stream", "thread",
    )  # fmt: skip

    def __init__(
        self, event_id: int, stream: Stream, home: Home, start: Event, opened_ns: int, thread: int
    ) -> None:
        self.event_id = event_id
        self.stream = stream
        self.home = home
        self.start = start
        self.stop: Event | None = None
        #: CPU time before the first record.
        self.opened_ns = opened_ns
        #: Of a per-thread default stream, whose it is; else 0.
        self.thread = thread
        #: Where its begin lies, measured while it ran, if it ran long.
        self.mark: Spot | None = None
        #: Why its number would not be the scope's.
        self.spoiled = ""
        #: Set once, by whoever answers it: :meth:`Answers.claim`.
        self.answered = False

    def give_back(self) -> None:
        """Its events go back to the pool: they were read, or nobody waits for them."""
        self.home.pool.give_back(self.start)
        if self.stop is not None:
            self.home.pool.give_back(self.stop)


def measured(backend: Backend, interval: Interval, seen_ns: int) -> dict[str, object]:
    """The fields of a finished interval; ``seen_ns``: CPU time after it was seen done.

    Raises CudaError where the pair cannot be read.
    """
    assert interval.stop is not None, "only closed intervals are measured"
    elapsed_ns = backend.event_elapsed_ns(interval.start, interval.stop, interval.home.device)
    spanned_ns = seen_ns - interval.opened_ns
    if not 0 <= elapsed_ns <= spanned_ns * (1 + _RATE_SLACK) + _SLACK_NS:
        return {
            "gpu_ns": None,
            "gpu_reason": reasons.IMPOSSIBLE,
            "gpu_detail": f"{elapsed_ns} ns within {spanned_ns} ns of the CPU's clock",
        }
    end = None if interval.home.no_anchors else _located(interval, seen_ns)
    if elapsed_ns <= REACH_NS:
        return {"gpu_ns": elapsed_ns, **_placed(interval, elapsed_ns, end, seen_ns)}
    elapsed_ns, error_ns = _in_pieces(elapsed_ns, interval.mark, end)
    return {
        "gpu_ns": elapsed_ns,
        "gpu_error_ns": error_ns,
        **_placed(interval, elapsed_ns, end, seen_ns),
    }


def _located(interval: Interval, seen_ns: int) -> Spot | None:
    """Where it ended; a number without a place is still a number."""
    assert interval.stop is not None
    try:
        return interval.home.anchors.locate(interval.stop, seen_ns)
    except CudaError as error:
        if error.fatal:
            raise
        return None


def _in_pieces(elapsed_ns: int, start: Spot | None, end: Spot | None) -> tuple[int, int]:
    """A long interval's length, and how far that may be from the truth.

    The pair itself reads coarsely.  From anchor to anchor each piece reads finely,
    and the sum can only be where both readings agree.
    """
    coarse_ns = reading_error_ns(elapsed_ns)
    if start is None or end is None or start.chain != end.chain:
        return elapsed_ns, coarse_ns
    pieces_ns, error_ns = end.at_ns - start.at_ns, start.error_ns + end.error_ns
    low = max(elapsed_ns - coarse_ns, pieces_ns - error_ns)
    high = min(elapsed_ns + coarse_ns, pieces_ns + error_ns)
    if low > high:
        return elapsed_ns, coarse_ns
    best_ns = min(max(pieces_ns, low), high)
    return best_ns, max(high - best_ns, best_ns - low)


def _placed(
    interval: Interval, elapsed_ns: int, end: Spot | None, seen_ns: int
) -> dict[str, object]:
    """Begin and end on the CPU's timeline, and how far they may be from the truth.

    Everything known bounds both: the end's place, the length between them, the
    begin's place if it was taken, and that nothing begins before it was asked for
    or ends after it was seen done.
    """
    if end is None:
        return {"gpu_place_reason": interval.home.no_anchors or reasons.NO_ANCHOR}
    length_ns, stray_ns = interval.home.anchors.cpu_length_ns(elapsed_ns)
    stray_ns += reading_error_ns(elapsed_ns)
    last_high = min(end.hi_ns, seen_ns)
    first_low = max(interval.opened_ns, end.lo_ns - length_ns - stray_ns)
    first_high = last_high - length_ns + stray_ns
    if interval.mark is not None:
        first_low = max(first_low, interval.mark.lo_ns)
        first_high = min(first_high, interval.mark.hi_ns)
    last_low = max(end.lo_ns, first_low + length_ns - stray_ns)
    last_high = min(last_high, first_high + length_ns + stray_ns)
    if first_low > first_high or last_low > last_high:
        return {"gpu_place_reason": reasons.CLOCKS_DISAGREE}
    first_ns = (first_low + first_high) // 2
    last_ns = first_ns + length_ns
    return {
        "gpu_start_ns": first_ns,
        "gpu_end_ns": last_ns,
        "gpu_place_error_ns": max(
            first_high - first_ns, abs(last_high - last_ns), abs(last_ns - last_low)
        ),
    }
