"""GPU work timed by pairs of pooled events, read later and never waited for.

On the caller's path an interval costs two event records and takes no lock.  The
watcher asks now and then which second events are done, and only then reads the
pairs.  Where no honest number can be had the interval is answered with a reason.

- :meth:`Timer.open`, :meth:`Timer.close`, :meth:`Timer.cancel`: any thread.  They never
  ask whether something is done.
- :meth:`Timer.poll`: the watcher; a second thread returns at once.
- An interval is answered once (:mod:`answers`).  Its events are its opener's until it
  is closed, and then the poll's, which gives them back once they were read.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from gpu_narration.cuda import reasons
from gpu_narration.cuda.anchors import AnchorLine
from gpu_narration.cuda.answers import Answer, Answers
from gpu_narration.cuda.backend import (
    PER_THREAD_HANDLE,
    Backend,
    CaptureStatus,
    CudaError,
    Stream,
)
from gpu_narration.cuda.captured import Captures
from gpu_narration.cuda.default_streams import DEFAULT_KINDS, DefaultScopes
from gpu_narration.cuda.intervals import Home, Interval
from gpu_narration.cuda.pool import POOL_LIMIT, EventPool
from gpu_narration.cuda.resolver import Resolver

__all__ = ["Interval", "Timer"]

#: Seconds between rounds: while work is awaited, and while a span is only open.
POLL_S, BEAT_S = 0.005, 1.0
#: Rounds at the short pace after the last answer: a busy program need never wake the watcher.
_LINGER = 20
#: Rounds at the long pace with nothing open before the timer sleeps until it is woken.
_IDLE_BEATS = 10

_NONE = CaptureStatus.NONE


class Timer:
    """Opens and closes intervals, and answers them when the GPU is done.

    ``answer(event_id, fields)`` is called from :meth:`poll` (of a refusal from the
    caller) with ``gpu_ns``: integer ns elapsed on stream, or None beside a
    ``gpu_reason``.  ``wake`` is called when the next :meth:`poll` is too far off.
    ``clock`` is CLOCK_MONOTONIC in ns, or the simulator's.  ``name_of`` names an event
    whose work goes into a graph, where it can.
    """

    def __init__(
        self,
        backend: Backend,
        answer: Answer,
        pool_limit: int | None = None,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        wake: Callable[[], object] = lambda: None,
        name_of: Callable[[int], str | None] = lambda _: None,
    ) -> None:
        self._backend = backend
        self._answers = Answers(answer, simulated=backend.simulated)
        self._pool_limit = POOL_LIMIT if pool_limit is None else pool_limit
        self._clock = clock
        self._wake = wake
        self._name_of = name_of
        self._homes: dict[int, Home] = {}
        self._open: set[Interval] = set()
        self._default_scopes = DefaultScopes(backend)
        self._on_default = self._default_scopes.open
        self._resolver = Resolver(backend, self._answers, clock, self._open)
        self._polling = threading.Lock()
        self._quiet_rounds = self._answered = 0
        #: The watcher comes only at its long pace; not until it is woken.
        self._resting = self._asleep = True
        self._ended = self._disowned = False
        self.captures = Captures(backend)

    # ---- on the caller's path ----

    def open(self, event_id: int, stream: object, *, scope: bool = False) -> Interval | None:
        """Records the first event; None, and an answer with the reason, if that cannot be.

        ``scope``: the time is meant to be that of everything inside, so without a
        stream of its own it abstains where :mod:`default_streams` says so.
        """
        try:
            target = self._backend.stream_of(stream)
        except CudaError as error:
            self._failed(event_id, None, error)
            return None
        except Exception as error:  # noqa: BLE001 - a program's object may raise anything
            detail = str(error) if type(error) is TypeError else type(error).__name__
            self._answers.refuse(event_id, None, reasons.UNKNOWN_STREAM, detail)
            return None
        try:
            home = self._homes.get(target.device) or self._home(target.device)
            if self._ended or home.lost:
                self._answers.refuse(event_id, target, *self._refusal(home))
                return None
            status = self._backend.capture_status(target)
            if status is not _NONE:
                self._captured(target, event_id)
                self._answers.refuse(event_id, target, reasons.of_capture(status, inside=False))
                return None
            if self._on_default:
                self._default_scopes.saw(target)
            start = home.pool.take()
            if start is None:
                self._answers.refuse(event_id, target, reasons.POOL_EXHAUSTED)
                return None
            opened_ns = self._clock()
            try:
                self._backend.event_record(start, target)
            except CudaError:
                home.pool.give_back(start)
                raise
        except CudaError as error:
            self._failed(event_id, target, error)
            return None
        thread = threading.get_ident() if target.handle == PER_THREAD_HANDLE else 0
        interval = Interval(event_id, target, home, start, opened_ns, thread)
        if scope and stream is None and target.handle in DEFAULT_KINDS:
            self._default_scopes.enter(interval)
        self._open.add(interval)
        if self._asleep:
            self._rouse()
        if self._ended:  # meanwhile
            self.cancel(interval, reasons.NOT_FINISHED)
            return None
        return interval

    def close(self, interval: Interval) -> None:
        """Records the second event; the answer comes from a later :meth:`poll`."""
        self._leave(interval)
        home, stream = interval.home, interval.stream
        if self._ended or home.lost:
            self._drop(interval, *self._refusal(home))
            return
        if interval.thread and interval.thread != threading.get_ident():
            self._drop(interval, reasons.OTHER_THREAD)
            return
        if interval.spoiled:
            self._drop(interval, interval.spoiled)
            return
        try:
            status = self._backend.capture_status(stream)
            if status is not _NONE:
                self._captured(stream, interval.event_id)
                self._drop(interval, reasons.of_capture(status, inside=True))
                return
            stop = home.pool.take()
            if stop is None:
                self._drop(interval, reasons.POOL_EXHAUSTED)
                return
            try:
                self._backend.event_record(stop, stream)
            except CudaError:
                home.pool.give_back(stop)
                raise
        except CudaError as error:
            self._drop(interval, reasons.of_record(error, inside=True), str(error))
            self._maybe_lose(home, error)
            return
        interval.stop = stop
        self._resolver.closed.append(interval)
        if self._resting:
            self._rouse()
        if self._ended:  # meanwhile
            self._answers.refuse_claimed(interval, reasons.NOT_FINISHED)

    def cancel(self, interval: Interval, reason: str) -> None:
        """Ends an open interval with a reason instead of a second event."""
        self._leave(interval)
        self._drop(interval, reason)

    def saw(self, stream: Stream) -> None:
        """Work that is not timed was put on this stream."""
        if self._on_default:
            self._default_scopes.saw(stream)

    def saw_foreign(self) -> None:
        """A library was called that puts its work on non-blocking streams of its own."""
        self._default_scopes.saw_foreign()

    # ---- on the watcher's path ----

    def poll(self) -> int:
        """Answers what has finished; the number of intervals still open on the GPU."""
        if not self._ended and self._polling.acquire(blocking=False):
            try:
                self._resolver.round()
            finally:
                self._polling.release()
        return self.pending

    @property
    def pending(self) -> int:
        """How many closed intervals have no answer yet."""
        return 0 if self._ended else self._resolver.pending

    def devices(self) -> list[int]:
        """The devices that were used."""
        return list(self._homes)

    def rest(self) -> float | None:
        """After a :meth:`poll`: seconds until the next, or None until ``wake`` is called."""
        answered, self._answered = self._answered, self._resolver.answered
        if self.pending or answered != self._answered:
            return self._stay_awake()
        self._quiet_rounds += 1
        if self._quiet_rounds <= _LINGER:
            return POLL_S
        if self._open:
            self._quiet_rounds = _LINGER
        self._resting = True
        self._asleep = self._quiet_rounds > _LINGER + _IDLE_BEATS
        # A caller may have looked at the two flags just before they were set.
        if self._resolver.closed or (self._asleep and self._open):
            return self._stay_awake()
        return None if self._asleep else BEAT_S

    # ---- the end ----

    def abandon(self, reason: str) -> None:
        """Answers all that is left with a reason; nothing is timed from here on."""
        self._ended = True
        for interval in [*list(self._open), *self._resolver.left()]:
            self._answers.refuse_claimed(interval, reason)

    def release(self) -> None:
        """After :meth:`abandon`: destroys what the driver holds for us.

        Not while a poll hangs.  What a caller has in hand goes when it closes.
        """
        if self._polling.acquire(blocking=False):
            try:
                self._resolver.release(self._homes.values())
            finally:
                self._polling.release()

    def disown(self) -> None:
        """In a forked child: nothing here is touched any more.

        The events are the parent's, the answers too, and a lock may have been held
        by a thread that is not here.
        """
        self._ended = self._disowned = True

    # ---- within ----

    def _home(self, device: int) -> Home:
        home = self._homes.get(device)
        if home is None:
            pool = EventPool(self._backend, device, self._pool_limit)
            anchors = AnchorLine(self._backend, device, self._clock)
            home = self._homes.setdefault(device, Home(self, device, pool, anchors))
        return home

    def _refusal(self, home: Home) -> tuple[str, str]:
        """Why nothing on this device is timed any more."""
        return home.lost or (reasons.NOT_FINISHED, "")

    def _leave(self, interval: Interval) -> None:
        self._open.discard(interval)
        if self._on_default:
            self._default_scopes.leave(interval)

    def _drop(self, interval: Interval, reason: str, detail: str = "") -> None:
        if self._disowned:
            return
        interval.give_back()
        self._answers.refuse_claimed(interval, reason, detail)

    def _captured(self, stream: Stream, event_id: int) -> None:
        name = self._name_of(event_id)
        self.captures.seen(stream, event_id, () if name is None else (name,))

    def _failed(self, event_id: int, stream: Stream | None, error: CudaError) -> None:
        self._answers.refuse(event_id, stream, reasons.of_record(error, inside=False), str(error))
        if stream is not None:
            self._maybe_lose(self._home(stream.device), error)

    def _maybe_lose(self, home: Home, error: CudaError) -> None:
        if error.fatal:
            home.lose(error)
            self._rouse()  # what is pending there has no answer yet

    def _stay_awake(self) -> float:
        self._resting = self._asleep = False
        self._quiet_rounds = 0
        return POLL_S

    def _rouse(self) -> None:
        self._stay_awake()
        self._wake()
