"""GPU work: marking launches, timing streams, watching memory."""

from gpu_narration.cuda.backend import CudaError, Device, MemoryInfo, Stream
from gpu_narration.cuda.launch import TracedKernel, kernel
from gpu_narration.cuda.mock_backend import MockBackend, MockKernel
from gpu_narration.cuda.mock_gpu import MockGpu
from gpu_narration.cuda.session import current

__all__ = [
    "CudaError",
    "Device",
    "MemoryInfo",
    "MockBackend",
    "MockGpu",
    "MockKernel",
    "Stream",
    "TracedKernel",
    "current",
    "kernel",
]
