"""GPU work: marking launches and ranges, timing streams, seeing waits, watching memory."""

from gpu_narration.cuda.backend import CudaError, Device, MemoryInfo, Stream
from gpu_narration.cuda.cupy_patch import patch_cupy, unpatch_cupy
from gpu_narration.cuda.kernels import TracedGraph, TracedKernel, kernel
from gpu_narration.cuda.mock_backend import MockBackend, MockKernel
from gpu_narration.cuda.mock_gpu import MockGpu
from gpu_narration.cuda.patches import Patch
from gpu_narration.cuda.ranges import Range, range  # noqa: A004 - NVTX's word for it
from gpu_narration.cuda.session import current
from gpu_narration.cuda.torch_patch import patch_torch, unpatch_torch

__all__ = [
    "CudaError",
    "Device",
    "MemoryInfo",
    "MockBackend",
    "MockGpu",
    "MockKernel",
    "Patch",
    "Range",
    "Stream",
    "TracedGraph",
    "TracedKernel",
    "current",
    "kernel",
    "patch_cupy",
    "patch_torch",
    "range",
    "unpatch_cupy",
    "unpatch_torch",
]
