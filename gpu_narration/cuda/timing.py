"""GPU work timed by pairs of pooled events, read later and never waited for.

On the caller's path an interval costs two event records.  The watcher asks every
so often whether the second event is done, and only then reads the pair.  Where
no honest number can be had the interval is answered with a reason instead.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from gpu_narration._errors import internal_error
from gpu_narration.cuda.backend import Backend, CaptureStatus, CudaError, Event, Stream

#: Events per device that are kept; beyond this an interval is refused, not waited for.
POOL_LIMIT = 4096

#: What happens to an answer: the event id the interval belongs to, and its fields.
Answer = Callable[[int, dict[str, object]], object]


@dataclass(slots=True)
class Interval:
    """A stretch of work on a stream that belongs to one event of the trace."""

    event_id: int
    stream: Stream
    start: Event
    stop: Event | None = None


class EventPool:
    """Events that are used again; each belongs to one device for life."""

    def __init__(self, backend: Backend, limit: int = POOL_LIMIT) -> None:
        self._backend = backend
        self._limit = limit
        self._free: dict[int, list[Event]] = {}
        self._made: dict[int, int] = {}
        self._lock = threading.Lock()

    def take(self, device: int) -> Event | None:
        """An event of this device, or None if the pool is exhausted."""
        with self._lock:
            free = self._free.setdefault(device, [])
            if free:
                return free.pop()
            if self._made.get(device, 0) >= self._limit:
                return None
            self._made[device] = self._made.get(device, 0) + 1
        try:
            return self._backend.event_create(device)
        except CudaError:
            with self._lock:
                self._made[device] -= 1
            raise

    def give_back(self, device: int, event: Event) -> None:
        """Only for an event that was read, or whose record nobody waits for."""
        with self._lock:
            self._free.setdefault(device, []).append(event)


class Timer:
    """Opens and closes intervals, and answers them when the GPU is done.

    Safe to use from any thread.  ``answer(event_id, fields)`` is called from
    :meth:`poll` with ``gpu_ns``: integer ns elapsed on stream, or None beside a
    ``gpu_reason``.
    """

    def __init__(self, backend: Backend, answer: Answer, pool_limit: int = POOL_LIMIT) -> None:
        self._backend = backend
        self._answer = answer
        self._pool = EventPool(backend, pool_limit)
        self._pending: dict[Stream, deque[Interval]] = {}
        self._lock = threading.Lock()

    def open(self, event_id: int, stream: object) -> Interval | None:
        """Records the first event; None, and an answer with the reason, if that cannot be."""
        target: Stream | None = None
        try:
            target = self._backend.stream_of(stream)
            if self._backend.capture_status(target) is not CaptureStatus.NONE:
                self._refuse(event_id, target, "stream capture")
                return None
            start = self._record(target)
        except (CudaError, TypeError) as error:
            self._refuse(event_id, target, str(error))
            return None
        if start is None:
            self._refuse(event_id, target, "event pool exhausted")
            return None
        return Interval(event_id, target, start)

    def close(self, interval: Interval) -> None:
        """Records the second event; the answer comes from a later :meth:`poll`."""
        reason = "event pool exhausted"
        try:
            if self._backend.capture_status(interval.stream) is not CaptureStatus.NONE:
                reason = "stream capture began inside the span"
            else:
                interval.stop = self._record(interval.stream)
        except CudaError as error:
            reason = str(error)
        if interval.stop is None:
            self.cancel(interval, reason)
            return
        with self._lock:
            self._pending.setdefault(interval.stream, deque()).append(interval)

    def cancel(self, interval: Interval, reason: str) -> None:
        """Ends an open interval with a reason instead of a second event."""
        self._pool.give_back(interval.stream.device, interval.start)
        self._refuse(interval.event_id, interval.stream, reason)

    def poll(self) -> int:
        """Answers what has finished; the number of intervals still open on the GPU."""
        with self._lock:
            streams = list(self._pending)
        for stream in streams:
            self._poll_stream(stream)
        with self._lock:
            return sum(len(queue) for queue in self._pending.values())

    def abandon(self, reason: str) -> None:
        """Answers all that is left with a reason; for the end of a recording."""
        with self._lock:
            left = [interval for queue in self._pending.values() for interval in queue]
            for queue in self._pending.values():
                queue.clear()  # another thread may be reading one
            self._pending.clear()
        for interval in left:
            self._refuse(interval.event_id, interval.stream, reason)

    def _record(self, stream: Stream) -> Event | None:
        """An event from the pool, recorded; None if the pool is exhausted."""
        event = self._pool.take(stream.device)
        if event is not None:
            try:
                self._backend.event_record(event, stream)
            except CudaError:
                self._pool.give_back(stream.device, event)
                raise
        return event

    def _poll_stream(self, stream: Stream) -> None:
        # Events of one stream finish in order: the first that is not done ends it.
        while True:
            with self._lock:
                queue = self._pending.get(stream)
                if not queue:
                    self._pending.pop(stream, None)
                    return
                interval = queue[0]
            try:
                if not self._backend.event_query(_closed(interval)):
                    return
                elapsed_ns: int | None = self._backend.event_elapsed_ns(
                    interval.start, _closed(interval), stream.device
                )
                reason = ""
            except CudaError as error:
                elapsed_ns, reason = None, str(error)
            with self._lock:
                if not queue or queue[0] is not interval:
                    return  # another thread has answered it
                queue.popleft()
            self._pool.give_back(stream.device, interval.start)
            self._pool.give_back(stream.device, _closed(interval))
            if elapsed_ns is not None and elapsed_ns < 0:
                elapsed_ns, reason = None, f"impossible elapsed time {elapsed_ns} ns"
            self._report(interval.event_id, stream, elapsed_ns, reason)

    def _refuse(self, event_id: int, stream: Stream | None, reason: str) -> None:
        self._report(event_id, stream, None, reason)

    def _report(
        self, event_id: int, stream: Stream | None, elapsed_ns: int | None, reason: str
    ) -> None:
        fields: dict[str, object] = {"gpu_ns": elapsed_ns}
        if elapsed_ns is None:
            fields["gpu_reason"] = reason
        if stream is not None:
            fields["stream"] = stream.handle
            fields["device"] = stream.device
        if self._backend.simulated:
            fields["simulated"] = True
        try:
            self._answer(event_id, fields)
        except Exception as error:  # noqa: BLE001 - the watcher must live on
            internal_error("answer of a GPU interval", error)


def _closed(interval: Interval) -> Event:
    assert interval.stop is not None, "only closed intervals are pending"
    return interval.stop
