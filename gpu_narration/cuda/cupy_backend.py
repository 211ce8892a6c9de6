"""The backend that stands on CuPy's runtime API.

Only raw handles go through here (``cupy.cuda.runtime``), no CuPy objects, so a
recorded event costs one C call and keeps nothing of the program alive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from gpu_narration.cuda.backend import (
    LEGACY_HANDLE,
    PER_THREAD_HANDLE,
    CaptureStatus,
    CudaError,
    Device,
    MemoryInfo,
    Stream,
    StreamKind,
)

T = TypeVar("T")

_SUCCESS, _NOT_READY, _CAPTURE_IMPLICIT = 0, 600, 906
#: cudaStreamNonBlocking
_NON_BLOCKING = 1


class CupyBackend:
    """Raises :class:`CudaError` when made on a machine without a usable GPU."""

    name = "cupy"
    simulated = False

    def __init__(self) -> None:
        import cupy

        self._cupy: Any = cupy
        self._runtime: Any = cupy.cuda.runtime
        if self._call(self._runtime.getDeviceCount) == 0:
            raise CudaError(100, "cudaErrorNoDevice", "no CUDA device is visible")

    def devices(self) -> Sequence[Device]:
        return [self._device(index) for index in range(self._call(self._runtime.getDeviceCount))]

    def stream_of(self, stream: object) -> Stream:
        device = int(self._call(self._runtime.getDevice))
        if stream is None:
            return Stream(int(self._cupy.cuda.get_current_stream().ptr), device)
        handle = getattr(stream, "ptr", stream)  # a CuPy stream, or a raw handle
        if isinstance(handle, bool) or not isinstance(handle, int):
            raise TypeError(f"not a CUDA stream: {type(stream).__name__}")
        owner = getattr(stream, "device_id", None)
        return Stream(handle, owner if isinstance(owner, int) and owner >= 0 else device)

    def capture_status(self, stream: Stream) -> CaptureStatus:
        try:
            capturing = self._call(self._runtime.streamIsCapturing, stream.handle)
        except CudaError as error:
            if error.code == _CAPTURE_IMPLICIT:
                return CaptureStatus.ACTIVE
            raise
        except RuntimeError:  # what CuPy makes of an invalidated capture
            return CaptureStatus.INVALIDATED
        return CaptureStatus.ACTIVE if capturing else CaptureStatus.NONE

    def stream_flags(self, stream: Stream) -> StreamKind:
        if stream.handle == LEGACY_HANDLE:
            return StreamKind.LEGACY
        if stream.handle == PER_THREAD_HANDLE:
            return StreamKind.PER_THREAD
        flags = int(self._call(self._runtime.streamGetFlags, stream.handle))
        return StreamKind.NON_BLOCKING if flags & _NON_BLOCKING else StreamKind.BLOCKING

    def stream_create(self, device: int) -> Stream:
        handle = self._on(device, self._runtime.streamCreateWithFlags, _NON_BLOCKING)
        return Stream(int(handle), device)

    def stream_destroy(self, stream: Stream) -> None:
        self._call(self._runtime.streamDestroy, stream.handle)

    def event_create(self, device: int) -> int:
        return int(self._on(device, self._runtime.eventCreateWithFlags, 0))

    def event_record(self, event: int, stream: Stream) -> None:
        self._call(self._runtime.eventRecord, event, stream.handle)

    def event_query(self, event: int) -> bool:
        status = int(self._call(self._runtime.eventQuery, event))  # a status, not an exception
        if status not in (_SUCCESS, _NOT_READY):
            raise CudaError(status, "cudaEventQuery")
        return status == _SUCCESS

    def event_elapsed_ns(self, start: int, stop: int, device: int) -> int:
        elapsed_ms = float(self._on(device, self._runtime.eventElapsedTime, start, stop))
        return round(elapsed_ms * 1e6)

    def event_destroy(self, event: int) -> None:
        self._call(self._runtime.eventDestroy, event)

    def memory_info(self, device: int) -> MemoryInfo:
        free, total = self._on(device, self._runtime.memGetInfo)
        return MemoryInfo(int(total), int(total - free), int(free), None, "exact")

    def _device(self, index: int) -> Device:
        properties = self._call(self._runtime.getDeviceProperties, index)
        raw = properties["uuid"]
        uuid = bytes(raw).hex() if isinstance(raw, (bytes, bytearray)) else str(raw)
        if len(uuid) == 32:
            uuid = f"{uuid[:8]}-{uuid[8:12]}-{uuid[12:16]}-{uuid[16:20]}-{uuid[20:]}"
        name = properties["name"]
        return Device(
            index,
            f"GPU-{uuid}",
            str(self._call(self._runtime.deviceGetPCIBusId, index)),
            name.decode() if isinstance(name, bytes) else str(name),
        )

    def _on(self, device: int, function: Callable[..., T], *args: object) -> T:
        """Calls with a device current, and makes the one before current again."""
        before = self._call(self._runtime.getDevice)
        if before == device:
            return self._call(function, *args)
        self._call(self._runtime.setDevice, device)
        try:
            return self._call(function, *args)
        finally:
            self._call(self._runtime.setDevice, before)

    def _call(self, function: Callable[..., T], *args: object) -> T:
        try:
            return function(*args)
        except self._runtime.CUDARuntimeError as error:
            name, _, meaning = str(error).partition(": ")
            raise CudaError(int(error.status), name, meaning) from error
