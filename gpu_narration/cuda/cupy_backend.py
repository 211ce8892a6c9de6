"""The backend that stands on CuPy's runtime API: the cheaper one where CuPy is loaded.

Only raw handles go through here (``cupy.cuda.runtime``), no CuPy objects, so a
recorded event costs one C call and keeps nothing of the program alive.  What the
runtime API lacks comes from the driver: whether a context lives, and calls that
leave captures alone.  As CuPy itself does, it makes the context of the current
device where there is none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from gpu_narration.cuda.backend import (
    LEGACY_HANDLE,
    PER_THREAD_HANDLE,
    CaptureStatus,
    CudaError,
    Device,
    MemoryInfo,
    NoContextError,
    Stream,
    StreamKind,
)
from gpu_narration.cuda.contexts import Context, Contexts
from gpu_narration.cuda.libcuda import DriverUnavailableError, LibCuda
from gpu_narration.cuda.streams import handle_of

T = TypeVar("T")

_SUCCESS, _NO_DEVICE, _INVALID_HANDLE = 0, 100, 400
_NOT_READY, _CAPTURE_IMPLICIT = 600, 906
_DEFAULTS = (LEGACY_HANDLE, PER_THREAD_HANDLE)
#: cudaStreamNonBlocking
_NON_BLOCKING = 1


class CupyBackend:
    """Raises :class:`CudaError` when made on a machine without a usable GPU.

    library: the driver's library, if not the one that the system finds.
    """

    name = "cupy"
    simulated = False

    def __init__(self, *, library: str | os.PathLike[str] | None = None) -> None:
        import cupy

        self._cupy: Any = cupy
        self._runtime: Any = cupy.cuda.runtime
        if self._call(self._runtime.getDeviceCount) == 0:
            raise CudaError(_NO_DEVICE, "cudaErrorNoDevice", "no CUDA device is visible")
        try:
            self._cuda = LibCuda(library)
        except DriverUnavailableError as reason:
            raise CudaError(_NO_DEVICE, "cudaErrorNoDevice", str(reason)) from reason
        self._contexts = Contexts(self._cuda)
        #: Our events and streams, and the context each was made in.
        self._events: dict[int, Context] = {}
        self._streams: dict[int, Context] = {}

    def devices(self) -> Sequence[Device]:
        return [self._device(index) for index in range(self._call(self._runtime.getDeviceCount))]

    def stream_of(self, stream: object) -> Stream:
        if isinstance(stream, Stream):
            return stream
        self._contexts.check_process()
        if stream is None:
            # Of any thread: what CuPy launches on if it is not told.
            stream = self._call(self._cupy.cuda.get_current_stream)
        handle, device = handle_of(stream)
        if handle not in _DEFAULTS:
            return Stream(handle, self._contexts.of_stream(handle).device)
        if device is None:
            device = int(self._call(self._runtime.getDevice))
        return Stream(handle, device)

    def capture_status(self, stream: Stream) -> CaptureStatus:
        try:
            capturing = self._on_stream(stream, self._runtime.streamIsCapturing, stream.handle)
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
        flags = int(self._on_stream(stream, self._runtime.streamGetFlags, stream.handle))
        return StreamKind.NON_BLOCKING if flags & _NON_BLOCKING else StreamKind.BLOCKING

    def stream_create(self, device: int) -> Stream:
        with self._cuda.relaxed():
            handle = int(self._on(device, self._runtime.streamCreateWithFlags, _NON_BLOCKING))
        context = self._contexts.of_device(device)
        self._streams[handle] = context
        self._contexts.remember(handle, context)
        return Stream(handle, device)

    def stream_destroy(self, stream: Stream) -> None:
        self._contexts.forget(stream.handle)
        self._destroy(self._streams, stream.handle, self._runtime.streamDestroy)

    def event_create(self, device: int) -> int:
        with self._cuda.relaxed():
            event = int(self._on(device, self._runtime.eventCreateWithFlags, 0))
        self._events[event] = self._contexts.of_device(device)
        return event

    def event_record(self, event: int, stream: Stream) -> None:
        self._alive(self._events, event)
        self._on_stream(stream, self._runtime.eventRecord, event, stream.handle)

    def event_query(self, event: int) -> bool:
        self._alive(self._events, event)
        with self._cuda.relaxed():
            status = int(self._call(self._runtime.eventQuery, event))  # a status, no exception
        if status not in (_SUCCESS, _NOT_READY):
            raise self._cuda.error(status)
        return status == _SUCCESS

    def event_elapsed_ns(self, start: int, stop: int, device: int) -> int:
        if self._alive(self._events, start) != self._alive(self._events, stop):
            raise self._cuda.error(_INVALID_HANDLE)
        with self._cuda.relaxed():
            elapsed_ms = float(self._on(device, self._runtime.eventElapsedTime, start, stop))
        return round(elapsed_ms * 1e6)

    def event_destroy(self, event: int) -> None:
        self._destroy(self._events, event, self._runtime.eventDestroy)

    def memory_info(self, device: int) -> MemoryInfo:
        with self._cuda.relaxed():
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

    def _alive(self, made: dict[int, Context], handle: int) -> Context:
        """The context of what we made, which lives; raises where it does not."""
        context = made.get(handle)
        if context is None:  # destroyed: to CUDA its handle may be anything by now
            raise self._cuda.error(_INVALID_HANDLE)
        self._contexts.check(context)
        return context

    def _destroy(
        self, made: dict[int, Context], handle: int, destroy: Callable[[int], object]
    ) -> None:
        context = made.pop(handle, None)
        if context is None:
            raise self._cuda.error(_INVALID_HANDLE)
        try:
            self._contexts.check(context)
            with self._cuda.relaxed():
                self._on(context.device, destroy, handle)
        except CudaError as error:
            # With its context it is gone already.
            if not error.fatal and not isinstance(error, NoContextError):
                raise

    def _on_stream(self, stream: Stream, function: Callable[..., T], *args: object) -> T:
        """Calls about a stream whose context lives."""
        if stream.handle not in _DEFAULTS:
            self._contexts.check(self._contexts.of_known(stream))
            return self._call(function, *args)
        # The handle means the stream of the current device.
        return self._on(stream.device, function, *args)

    def _on(self, device: int, function: Callable[..., T], *args: object) -> T:
        """Calls with a device's context current, and what was before afterwards.

        Not by cudaSetDevice where there is a context: setting back the device of a
        thread that has none, say the watcher, would make one on device 0.
        """
        try:
            context = self._contexts.of_device(device)
        except NoContextError:
            if self._call(self._runtime.getDevice) != device:
                raise
            return self._call(function, *args)  # the runtime makes it
        if self._contexts.is_current(context):
            return self._call(function, *args)
        with self._contexts.inside(context):
            return self._call(function, *args)

    def _call(self, function: Callable[..., T], *args: object) -> T:
        try:
            return function(*args)
        except self._runtime.CUDARuntimeError as error:
            name, _, meaning = str(error).partition(": ")
            raise CudaError(int(error.status), name, meaning) from error
