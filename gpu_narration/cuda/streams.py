"""Streams of other libraries: their handles, and which is current; none is imported for it."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from typing import Any, SupportsInt

from gpu_narration.cuda.backend import LEGACY_ALIAS, LEGACY_HANDLE, CudaError, Stream

INVALID_HANDLE = 400
#: A handle is a pointer.
_HANDLE_BITS = 64


def handle_of(stream: object) -> tuple[int, int | None]:
    """The handle and, where the object tells it, the device.

    Taken are :class:`Stream`, an int, the streams of PyTorch (``cuda_stream``),
    CuPy (``ptr``), cuda.core and all that speak its protocol
    (``__cuda_stream__()`` gives a version and the handle), Numba
    (``handle.value``), cuda.bindings (``CUstream``) and ctypes pointers.  Raises
    TypeError for anything else.
    """
    if isinstance(stream, Stream):
        return stream.handle, stream.device
    if type(stream) is int:
        return _checked(stream, stream), None
    if hasattr(stream, "cuda_stream"):
        owner = getattr(getattr(stream, "device", None), "index", None)
        return _checked(stream.cuda_stream, stream), owner if type(owner) is int else None
    if hasattr(stream, "ptr"):
        owner = getattr(stream, "device_id", None)
        return _checked(stream.ptr, stream), owner if type(owner) is int and owner >= 0 else None
    if callable(getattr(stream, "__cuda_stream__", None)):
        return _checked(_by_protocol(stream), stream), None
    return _checked(_unwrapped(getattr(stream, "handle", stream)), stream), None


def _by_protocol(stream: Any) -> object:
    answer = stream.__cuda_stream__()
    try:
        version, handle = answer
    except (TypeError, ValueError):
        return None
    # The protocol's version 0 is the only one there is; a later one may mean something else.
    return _unwrapped(handle) if version == 0 else None


def _unwrapped(handle: object) -> object:
    """An int out of a ctypes pointer or a handle of cuda.bindings."""
    if isinstance(handle, ctypes.c_void_p):
        return handle.value or LEGACY_HANDLE
    if type(handle).__module__.startswith("cuda.") and isinstance(handle, SupportsInt):
        return int(handle)
    return handle if type(handle) is int else None


def _checked(handle: object, stream: object) -> int:
    if type(handle) is not int or not 0 <= handle < 1 << _HANDLE_BITS:
        raise TypeError(f"not a CUDA stream: {type(stream).__name__}")
    return LEGACY_HANDLE if handle == LEGACY_ALIAS else handle


def current_of_frameworks() -> object:
    """The stream that PyTorch or CuPy would use now; None if neither is at work.

    Only for a process in which CUDA is initialised: asking CuPy initialises it.
    Raises :class:`CudaError` where both are at work on streams of their own, so
    that nobody can tell which is meant.
    """
    torch: Any = sys.modules.get("torch")
    cupy: Any = sys.modules.get("cupy")
    current: list[object] = []
    # Both give CUDA's errors as RuntimeError: then they have no stream to tell of, and
    # what is wrong with the context shows at the first call about it.
    with contextlib.suppress(RuntimeError):
        if torch is not None and hasattr(torch, "cuda") and torch.cuda.is_initialized():
            current.append(torch.cuda.current_stream())
    with contextlib.suppress(RuntimeError):
        if cupy is not None and hasattr(cupy, "cuda"):
            current.append(cupy.cuda.get_current_stream())
    own = {handle_of(stream)[0]: stream for stream in current}
    own.pop(LEGACY_HANDLE, None)
    if len(own) > 1:
        raise CudaError(
            INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE",
            "PyTorch and CuPy have different current streams: give stream=...",
        )  # fmt: skip
    return next(iter(own.values()), current[0] if current else None)
