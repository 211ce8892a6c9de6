"""Where a program waits for the simulated GPU, and its copies: each is a span, as on a real one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from gpu_narration.cuda.backend import Stream
from gpu_narration.cuda.mock_errors import cuda_error
from gpu_narration.cuda.mock_state import DeviceState, EventState, StreamState
from gpu_narration.cuda.waits import Waiting

CopyKind = Literal["h2d", "d2h", "d2d"]

#: Bytes per ns, the order of PCIe 4.0 x16 and of a data-centre GPU's memory.
_SPEED: dict[str, int] = {"h2d": 25, "d2h": 25, "d2d": 1000}


class MockWaits:
    """The part of :class:`~gpu_narration.cuda.mock_gpu.MockGpu` that blocks its caller."""

    if TYPE_CHECKING:  # the machine's, under its lock where their names begin with _
        _clock: Callable[[], int]
        _lock: threading.RLock
        _devices: list[DeviceState]

        def launch(self, name: str, duration_ns: int, stream: Stream | None = None) -> None: ...
        def _stream(self, stream: Stream, *, touching: bool = True) -> StreamState: ...
        def _event(self, event: int) -> EventState: ...
        def _others(self) -> list[StreamState]: ...

    def synchronize(self, stream: Stream | None = None) -> None:
        """Blocks the caller until the stream (or everything) is done."""
        action = "device_synchronize" if stream is None else "stream_synchronize"
        with Waiting(action, "", _fields(stream)):
            self._wait_until(self._done_ns(stream))

    def event_synchronize(self, event: int) -> None:
        """Blocks the caller until all work before the event's record is done."""
        with Waiting("event_synchronize", "", _fields(None)):
            with self._lock:
                time_ns = self._event(event).time_ns
            self._wait_until(time_ns or 0)

    def memcpy(self, kind: CopyKind, size_bytes: int, stream: Stream | None = None) -> None:
        """Copies, on the legacy default stream if none is given, and waits for the copy."""
        target = stream or Stream(0, 0)
        with Waiting("memcpy", kind, {"size_bytes": size_bytes, **_fields(target)}):
            self._copy(kind, size_bytes, target)
            self._wait_until(self._done_ns(target))

    def memcpy_async(self, kind: CopyKind, size_bytes: int, stream: Stream | None = None) -> None:
        """Enqueues a copy."""
        target = stream or Stream(0, 0)
        with Waiting("memcpy_async", kind, {"size_bytes": size_bytes, **_fields(target)}):
            self._copy(kind, size_bytes, target)

    def _copy(self, kind: CopyKind, size_bytes: int, stream: Stream) -> None:
        if size_bytes < 0 or kind not in _SPEED:
            raise cuda_error(1)
        self.launch(f"memcpy {kind}", size_bytes // _SPEED[kind], stream)

    def _done_ns(self, stream: Stream | None) -> int:
        """When what is enqueued now will be done; waiting in a capture invalidates it."""
        with self._lock:
            everything = (*self._others(), *(device.legacy for device in self._devices))
            states = everything if stream is None else (self._stream(stream),)
            capturing = [state.capture for state in states if state.capture is not None]
            for capture in capturing:
                capture.invalidated = True
            if capturing:
                raise cuda_error(900)
            return max(state.tail_ns for state in states)

    def _wait_until(self, done_ns: int) -> None:
        while (left := done_ns - self._clock()) > 0:
            time.sleep(left / 1e9)


def _fields(stream: Stream | None) -> dict[str, object]:
    where = {} if stream is None else {"stream": stream.handle, "device": stream.device}
    return {**where, "simulated": True}
