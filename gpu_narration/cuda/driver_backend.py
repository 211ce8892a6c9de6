"""The backend that stands on the driver API: it times the streams of any framework.

It uses the contexts of the program and makes none, and it does not initialise
CUDA for it: until the program does, the answer is that it has no context.  On the
caller's path nothing synchronises, and nothing touches a capture under way.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from ctypes import byref, c_float, c_int, c_size_t, c_uint, c_void_p, create_string_buffer
from typing import Any

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
from gpu_narration.cuda.libcuda import (
    CAPTURE_IMPLICIT,
    INVALID_HANDLE,
    NOT_READY,
    SUCCESS,
    DriverUnavailableError,
    LibCuda,
    check_visible,
)
from gpu_narration.cuda.streams import current_of_frameworks, handle_of

#: CU_STREAM_NON_BLOCKING, CU_EVENT_DEFAULT
_NON_BLOCKING, _EVENT_DEFAULT = 1, 0
_DEFAULTS = (LEGACY_HANDLE, PER_THREAD_HANDLE)
#: By CUstreamCaptureStatus.
_CAPTURE_STATUS = {
    0: CaptureStatus.NONE,
    1: CaptureStatus.ACTIVE,
    2: CaptureStatus.INVALIDATED,
}
_NAME_BYTES, _PCI_BYTES, _UUID_BYTES = 256, 32, 16


class DriverBackend:
    """Raises :class:`DriverUnavailableError` when made where it can never work.

    initialise: initialise CUDA now, for a process that has no program to do it.
    library: the driver's library, if not the one that the system finds.
    """

    name = "driver"
    simulated = False

    def __init__(
        self, *, initialise: bool = False, library: str | os.PathLike[str] | None = None
    ) -> None:
        check_visible()
        self._cuda = LibCuda(library)
        self._contexts = Contexts(self._cuda)
        #: Our events and streams, and the context each was made in.
        self._events: dict[int, Context] = {}
        self._streams: dict[int, Context] = {}
        if initialise:
            status = self._cuda.cuInit(0)
            if status != SUCCESS:
                raise DriverUnavailableError(
                    f"CUDA cannot be initialised: {self._cuda.error(status)}"
                )
        if self._contexts.initialised() and self._contexts.device_count() == 0:
            raise DriverUnavailableError("no CUDA device is visible")

    @property
    def version(self) -> int:
        """The newest CUDA that the driver supports, as 1000 * major + 10 * minor."""
        return self._cuda.version

    def devices(self) -> Sequence[Device]:
        """None are known before the program has initialised CUDA."""
        return [self._device(index) for index in range(self._contexts.device_count())]

    def stream_of(self, stream: object) -> Stream:
        """As in the protocol; None is the current stream of PyTorch or CuPy where one
        is at work, else the legacy default stream: CUDA itself has no current stream.
        """
        if isinstance(stream, Stream):
            return stream
        self._contexts.check_process()
        if stream is None and self._contexts.initialised():
            stream = current_of_frameworks()
        handle, device = (LEGACY_HANDLE, None) if stream is None else handle_of(stream)
        if handle not in _DEFAULTS:
            return Stream(handle, self._contexts.of_stream(handle).device)
        return Stream(handle, self._contexts.current().device if device is None else device)

    def capture_status(self, stream: Stream) -> CaptureStatus:
        capturing = c_int(0)
        ask, handle = self._cuda.cuStreamIsCapturing, stream.handle
        if handle in _DEFAULTS:
            status = self._on(stream, ask, handle, byref(capturing))
        else:  # on the caller's path: without detours
            self._contexts.check(self._contexts.of_known(stream))
            status = ask(handle, byref(capturing))
        if status == CAPTURE_IMPLICIT:
            return CaptureStatus.ACTIVE
        if status != SUCCESS:
            raise self._cuda.error(status)
        return _CAPTURE_STATUS.get(capturing.value, CaptureStatus.UNKNOWN)

    def stream_flags(self, stream: Stream) -> StreamKind:
        if stream.handle == LEGACY_HANDLE:
            return StreamKind.LEGACY
        if stream.handle == PER_THREAD_HANDLE:
            return StreamKind.PER_THREAD
        flags = c_uint(0)
        self._cuda.check(self._on(stream, self._cuda.cuStreamGetFlags, stream.handle, byref(flags)))
        return StreamKind.NON_BLOCKING if flags.value & _NON_BLOCKING else StreamKind.BLOCKING

    def stream_create(self, device: int) -> Stream:
        context = self._contexts.of_device(device)
        handle = c_void_p()
        with self._contexts.inside(context), self._cuda.relaxed():
            self._cuda.check(self._cuda.cuStreamCreate(byref(handle), _NON_BLOCKING))
        self._streams[_made(handle)] = context
        self._contexts.remember(_made(handle), context)
        return Stream(_made(handle), device)

    def stream_destroy(self, stream: Stream) -> None:
        self._contexts.forget(stream.handle)
        self._destroy(self._streams, stream.handle, self._cuda.cuStreamDestroy_v2)

    def event_create(self, device: int) -> int:
        context = self._contexts.of_device(device)
        handle = c_void_p()
        with self._contexts.inside(context), self._cuda.relaxed():
            self._cuda.check(self._cuda.cuEventCreate(byref(handle), _EVENT_DEFAULT))
        self._events[_made(handle)] = context
        return _made(handle)

    def event_record(self, event: int, stream: Stream) -> None:
        # On the caller's path: the context is asked once for both where it is the same.
        context = self._events.get(event)
        if stream.handle in _DEFAULTS or context is not self._contexts.of_known(stream):
            self._alive(self._events, event)
            self._cuda.check(self._on(stream, self._cuda.cuEventRecord, event, stream.handle))
            return
        self._contexts.check(context)
        status = self._cuda.cuEventRecord(event, stream.handle)
        if status != SUCCESS:
            raise self._cuda.error(status)

    def event_query(self, event: int) -> bool:
        self._alive(self._events, event)
        with self._cuda.relaxed():
            status = self._cuda.cuEventQuery(event)
        if status == NOT_READY:
            return False
        self._cuda.check(status)
        return True

    def event_elapsed_ns(self, start: int, stop: int, device: int) -> int:
        del device  # the events know their context
        context = self._alive(self._events, start)
        if self._alive(self._events, stop) != context:
            raise self._cuda.error(INVALID_HANDLE)
        elapsed_ms = c_float(0)
        with self._contexts.inside(context), self._cuda.relaxed():
            self._cuda.check(self._cuda.cuEventElapsedTime(byref(elapsed_ms), start, stop))
        return round(elapsed_ms.value * 1e6)

    def event_destroy(self, event: int) -> None:
        self._destroy(self._events, event, self._cuda.cuEventDestroy_v2)

    def memory_info(self, device: int) -> MemoryInfo:
        context = self._contexts.of_device(device)
        free, total = c_size_t(0), c_size_t(0)
        with self._contexts.inside(context), self._cuda.relaxed():
            self._cuda.check(self._cuda.cuMemGetInfo_v2(byref(free), byref(total)))
        return MemoryInfo(total.value, total.value - free.value, free.value, None, "exact")

    def _on(self, stream: Stream, function: Any, *args: object) -> int:
        """Calls about a stream whose context lives; the status."""
        if stream.handle not in _DEFAULTS:
            self._contexts.check(self._contexts.of_known(stream))
            return int(function(*args))
        # The handle means the stream of the current context.
        context = self._contexts.of_device(stream.device)
        if self._contexts.is_current(context):
            return int(function(*args))
        with self._contexts.inside(context):
            return int(function(*args))

    def _alive(self, made: dict[int, Context], handle: int) -> Context:
        """The context of what we made, which lives; raises where it does not."""
        context = made.get(handle)
        if context is None:  # destroyed: to the driver its handle may be anything by now
            raise self._cuda.error(INVALID_HANDLE)
        self._contexts.check(context)
        return context

    def _destroy(self, made: dict[int, Context], handle: int, destroy: Any) -> None:
        context = made.pop(handle, None)
        if context is None:
            raise self._cuda.error(INVALID_HANDLE)
        try:
            self._contexts.check(context)
            with self._contexts.inside(context), self._cuda.relaxed():
                self._cuda.check(destroy(handle))
        except CudaError as error:
            # With its context it is gone already.
            if not error.fatal and not isinstance(error, NoContextError):
                raise

    def _device(self, index: int) -> Device:
        name, pci = create_string_buffer(_NAME_BYTES), create_string_buffer(_PCI_BYTES)
        uuid = create_string_buffer(_UUID_BYTES)
        self._cuda.check(self._cuda.cuDeviceGetName(name, _NAME_BYTES, index))
        self._cuda.check(self._cuda.cuDeviceGetPCIBusId(pci, _PCI_BYTES, index))
        self._cuda.check(self._cuda.cuDeviceGetUuid(uuid, index))
        hexed = uuid.raw.hex()
        groups = (hexed[:8], hexed[8:12], hexed[12:16], hexed[16:20], hexed[20:])
        return Device(
            index,
            "GPU-" + "-".join(groups),
            pci.value.decode(errors="replace"),
            name.value.decode(errors="replace"),
        )


def _made(handle: c_void_p) -> int:
    assert handle.value is not None, "a successful call gives a handle"
    return handle.value
