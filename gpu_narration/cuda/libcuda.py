"""The driver API through ctypes: the library, its functions, its errors.

ctypes and not ``cuda.bindings``: thirty functions with plain arguments need no
package, and bindings of one CUDA version would have to match the driver and the
program's own bindings.  Functions are looked up by their plain names, with the
suffix that ``cuda.h`` gives them, which is what the program's libraries call.

Every call lets go of the GIL: the driver may wait for a callback of the program
that needs it.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char_p, c_float, c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from typing import Any

from gpu_narration.cuda.backend import CudaError, NoContextError

LIBRARY = "libcuda.so.1"
VISIBLE_VARIABLE = "CUDA_VISIBLE_DEVICES"
#: CUDA 11.0: the oldest driver whose functions these are.
OLDEST_VERSION = 11_000

SUCCESS, NOT_INITIALIZED, NO_DEVICE, INVALID_DEVICE = 0, 3, 100, 101
INVALID_CONTEXT, INVALID_HANDLE, NOT_READY, CONTEXT_IS_DESTROYED = 201, 400, 600, 709
CAPTURE_IMPLICIT = 906

#: CU_STREAM_CAPTURE_MODE_RELAXED
_RELAXED = 2

_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "cuDriverGetVersion": (POINTER(c_int),),
    "cuInit": (c_uint,),
    "cuGetErrorName": (c_int, POINTER(c_char_p)),
    "cuGetErrorString": (c_int, POINTER(c_char_p)),
    "cuDeviceGetCount": (POINTER(c_int),),
    "cuDeviceGetName": (c_char_p, c_int, c_int),
    "cuDeviceGetPCIBusId": (c_char_p, c_int, c_int),
    "cuDevicePrimaryCtxGetState": (c_int, POINTER(c_uint), POINTER(c_int)),
    "cuDevicePrimaryCtxRetain": (POINTER(c_void_p), c_int),
    "cuDevicePrimaryCtxRelease_v2": (c_int,),
    "cuCtxGetCurrent": (POINTER(c_void_p),),
    "cuCtxPushCurrent_v2": (c_void_p,),
    "cuCtxPopCurrent_v2": (POINTER(c_void_p),),
    "cuCtxGetDevice": (POINTER(c_int),),
    "cuThreadExchangeStreamCaptureMode": (POINTER(c_int),),
    "cuMemGetInfo_v2": (POINTER(c_size_t), POINTER(c_size_t)),
    "cuStreamCreate": (POINTER(c_void_p), c_uint),
    "cuStreamDestroy_v2": (c_void_p,),
    "cuStreamGetCtx": (c_void_p, POINTER(c_void_p)),
    "cuStreamGetFlags": (c_void_p, POINTER(c_uint)),
    "cuStreamIsCapturing": (c_void_p, POINTER(c_int)),
    "cuEventCreate": (POINTER(c_void_p), c_uint),
    "cuEventDestroy_v2": (c_void_p,),
    "cuEventRecord": (c_void_p, c_void_p),
    "cuEventQuery": (c_void_p,),
}
#: The first of each that the driver has, as (attribute, names, arguments).
_ALTERNATIVES: tuple[tuple[str, tuple[str, ...], tuple[Any, ...]], ...] = (
    (
        "cuEventElapsedTime",
        ("cuEventElapsedTime_v2", "cuEventElapsedTime"),
        (POINTER(c_float), c_void_p, c_void_p),
    ),
    ("cuDeviceGetUuid", ("cuDeviceGetUuid_v2", "cuDeviceGetUuid"), (c_char_p, c_int)),
)
#: Since CUDA 12.0.
_CONTEXT_ID = "cuCtxGetId"


class DriverUnavailableError(Exception):
    """Why the driver cannot be used here, and what to do about it."""

    def __init__(
        self,
        reason: str,
        next_step: str = "install or update the NVIDIA driver (in a container: the runtime "
        "option for GPUs) and check it with nvidia-smi",
    ) -> None:
        super().__init__(reason)
        self.next_step = next_step


class LibCuda:
    """The functions as attributes; each gives a status.

    Raises :class:`DriverUnavailableError` where there is no driver to work with.
    Making it initialises nothing.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        name = LIBRARY if path is None else os.fspath(path)
        try:
            self._library = ctypes.CDLL(name)
            self._library.__dict__["_gpu_narration_own"] = True  # ffi.cuda_driver leaves it alone
        except OSError as error:
            raise DriverUnavailableError(f"there is no NVIDIA driver: {error}") from error
        for function, arguments in _FUNCTIONS.items():
            setattr(self, function, self._function((function,), arguments))
        for attribute, names, arguments in _ALTERNATIVES:
            setattr(self, attribute, self._function(names, arguments))
        #: None where the driver is too old for it.
        self.cuCtxGetId: Any = None
        if hasattr(self._library, _CONTEXT_ID):
            self.cuCtxGetId = self._function((_CONTEXT_ID,), (c_void_p, POINTER(c_ulonglong)))
        self.version = self._version()

    def __getattr__(self, name: str) -> Any:
        # Only for what was not set: a name that is none of the functions.
        raise AttributeError(name)

    def check(self, status: int) -> None:
        """Raises :class:`CudaError` unless the status is success."""
        if status != SUCCESS:
            raise self.error(status)

    def error(self, status: int) -> CudaError:
        """The error of a status, with the driver's name and text for it."""
        if status == NOT_INITIALIZED:
            return NoContextError("CUDA is not initialised in this process")
        name, meaning = c_char_p(), c_char_p()
        if self.cuGetErrorName(status, byref(name)) != SUCCESS or name.value is None:
            return CudaError(status, "CUDA_ERROR")
        if self.cuGetErrorString(status, byref(meaning)) != SUCCESS or meaning.value is None:
            return CudaError(status, name.value.decode(errors="replace"))
        return CudaError(status, name.value.decode(errors="replace"), meaning.value.decode())

    @contextmanager
    def relaxed(self) -> Iterator[None]:
        """Calls in the block are of no concern to captures under way.

        Without it a question about an event from any thread ends a capture that
        another thread began in the global mode (the default), and fails.
        """
        mode = c_int(_RELAXED)
        self.check(self.cuThreadExchangeStreamCaptureMode(byref(mode)))
        try:
            yield
        finally:
            self.cuThreadExchangeStreamCaptureMode(byref(mode))

    def _function(self, names: tuple[str, ...], arguments: tuple[Any, ...]) -> Any:
        for name in names:
            function = getattr(self._library, name, None)
            if function is not None:
                function.argtypes = arguments
                function.restype = c_int
                return function
        raise DriverUnavailableError(f"the driver lacks {names[-1]}: it is older than CUDA 11.0")

    def _version(self) -> int:
        version = c_int(0)
        status = self.cuDriverGetVersion(byref(version))
        if status != SUCCESS:
            raise DriverUnavailableError(f"the driver does not work: {self.error(status)}")
        if version.value < OLDEST_VERSION:
            raise DriverUnavailableError(
                f"the driver is too old: it supports CUDA {version_text(version.value)}, "
                f"and {version_text(OLDEST_VERSION)} or newer is needed"
            )
        return version.value


def version_text(version: int) -> str:
    """12040 as people write it: 12.4."""
    return f"{version // 1000}.{version % 1000 // 10}"


def check_visible() -> None:
    """Raises :class:`DriverUnavailableError` where the program is to see no GPU."""
    setting = os.environ.get(VISIBLE_VARIABLE)
    if setting is not None and setting.strip() in ("", "-1"):
        raise DriverUnavailableError(
            f"{VISIBLE_VARIABLE} is {setting!r}: the program is to see no GPU",
            f"unset {VISIBLE_VARIABLE} or name a GPU in it",
        )
