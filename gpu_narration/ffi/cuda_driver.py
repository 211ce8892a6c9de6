"""The CUDA driver API, where Python calls it: ``ffi.cuda_driver.install()``.

Statuses are errors by the driver's own names and texts, sizes are in bytes, and
parameters have names.  Calls of this package's own are never among them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from gpu_narration.ffi.cuda_api import Api, Installed
from gpu_narration.ffi.description import Choice

#: What does something, or waits; questions that answer at once are left out.
MEANINGFUL = (
    "cuInit", "cuLaunch*", "cuCtxCreate*", "cuCtxDestroy*", "cuCtxSynchronize*",
    "cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRe*", "cuMemAlloc*", "cuMemFree*", "cuMemcpy*",
    "cuMemset*", "cuMemPrefetch*", "cuMemAdvise*", "cuMemHost*", "cuMemCreate", "cuMemMap*",
    "cuMemUnmap", "cuMemRelease", "cuMemPoolCreate", "cuMemPoolDestroy", "cuMemPoolTrimTo",
    "cuModuleLoad*", "cuModuleUnload", "cuLibraryLoad*", "cuLibraryUnload", "cuLink*",
    "cuStreamCreate*", "cuStreamDestroy*", "cuStreamSynchronize*", "cuStreamWait*",
    "cuStreamBeginCapture*", "cuStreamEndCapture*", "cuEventRecord*", "cuEventSynchronize",
    "cuGraphInstantiate*", "cuGraphLaunch*", "cuGraphUpload*", "cuIpcOpen*", "cuIpcClose*",
    "cuProfiler*", "cuTexObjectCreate", "cuArray*Create*", "cuArrayDestroy",
)  # fmt: skip

_PARAMETERS = {
    "cuMemAllocPitch*": "out_address out_pitch width_bytes rows element_bytes",
    "cuMemAllocAsync*": "out_address size_bytes stream",
    "cuMemAllocManaged*": "out_address size_bytes flags",
    "cuMemAllocHost*": "out_address size_bytes",
    "cuMemHostAlloc*": "out_address size_bytes flags",
    "cuMemAlloc*": "out_address size_bytes",
    "cuMemFreeAsync*": "address stream",
    "cuMemFree*": "address",
    "cuMemcpy*Peer*Async*": "destination to_context source from_context size_bytes stream",
    "cuMemcpy[23]D*": "copy stream",
    "cuMemcpy*Async*": "destination source size_bytes stream",
    "cuMemcpy*": "destination source size_bytes",
    "cuMemsetD2*": "destination pitch_bytes value width rows stream",
    "cuMemset*": "destination value count stream",
    "cuMemPrefetchAsync*": "address size_bytes device stream",
    "cuMemHostRegister*": "address size_bytes flags",
    "cuLaunchKernelEx*": "launch function parameters extra",
    "cuLaunchKernel*": "function grid_x grid_y grid_z block_x block_y block_z shared_bytes stream "
    "parameters extra",
    "cuLaunchCooperativeKernel*": "function grid_x grid_y grid_z block_x block_y block_z "
    "shared_bytes stream parameters",
    "cuLaunchHostFunc*": "stream function data",
    "cuStreamWaitEvent*": "stream event flags",
    "cuStreamSynchronize*": "stream",
    "cuStreamDestroy*": "stream",
    "cuStreamCreateWithPriority": "out_stream flags priority",
    "cuStreamCreate*": "out_stream flags",
    "cuEventRecord*": "event stream flags",
    "cuEventSynchronize": "event",
    "cuGraphLaunch*": "graph stream",
    "cuGraphUpload*": "graph stream",
    "cuModuleLoad": "out_module path",
    "cuModuleLoadData*": "out_module image",
}

_api = Api(
    what="the CUDA driver",
    files=re.compile(r"(?:libcuda\.so|nvcuda\.dll|libcuda\.dylib)"),
    module="cuda.bindings.driver",
    include=MEANINGFUL,
    parameters=_PARAMETERS,
    getters=("cuGetErrorName", "cuGetErrorString"),
    text_by_pointer=True,
)


def install(
    *targets: Any,
    actor: str = "cuda_driver",
    include: str | Iterable[str] | None = None,
    exclude: str | Iterable[str] = (),
    vram: Choice = False,
) -> Installed:
    """Makes calls of the driver API spans, where Python makes them.

    targets: libraries of ctypes or the module ``cuda.bindings.driver``; default all of
        these that the process has by now.  Called again, it adds what came meanwhile.
    include, exclude: patterns of names; default :data:`MEANINGFUL`.
    vram: as of :func:`~gpu_narration.ffi.trace_library`.

    Raises :class:`~gpu_narration._errors.NothingToTraceError` where there is none.
    """
    return _api.install(actor=actor, include=include, exclude=exclude, vram=vram, targets=targets)


def uninstall() -> None:
    """Puts everything back.  Doing it twice is no error."""
    _api.uninstall()
