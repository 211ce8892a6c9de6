"""A simulated GPU: streams, events, kernels of known length, graphs, memory, CUDA's errors.

Time is virtual: each stream has a tail, the time at which all work enqueued so
far ends.  A launch moves the tail by the kernel's length; an event recorded on
the stream takes the tail as its time and is finished once the host's clock has
passed it.  The host's clock is ``time.monotonic_ns`` unless a test gives its own,
so a simulated program overlaps host and device as a real one does.

The legacy default stream waits for all blocking streams of its device and they
for it; a non-blocking stream waits for nobody (CUDA driver API, "Stream
synchronization behavior").

The ledger holds what truly ran when, to compare with what events measured.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable

from gpu_narration.cuda.backend import (
    LEGACY_ALIAS,
    LEGACY_HANDLE,
    PER_THREAD_HANDLE,
    CaptureStatus,
    Stream,
    StreamKind,
)
from gpu_narration.cuda.mock_errors import cuda_error
from gpu_narration.cuda.mock_graph import Capture, MockGraph
from gpu_narration.cuda.mock_pool import CachingPool
from gpu_narration.cuda.mock_state import (
    DeviceState,
    EventState,
    Ran,
    StreamState,
    as_the_real_api,
)
from gpu_narration.cuda.mock_waits import MockWaits

GIB = 1 << 30


class MockGpu(MockWaits):
    """The simulated machine; safe to use from several threads.

    ``real_precision``: elapsed times as the real API gives them, in steps of
    0.5 µs and as float32 ms; else exact.
    """

    def __init__(
        self,
        *,
        devices: int = 1,
        memory_bytes: int = 24 * GIB,
        clock: Callable[[], int] = time.monotonic_ns,
        real_precision: bool = False,
    ) -> None:
        self._clock = clock
        self._real_precision = real_precision
        self._lock = threading.RLock()
        self._handles = itertools.count(7)
        self._addresses = itertools.count(0x7F00_0000_0000, 0x1_0000_0000)
        self._devices = [DeviceState(index, memory_bytes) for index in range(devices)]
        self._pools: dict[int, CachingPool] = {}
        self._streams: dict[Stream, StreamState] = {}
        #: By device and thread.
        self._per_thread: dict[tuple[int, int], StreamState] = {}
        self._events: dict[int, EventState] = {}
        #: Handles whose context was destroyed under them.
        self._gone: set[int] = set()
        self._ended = False
        #: What the next launches do instead: (refused at once?, code).
        self._mishaps: list[tuple[bool, int]] = []
        self.ledger: list[Ran] = []

    def device_count(self) -> int:
        return len(self._devices)

    # ---- streams ----

    def default_stream(self, device: int = 0) -> Stream:
        """The legacy default stream of a device."""
        return Stream(LEGACY_HANDLE, device)

    def per_thread_stream(self, device: int = 0) -> Stream:
        """The per-thread default stream: in each thread another one."""
        return Stream(PER_THREAD_HANDLE, device)

    def stream(self, device: int = 0, *, blocking: bool = False) -> Stream:
        """Makes a stream, one that the legacy default stream does not wait for."""
        with self._lock:
            self._device(device)
            stream = Stream(next(self._handles), device)
            kind = StreamKind.BLOCKING if blocking else StreamKind.NON_BLOCKING
            self._streams[stream] = StreamState(device, self._clock(), kind)
        return stream

    def stream_kind(self, stream: Stream) -> StreamKind:
        with self._lock:
            return self._stream(stream, touching=False).kind

    def find_stream(self, handle: int) -> Stream:
        """The stream with that handle; a default stream is the first device's."""
        if handle in (LEGACY_HANDLE, LEGACY_ALIAS, PER_THREAD_HANDLE):
            return Stream(LEGACY_HANDLE if handle == LEGACY_ALIAS else handle, 0)
        with self._lock:
            if handle in self._gone:
                raise cuda_error(709)
            for stream in self._streams:
                if stream.handle == handle:
                    return stream
        raise cuda_error(400)

    def destroy_stream(self, stream: Stream) -> None:
        with self._lock:
            self._stream(stream)
            if self._streams.pop(stream, None) is None:
                raise cuda_error(400)  # a default stream

    # ---- work ----

    def launch(self, name: str, duration_ns: int, stream: Stream | None = None) -> None:
        """Enqueues work of a known length."""
        if duration_ns < 0:
            raise cuda_error(1)
        target = stream or self.default_stream()
        with self._lock:
            state = self._stream(target)
            refused, code = self._mishaps.pop(0) if self._mishaps else (False, 0)
            if refused:
                raise cuda_error(code)
            if state.capture is not None:
                state.capture.add(state, name, duration_ns)
                return
            self._run(name, duration_ns, target, state, code)

    def refuse_next_launch(self, code: int = 701) -> None:
        """The next launch raises this error, and nothing else is wrong."""
        self._mishaps.append((True, code))

    def fault_next_launch(self, code: int = 700) -> None:
        """The next launch is accepted, and ends in this error, which then sticks."""
        self._mishaps.append((False, code))

    def wait_event(self, stream: Stream, event: int) -> None:
        """Makes a stream wait for an event."""
        with self._lock:
            state, awaited = self._stream(stream), self._event(event)
            if awaited.captured is not None:
                capture, frontier = awaited.captured
                if state.capture not in (None, capture):
                    raise cuda_error(902)
                capture.join(state, frontier)
                state.capture = capture
                return
            if state.capture is not None:
                state.capture.invalidated = True
                raise cuda_error(905)
            state.tail_ns = max(self._ready_ns(state), awaited.time_ns or 0)

    # ---- capture and graphs ----

    def begin_capture(self, stream: Stream) -> None:
        with self._lock:
            state = self._stream(stream)
            if state.kind is StreamKind.LEGACY:
                raise cuda_error(900)
            if state.capture is not None:
                raise cuda_error(401)
            state.capture = Capture(state)

    def end_capture(self, stream: Stream, name: str = "graph") -> MockGraph:
        """What was captured; raises if it was invalidated, and ends it then too."""
        with self._lock:
            state = self._stream(stream)
            capture = state.capture
            if capture is None:
                raise cuda_error(401)
            if capture.origin is not state:
                capture.invalidated = True
                raise cuda_error(903)
            for other in self._others():
                if other.capture is capture:
                    other.capture = None
            capture.finish()
            return MockGraph(
                name, state.device, tuple(capture.nodes), capture.records, self.graph_launch
            )

    def invalidate_capture(self, stream: Stream) -> None:
        """What a call that is not permitted in a capture does to it."""
        with self._lock:
            capture = self._stream(stream).capture
            if capture is None:
                raise cuda_error(401)
            capture.invalidated = True

    def capture_status(self, stream: Stream) -> CaptureStatus:
        with self._lock:
            # On the legacy stream beside a capturing one CUDA answers with error 906.
            capture = self._stream(stream, touching=False).capture or self._beside(stream)
        if capture is None:
            return CaptureStatus.NONE
        return CaptureStatus.INVALIDATED if capture.invalidated else CaptureStatus.ACTIVE

    def graph_launch(self, graph: MockGraph, stream: Stream | None = None) -> None:
        """Enqueues a graph: one entry of the ledger."""
        target = stream or self.default_stream(graph.device)
        with self._lock:
            state = self._stream(target)
            if state.capture is not None:
                state.capture.add(state, graph.name, graph.length_ns)
                return
            self._run(graph.name, graph.length_ns, target, state, 0)

    # ---- events ----

    def event_create(self, device: int, *, timing: bool = True) -> int:
        with self._lock:
            self._device(device)
            handle = next(self._handles)
            self._events[handle] = EventState(device, timing)
        return handle

    def event_record(self, event: int, stream: Stream) -> None:
        with self._lock:
            state, target = self._event(event), self._stream(stream)
            if state.device != target.device:
                raise cuda_error(400)
            if target.capture is not None:
                state.captured = target.capture, target.capture.record(target)
                return
            state.captured = None
            state.time_ns = max(self._ready_ns(target), self._clock())
            # Time passes on an idle stream too: what comes next starts no earlier.
            target.tail_ns = state.time_ns

    def event_query(self, event: int) -> bool:
        with self._lock:
            state = self._event(event)
            if state.captured is not None:
                raise cuda_error(907)
            return state.time_ns is None or self._clock() >= state.time_ns

    def event_elapsed_ns(self, start: int, stop: int) -> int:
        with self._lock:
            first, last = self._event(start), self._event(stop)
            start_ns, stop_ns = first.readable_ns(), last.readable_ns()
            if first.device != last.device:
                raise cuda_error(400)
            if self._clock() < max(start_ns, stop_ns):
                raise cuda_error(600)
        elapsed_ns = stop_ns - start_ns
        return as_the_real_api(elapsed_ns) if self._real_precision else elapsed_ns

    def event_destroy(self, event: int) -> None:
        with self._lock:
            self._event(event)
            del self._events[event]

    # ---- memory ----

    def malloc(self, size_bytes: int, device: int = 0) -> int:
        """Takes device memory; its address.  Raises cudaErrorMemoryAllocation past the capacity."""
        with self._lock:
            address = next(self._addresses)
            self._device(device).take(size_bytes, address)
        return address

    def pool(self, device: int = 0) -> CachingPool:
        """The caching pool of a device; it is made when it is first asked for."""
        with self._lock:
            self._device(device)
            return self._pools.setdefault(device, CachingPool(self, device))

    @property
    def pooled_devices(self) -> frozenset[int]:
        """The devices whose pool somebody has asked for."""
        return frozenset(self._pools)

    def free(self, address: int) -> None:
        with self._lock:
            if not any(device.give_back(address) for device in self._devices):
                raise cuda_error(1)

    def memory(self, device: int) -> tuple[int, int]:
        """(used, total) in bytes."""
        with self._lock:
            state = self._device(device)
            return state.used_bytes, state.capacity_bytes

    # ---- misfortunes ----

    def reset_device(self, device: int = 0) -> None:
        """What cudaDeviceReset does: the context goes, with all that was made in it.

        Handles from before give error 709 from now on; new ones can be made.
        """
        with self._lock:
            state = self._device(device)
            streams = [stream for stream in self._streams if stream.device == device]
            events = [key for key, event in self._events.items() if event.device == device]
            self._gone.update(stream.handle for stream in streams)
            self._gone.update(events)
            for stream in streams:
                del self._streams[stream]
            for key in events:
                del self._events[key]
            for mine in [key for key in self._per_thread if key[0] == device]:
                del self._per_thread[mine]
            state.renew()
            self._pools.pop(device, None)

    def lose_device(self, device: int = 0) -> None:
        """The device falls off the bus: every call about it gives error 46."""
        with self._lock:
            self._device(device).lost = True

    def end(self) -> None:
        """The driver shuts down, as at the end of a process: every call gives error 4."""
        self._ended = True

    # ---- within the lock ----

    def _run(
        self, name: str, duration_ns: int, stream: Stream, state: StreamState, code: int
    ) -> None:
        start_ns = max(self._ready_ns(state), self._clock())
        state.tail_ns = start_ns + duration_ns
        if code:
            self._devices[state.device].fault = state.tail_ns, code
            return
        self.ledger.append(Ran(name, stream.handle, state.device, start_ns, state.tail_ns))

    def _ready_ns(self, state: StreamState) -> int:
        """When what a stream has been given and must wait for is done."""
        if state.kind is StreamKind.NON_BLOCKING:
            return state.tail_ns
        legacy = self._devices[state.device].legacy
        if state is not legacy:
            return max(state.tail_ns, legacy.tail_ns)
        return max(other.tail_ns for other in (legacy, *self._blocking(state.device)))

    def _others(self) -> list[StreamState]:
        """All streams but the legacy default ones."""
        return [*self._streams.values(), *self._per_thread.values()]

    def _blocking(self, device: int) -> list[StreamState]:
        """The streams that the legacy default stream of a device waits for."""
        return [
            state
            for state in self._others()
            if state.device == device and state.kind is not StreamKind.NON_BLOCKING
        ]

    def _beside(self, stream: Stream) -> Capture | None:
        """The capture that keeps the legacy default stream from being used."""
        if stream.handle != LEGACY_HANDLE:
            return None
        captures = (state.capture for state in self._blocking(stream.device))
        return next((capture for capture in captures if capture is not None), None)

    def _device(self, device: int) -> DeviceState:
        if self._ended:
            raise cuda_error(4)
        if not 0 <= device < self.device_count():
            raise cuda_error(101)
        state = self._devices[device]
        if state.lost:
            raise cuda_error(46)
        if state.fault is not None and self._clock() >= state.fault[0]:
            raise cuda_error(state.fault[1])
        return state

    def _stream(self, stream: Stream, *, touching: bool = True) -> StreamState:
        """``touching``: the stream is to be used, which on the legacy one a capture forbids."""
        device = self._device(stream.device)
        if stream.handle == LEGACY_HANDLE:
            capture = self._beside(stream) if touching else None
            if capture is not None:
                capture.invalidated = True
                raise cuda_error(906)
            return device.legacy
        if stream.handle == PER_THREAD_HANDLE:
            key = stream.device, threading.get_ident()
            return self._per_thread.setdefault(key, StreamState(key[0], 0, StreamKind.PER_THREAD))
        state = self._streams.get(stream)
        if state is None:
            raise cuda_error(709 if stream.handle in self._gone else 400)
        return state

    def _event(self, event: int) -> EventState:
        state = self._events.get(event)
        if state is None:
            raise cuda_error(4 if self._ended else 709 if event in self._gone else 400)
        self._device(state.device)
        return state
