"""A simulated GPU: streams, events, kernels of known length, memory, CUDA's errors.

Time is virtual: each stream has a tail, the time at which all work enqueued so
far ends.  A launch moves the tail by the kernel's length; an event recorded on
the stream takes the tail as its time and is finished once the host's clock has
passed it.  The host's clock is ``time.monotonic_ns`` unless a test gives its own,
so a simulated program overlaps host and device as a real one does.

The simulator keeps a ledger of what truly ran when, which tests compare with
what was measured through events.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gpu_narration.cuda.backend import (
    LEGACY_HANDLE,
    CaptureStatus,
    CudaError,
    Device,
    MemoryInfo,
    Stream,
    StreamKind,
)

GIB = 1 << 30

#: Names and numbers as in CUDA's driver_types.h (cudaError).
_ERRORS = {
    1: ("cudaErrorInvalidValue", "an argument is not in its allowed range"),
    2: ("cudaErrorMemoryAllocation", "out of memory"),
    101: ("cudaErrorInvalidDevice", "no such device"),
    400: ("cudaErrorInvalidResourceHandle", "the handle is not valid"),
    600: ("cudaErrorNotReady", "the work has not finished"),
    900: ("cudaErrorStreamCaptureUnsupported", "not permitted while the stream is capturing"),
}


def cuda_error(code: int) -> CudaError:
    """The error CUDA gives for a number."""
    name, meaning = _ERRORS[code]
    return CudaError(code, name, meaning)


@dataclass(frozen=True, slots=True)
class Ran:
    """One entry of the ledger: what ran on a stream, and when."""

    name: str
    stream: int
    device: int
    start_ns: int
    end_ns: int


@dataclass(slots=True)
class _StreamState:
    device: int
    tail_ns: int
    capturing: bool = False


@dataclass(slots=True)
class _EventState:
    device: int
    time_ns: int | None = None
    stream: int | None = None


@dataclass(slots=True)
class _DeviceState:
    capacity_bytes: int
    used_bytes: int = 0
    allocations: dict[int, int] = field(default_factory=dict)


class MockGpu:
    """The simulated machine; safe to use from several threads.

    ``reserved_bytes`` of each device is taken by the imagined driver.
    """

    def __init__(
        self,
        *,
        devices: int = 1,
        memory_bytes: int = 24 * GIB,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._handles = itertools.count(7)
        self._addresses = itertools.count(0x7F00_0000_0000, 0x1_0000_0000)
        self._devices = [_DeviceState(memory_bytes) for _ in range(devices)]
        # By handle and device: every device has a legacy default stream of handle 0.
        self._streams = {Stream(0, device): _StreamState(device, 0) for device in range(devices)}
        self._events: dict[int, _EventState] = {}
        self.ledger: list[Ran] = []

    def device_count(self) -> int:
        return len(self._devices)

    def default_stream(self, device: int = 0) -> Stream:
        """The legacy default stream of a device."""
        self._device(device)
        return Stream(0, device)

    def stream(self, device: int = 0) -> Stream:
        """Makes a stream."""
        self._device(device)
        with self._lock:
            stream = Stream(next(self._handles), device)
            self._streams[stream] = _StreamState(device, self._clock())
        return stream

    def destroy_stream(self, stream: Stream) -> None:
        with self._lock:
            if stream.handle == 0 or self._streams.pop(stream, None) is None:
                raise cuda_error(400)

    def launch(self, name: str, duration_ns: int, stream: Stream | None = None) -> None:
        """Enqueues work of a known length."""
        if duration_ns < 0:
            raise cuda_error(1)
        target = stream or self.default_stream()
        with self._lock:
            state = self._stream(target)
            if state.capturing:
                return  # recorded into the graph, nothing runs
            start = max(state.tail_ns, self._clock())
            state.tail_ns = start + duration_ns
            self.ledger.append(Ran(name, target.handle, state.device, start, state.tail_ns))

    def wait_event(self, stream: Stream, event: int) -> None:
        """Makes a stream wait for an event."""
        with self._lock:
            state = self._stream(stream)
            state.tail_ns = max(state.tail_ns, self._event(event).time_ns or 0)

    def synchronize(self, stream: Stream | None = None) -> None:
        """Blocks the caller until the stream (or everything) is done."""
        with self._lock:
            states = self._streams.values() if stream is None else [self._stream(stream)]
            done = max(state.tail_ns for state in states)
        while (left := done - self._clock()) > 0:
            time.sleep(left / 1e9)

    def begin_capture(self, stream: Stream) -> None:
        with self._lock:
            self._stream(stream).capturing = True

    def end_capture(self, stream: Stream) -> None:
        with self._lock:
            self._stream(stream).capturing = False

    def malloc(self, size_bytes: int, device: int = 0) -> int:
        """Takes device memory; its address.  Raises cudaErrorMemoryAllocation past the capacity."""
        state = self._device(device)
        with self._lock:
            if size_bytes < 0:
                raise cuda_error(1)
            if state.used_bytes + size_bytes > state.capacity_bytes:
                raise cuda_error(2)
            address = next(self._addresses)
            state.used_bytes += size_bytes
            state.allocations[address] = size_bytes
        return address

    def free(self, address: int) -> None:
        with self._lock:
            for state in self._devices:
                if address in state.allocations:
                    state.used_bytes -= state.allocations.pop(address)
                    return
        raise cuda_error(1)

    # What the backend asks.

    def is_capturing(self, stream: Stream) -> bool:
        with self._lock:
            return self._stream(stream).capturing

    def event_create(self, device: int) -> int:
        self._device(device)
        with self._lock:
            handle = next(self._handles)
            self._events[handle] = _EventState(device)
        return handle

    def event_record(self, event: int, stream: Stream) -> None:
        with self._lock:
            state, target = self._event(event), self._stream(stream)
            if target.capturing:
                raise cuda_error(900)
            if state.device != target.device:
                raise cuda_error(400)
            state.time_ns = max(target.tail_ns, self._clock())
            state.stream = stream.handle
            # Time passes on an idle stream too: what comes next starts no earlier.
            target.tail_ns = state.time_ns

    def event_query(self, event: int) -> bool:
        with self._lock:
            time_ns = self._event(event).time_ns
            return time_ns is None or self._clock() >= time_ns

    def event_elapsed_ns(self, start: int, stop: int) -> int:
        with self._lock:
            first, last = self._event(start), self._event(stop)
            if first.time_ns is None or last.time_ns is None or first.device != last.device:
                raise cuda_error(400)
            if self._clock() < max(first.time_ns, last.time_ns):
                raise cuda_error(600)
            return last.time_ns - first.time_ns

    def event_destroy(self, event: int) -> None:
        with self._lock:
            if self._events.pop(event, None) is None:
                raise cuda_error(400)

    def memory(self, device: int) -> tuple[int, int]:
        """(used, total) in bytes."""
        state = self._device(device)
        with self._lock:
            return state.used_bytes, state.capacity_bytes

    def _device(self, device: int) -> _DeviceState:
        if not 0 <= device < len(self._devices):
            raise cuda_error(101)
        return self._devices[device]

    def _stream(self, stream: Stream) -> _StreamState:
        state = self._streams.get(stream)
        if state is None:
            raise cuda_error(400)
        return state

    def _event(self, event: int) -> _EventState:
        state = self._events.get(event)
        if state is None:
            raise cuda_error(400)
        return state


@dataclass(frozen=True, slots=True)
class MockKernel:
    """A kernel that exists only as a name and a length.

    ``duration_ns`` is how long one launch runs, or a function of (grid, block,
    args) that tells.
    """

    name: str
    duration_ns: int | Callable[[tuple[int, ...], tuple[int, ...], Sequence[object]], int]

    def length_ns(
        self, grid: tuple[int, ...], block: tuple[int, ...], args: Sequence[object]
    ) -> int:
        if callable(self.duration_ns):
            return self.duration_ns(grid, block, args)
        return self.duration_ns


class MockBackend:
    """The simulator behind the backend's calls."""

    name = "mock"
    simulated = True

    def __init__(self, gpu: MockGpu | None = None) -> None:
        self.gpu = gpu if gpu is not None else MockGpu()

    def devices(self) -> Sequence[Device]:
        return [
            Device(
                index, f"GPU-00000000-0000-0000-0000-{index:012x}", f"0000:{index:02x}:00.0",
                "Simulated GPU",
            )
            for index in range(self.gpu.device_count())
        ]  # fmt: skip

    def stream_of(self, stream: object) -> Stream:
        if stream is None:
            return self.gpu.default_stream()
        if isinstance(stream, Stream):
            return stream
        raise TypeError(f"not a stream of the simulated GPU: {type(stream).__name__}")

    def capture_status(self, stream: Stream) -> CaptureStatus:
        return CaptureStatus.ACTIVE if self.gpu.is_capturing(stream) else CaptureStatus.NONE

    def stream_flags(self, stream: Stream) -> StreamKind:
        self.gpu.is_capturing(stream)  # raises for a stream that is none
        return StreamKind.LEGACY if stream.handle == LEGACY_HANDLE else StreamKind.NON_BLOCKING

    def stream_create(self, device: int) -> Stream:
        return self.gpu.stream(device)

    def stream_destroy(self, stream: Stream) -> None:
        self.gpu.destroy_stream(stream)

    def event_create(self, device: int) -> int:
        return self.gpu.event_create(device)

    def event_record(self, event: int, stream: Stream) -> None:
        self.gpu.event_record(event, stream)

    def event_query(self, event: int) -> bool:
        return self.gpu.event_query(event)

    def event_elapsed_ns(self, start: int, stop: int, device: int) -> int:
        del device  # the simulator has no current device to switch
        return self.gpu.event_elapsed_ns(start, stop)

    def event_destroy(self, event: int) -> None:
        self.gpu.event_destroy(event)

    def memory_info(self, device: int) -> MemoryInfo:
        used, total = self.gpu.memory(device)
        return MemoryInfo(total, used, total - used, 0, "exact")
