"""The part of CuPy that the cupy backend calls, on the fake driver.

Named and shaped as in CuPy 14: ``cupy.cuda.runtime`` raises CUDARuntimeError with
``status``, and a plain RuntimeError for an invalidated capture.
"""

from __future__ import annotations

from collections.abc import Callable
from ctypes import byref, c_float, c_int, c_size_t, c_uint, c_void_p, create_string_buffer
from types import SimpleNamespace
from typing import Any

from tests.support.cuda import FakeDriver


class CUDARuntimeError(RuntimeError):
    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"cudaError{status}: what happened")


class Runtime:
    """cupy.cuda.runtime; the device current to a thread is that of its context."""

    CUDARuntimeError = CUDARuntimeError

    def __init__(self, fake: FakeDriver) -> None:
        self._fake = fake
        fake.library.cuEventRecord.argtypes = (c_void_p, c_void_p)
        fake.library.cuEventQuery.argtypes = (c_void_p,)
        fake.library.cuEventDestroy_v2.argtypes = (c_void_p,)
        fake.library.cuEventElapsedTime.argtypes = (c_void_p, c_void_p, c_void_p)
        fake.library.cuStreamGetFlags.argtypes = (c_void_p, c_void_p)

    def getDeviceCount(self) -> int:  # noqa: N802 - CuPy's names
        self._status(self._fake.library.cuInit(0))
        return self._int("cuDeviceGetCount")

    def getDevice(self) -> int:  # noqa: N802
        return 0 if self._fake.current() is None else self._int("cuCtxGetDevice")

    def setDevice(self, device: int) -> None:  # noqa: N802
        if not 0 <= device < self.getDeviceCount():
            raise CUDARuntimeError(101)
        self._fake.use_device(device)

    def streamIsCapturing(self, stream: int) -> bool:  # noqa: N802
        status = c_int(0)
        self._status(self._fake.library.cuStreamIsCapturing(stream, byref(status)))
        if status.value == 2:
            raise RuntimeError("an error has invalidated the capture sequence")
        return status.value == 1

    def streamGetFlags(self, stream: int) -> int:  # noqa: N802
        flags = c_uint(0)
        self._status(self._fake.library.cuStreamGetFlags(stream, byref(flags)))
        return flags.value

    def streamCreateWithFlags(self, flags: int) -> int:  # noqa: N802
        return self._made(lambda out: self._fake.library.cuStreamCreate(out, flags))

    def streamDestroy(self, stream: int) -> None:  # noqa: N802
        self._status(self._fake.library.cuStreamDestroy_v2(stream))

    def eventCreateWithFlags(self, flags: int) -> int:  # noqa: N802
        return self._made(lambda out: self._fake.library.cuEventCreate(out, flags))

    def eventDestroy(self, event: int) -> None:  # noqa: N802
        self._status(self._fake.library.cuEventDestroy_v2(event))

    def eventRecord(self, event: int, stream: int) -> None:  # noqa: N802
        self._status(self._fake.library.cuEventRecord(event, stream))

    def eventQuery(self, event: int) -> int:  # noqa: N802
        return int(self._fake.library.cuEventQuery(event))

    def eventElapsedTime(self, start: int, stop: int) -> float:  # noqa: N802
        elapsed = c_float(0)
        self._status(self._fake.library.cuEventElapsedTime(byref(elapsed), start, stop))
        return elapsed.value

    def memGetInfo(self) -> tuple[int, int]:  # noqa: N802
        free, total = c_size_t(0), c_size_t(0)
        self._status(self._fake.library.cuMemGetInfo_v2(byref(free), byref(total)))
        return free.value, total.value

    def getDeviceProperties(self, device: int) -> dict[str, object]:  # noqa: N802
        uuid = create_string_buffer(16)
        self._status(self._fake.library.cuDeviceGetUuid(uuid, device))
        return {"uuid": uuid.raw, "name": b"Fake GPU"}

    def deviceGetPCIBusId(self, device: int) -> str:  # noqa: N802
        return f"0000:{device:02x}:00.0"

    def _made(self, make: Callable[[Any], int]) -> int:
        """As the runtime does, with a context where there is none."""
        current = self._fake.current()
        if current is None or self._int("cuCtxGetDevice", check=False) < 0:
            self._fake.use_device(0)
        handle = c_void_p()
        self._status(make(byref(handle)))
        assert handle.value is not None
        return handle.value

    def _int(self, name: str, *, check: bool = True) -> int:
        value = c_int(-1)
        status = getattr(self._fake.library, name)(byref(value))
        if check:
            self._status(status)
        return value.value

    def _status(self, status: int) -> None:
        if status != 0:
            raise CUDARuntimeError(status)


def cupy_on(fake: FakeDriver) -> Any:
    """A module ``cupy`` whose current stream is the legacy default one."""
    runtime = Runtime(fake)
    null = SimpleNamespace(ptr=0, device_id=-1)
    return SimpleNamespace(cuda=SimpleNamespace(runtime=runtime, get_current_stream=lambda: null))
