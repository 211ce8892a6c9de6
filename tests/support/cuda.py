"""A program's side of the driver API, and the fake library's levers, through ctypes."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_size_t, c_uint, c_uint64, c_void_p
from pathlib import Path
from typing import Any

from tests.support.native import fake_cuda

NON_BLOCKING, DISABLE_TIMING = 1, 2
CAPTURE_INVALIDATED = 901
CAPTURE_GLOBAL, CAPTURE_THREAD_LOCAL, CAPTURE_RELAXED = range(3)

_PROGRAM: dict[str, tuple[Any, ...]] = {
    "cuInit": (c_uint,),
    "cuDeviceGetCount": (POINTER(c_int),),
    "cuDevicePrimaryCtxRetain": (POINTER(c_void_p), c_int),
    "cuDevicePrimaryCtxRelease_v2": (c_int,),
    "cuDevicePrimaryCtxReset_v2": (c_int,),
    "cuCtxCreate_v2": (POINTER(c_void_p), c_uint, c_int),
    "cuCtxDestroy_v2": (c_void_p,),
    "cuCtxGetCurrent": (POINTER(c_void_p),),
    "cuCtxSetCurrent": (c_void_p,),
    "cuStreamCreate": (POINTER(c_void_p), c_uint),
    "cuStreamDestroy_v2": (c_void_p,),
    "cuStreamBeginCapture_v2": (c_void_p, c_int),
    "cuStreamEndCapture": (c_void_p, POINTER(c_void_p)),
    "cuStreamIsCapturing": (c_void_p, POINTER(c_int)),
    "cuEventCreate": (POINTER(c_void_p), c_uint),
    "cuThreadExchangeStreamCaptureMode": (POINTER(c_int),),
}
_LEVERS: dict[str, tuple[tuple[Any, ...], Any]] = {
    "fake_cuReset": ((c_int,), None),
    "fake_cuAdvance": ((c_int64,), None),
    "fake_cuLaunch": ((c_int64, c_int, c_void_p), c_int),
    "fake_cuInvalidateCapture": ((c_void_p,), c_int),
    "fake_cuCalls": ((c_char_p, c_uint64), c_uint64),
    "fake_cuForgetCalls": ((), None),
    "fake_cuFail": ((c_char_p, c_int, c_uint), c_int),
    "fake_cuForgetFailures": ((), None),
    "fake_cuSetVersion": ((c_int,), None),
    "fake_cuUse": ((c_int, c_size_t), None),
    "fake_cuLose": ((c_int, c_int), None),
    "fake_cuDeinitialize": ((), None),
    "fake_cuStale": ((), c_uint64),
}


class Driver:
    """What a program does with CUDA; every call must succeed."""

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self.library = ctypes.CDLL(self.path)
        for name, arguments in _PROGRAM.items():
            function = getattr(self.library, name)
            function.argtypes, function.restype = arguments, c_int

    def __call__(self, name: str, *args: object) -> None:
        status = getattr(self.library, name)(*args)
        assert status == 0, f"{name} gave {status}"

    def made(self, name: str, *args: object) -> int:
        """Calls what makes something; its handle."""
        handle = c_void_p()
        self(name, byref(handle), *args)
        assert handle.value is not None
        return handle.value

    def device_count(self) -> int:
        count = c_int(0)
        self("cuDeviceGetCount", byref(count))
        return count.value

    def use_device(self, device: int) -> int:
        """Makes the device's primary context current, as the runtime does; its handle."""
        context = self.made("cuDevicePrimaryCtxRetain", device)
        self("cuCtxSetCurrent", context)
        return context

    def current(self) -> int | None:
        handle = c_void_p()
        self("cuCtxGetCurrent", byref(handle))
        return handle.value

    def stream(self, device: int = 0, *, blocking: bool = False) -> int:
        """A stream on a device's primary context; what is current stays so."""
        before = self.current()
        self.use_device(device)
        handle = self.made("cuStreamCreate", 0 if blocking else NON_BLOCKING)
        self("cuCtxSetCurrent", before)
        return handle

    def begin_capture(self, stream: int, mode: int = CAPTURE_GLOBAL) -> None:
        self("cuStreamBeginCapture_v2", stream, mode)

    def end_capture(self, stream: int) -> None:
        """Of a capture that may have been invalidated."""
        graph = c_void_p()
        status = self.library.cuStreamEndCapture(stream, byref(graph))
        assert status in (0, CAPTURE_INVALIDATED), status

    def capture_status(self, stream: int) -> int:
        status = c_int(0)
        self("cuStreamIsCapturing", stream, byref(status))
        return status.value


class FakeDriver(Driver):
    """The fake library, with a machine of its own for each test."""

    def __init__(self, *flags: str, devices: int = 1) -> None:
        super().__init__(fake_cuda(*flags))
        for name, (arguments, result) in _LEVERS.items():
            function = getattr(self.library, name)
            function.argtypes, function.restype = arguments, result
        self.library.fake_cuForgetFailures()
        self.library.fake_cuReset(devices)
        self.library.fake_cuForgetCalls()

    def start(self) -> None:
        """What a program's first CUDA call does: initialises, and uses device 0."""
        self("cuInit", 0)
        self.use_device(0)

    def launch(self, stream: int, length_ns: int = 1000, fault: int = 0) -> None:
        self("fake_cuLaunch", length_ns, fault, stream)

    def advance(self, ns: int) -> None:
        self.library.fake_cuAdvance(ns)

    def calls(self, name: str | None = None, thread: int = 0) -> int:
        """How often a function (None: any of the driver's) was called."""
        return int(self.library.fake_cuCalls(name.encode() if name else None, thread))

    def fail(self, name: str, code: int, times: int = 1) -> None:
        self("fake_cuFail", name.encode(), code, times)

    def lose(self, device: int, code: int = 46) -> None:
        self.library.fake_cuLose(device, code)

    def stale(self) -> int:
        """How often a handle was used after its object or context was gone."""
        return int(self.library.fake_cuStale())
