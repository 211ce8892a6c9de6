"""The simulated GPU behind the backend's calls, and kernels to launch on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gpu_narration.cuda.backend import (
    CaptureStatus,
    CudaError,
    Device,
    MemoryInfo,
    Stream,
    StreamKind,
)
from gpu_narration.cuda.mock_gpu import MockGpu
from gpu_narration.cuda.streams import handle_of


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

    def host_clock_ns(self) -> int:
        """The clock that the simulated work is on."""
        return self.gpu._clock()

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
        try:
            handle, device = handle_of(stream)
        except TypeError:
            found = type(stream).__name__
            raise TypeError(f"not a stream of the simulated GPU: {found}") from None
        return self.gpu.find_stream(handle) if device is None else Stream(handle, device)

    def capture_status(self, stream: Stream) -> CaptureStatus:
        return self.gpu.capture_status(stream)

    def stream_flags(self, stream: Stream) -> StreamKind:
        return self.gpu.stream_kind(stream)

    def stream_create(self, device: int) -> Stream:
        return self.gpu.stream(device)

    def stream_destroy(self, stream: Stream) -> None:
        try:
            self.gpu.destroy_stream(stream)
        except CudaError as error:
            if not error.fatal:
                raise

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
        try:
            self.gpu.event_destroy(event)
        except CudaError as error:
            if not error.fatal:
                raise

    def memory_info(self, device: int) -> MemoryInfo:
        used, total = self.gpu.memory(device)
        return MemoryInfo(total, used, total - used, 0, "exact")
