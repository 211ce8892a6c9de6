"""The CUDA runtime API, where Python calls it: ``ffi.cuda_runtime.install()``.

As :mod:`~gpu_narration.ffi.cuda_driver` is for the driver.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from gpu_narration.ffi.cuda_api import Api, Installed
from gpu_narration.ffi.description import Choice

#: What does something, or waits; questions that answer at once are left out.
MEANINGFUL = (
    "cudaLaunch*", "cudaMalloc*", "cudaFree*", "cudaMemcpy*", "cudaMemset*", "cudaMemPrefetch*",
    "cudaMemAdvise*", "cudaHost*", "cudaDeviceSynchronize", "cudaDeviceReset", "cudaSetDevice",
    "cudaInitDevice", "cudaMemPoolCreate", "cudaMemPoolDestroy", "cudaMemPoolTrimTo",
    "cudaStreamCreate*", "cudaStreamDestroy*", "cudaStreamSynchronize*", "cudaStreamWait*",
    "cudaStreamBeginCapture*", "cudaStreamEndCapture*", "cudaEventRecord*", "cudaEventSynchronize",
    "cudaGraphInstantiate*", "cudaGraphLaunch*", "cudaGraphUpload*", "cudaIpcOpen*",
    "cudaIpcClose*", "cudaProfiler*", "cudaLibraryLoad*", "cudaLibraryUnload",
)  # fmt: skip

_PARAMETERS = {
    "cudaMallocPitch": "out_address out_pitch width_bytes rows",
    "cudaMallocAsync*": "out_address size_bytes stream",
    "cudaMallocManaged": "out_address size_bytes flags",
    "cudaMallocHost": "out_address size_bytes",
    "cudaHostAlloc": "out_address size_bytes flags",
    "cudaMalloc": "out_address size_bytes",
    "cudaFreeAsync*": "address stream",
    "cudaFree*": "address",
    "cudaMemcpyPeer*": "destination to_device source from_device size_bytes stream",
    "cudaMemcpy2D*": "destination to_pitch source from_pitch width_bytes rows kind stream",
    "cudaMemcpy3D*": "copy stream",
    "cudaMemcpyAsync*": "destination source size_bytes kind stream",
    "cudaMemcpy": "destination source size_bytes kind",
    "cudaMemset2D*": "destination pitch_bytes value width rows stream",
    "cudaMemset*": "destination value size_bytes stream",
    "cudaHostRegister": "address size_bytes flags",
    "cudaLaunchKernelExC*": "launch function parameters",
    "cudaStreamWaitEvent*": "stream event flags",
    "cudaStreamSynchronize*": "stream",
    "cudaStreamDestroy*": "stream",
    "cudaEventRecord*": "event stream flags",
    "cudaEventSynchronize": "event",
    "cudaGraphLaunch*": "graph stream",
    "cudaSetDevice": "device",
}

_api = Api(
    what="the CUDA runtime",
    files=re.compile(r"(?:libcudart(?:-[0-9a-f.]+)?\.so|cudart64_|libcudart\.dylib)"),
    module="cuda.bindings.runtime",
    include=MEANINGFUL,
    parameters=_PARAMETERS,
    getters=("cudaGetErrorName", "cudaGetErrorString"),
    text_by_pointer=False,
)


def install(
    *targets: Any,
    actor: str = "cuda_runtime",
    include: str | Iterable[str] | None = None,
    exclude: str | Iterable[str] = (),
    vram: Choice = False,
) -> Installed:
    """Makes calls of the runtime API spans, where Python makes them.

    The arguments are those of :func:`~gpu_narration.ffi.cuda_driver.install`.  Launches
    through the runtime pass their grid in C structures, so a launch tells its function.
    """
    return _api.install(actor=actor, include=include, exclude=exclude, vram=vram, targets=targets)


def uninstall() -> None:
    """Puts everything back.  Doing it twice is no error."""
    _api.uninstall()
