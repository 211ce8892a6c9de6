"""What was left untimed because it went into a graph, kept until the graph is made."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from gpu_narration.cuda.backend import Backend, CaptureStatus, CudaError, Stream

#: What is kept of one stream's capture, and of how many streams.
EVENTS_KEPT = 1024
STREAMS_KEPT = 64


@dataclass(frozen=True, slots=True)
class Captured:
    """What a graph was captured from, in order.

    ``names`` of scopes and launches, each once; ``event_ids`` of all of them;
    ``left_out`` counts what was too much to keep.
    """

    names: tuple[str, ...]
    event_ids: tuple[int, ...]
    left_out: int


class Captures:
    """Scopes and launches abstained because of a capture, by the stream they were on.

    Safe from any thread; off the hot path, as nothing is timed in a capture.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lock = threading.RLock()
        self._seen: dict[Stream, dict[int, tuple[str, ...]]] = {}
        self._left_out: dict[Stream, int] = {}

    def seen(self, stream: Stream, event_id: int, names: Iterable[str]) -> None:
        """Keeps an event; telling it again with names adds them."""
        with self._lock:
            if stream not in self._seen and len(self._seen) >= STREAMS_KEPT:
                oldest = next(iter(self._seen))
                del self._seen[oldest]
                self._left_out.pop(oldest, None)
            events = self._seen.setdefault(stream, {})
            if event_id not in events and len(events) >= EVENTS_KEPT:
                self._left_out[stream] = self._left_out.get(stream, 0) + 1
                return
            events[event_id] = (*events.get(event_id, ()), *names)

    def ended(self, stream: Stream) -> Captured:
        """Hands out what the capture that began on this stream has left untimed.

        Streams that joined the capture left it when it ended, so what is kept of
        any that captures no more goes with it.
        """
        with self._lock:
            others = [other for other in self._seen if other != stream]
        over = [other for other in others if other.device == stream.device and self._over(other)]
        events: dict[int, tuple[str, ...]] = {}
        left_out = 0
        with self._lock:
            for each in (stream, *over):
                events.update(self._seen.pop(each, {}))
                left_out += self._left_out.pop(each, 0)
        ordered = sorted(events)
        names = dict.fromkeys(name for event_id in ordered for name in events[event_id])
        return Captured(tuple(names), tuple(ordered), left_out)

    def _over(self, stream: Stream) -> bool:
        try:
            return self._backend.capture_status(stream) is CaptureStatus.NONE
        except CudaError:
            return True  # destroyed
