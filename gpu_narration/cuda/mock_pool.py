"""A caching pool on the simulated GPU, as CuPy and PyTorch have them on a real one."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from gpu_narration.cuda.backend import CudaError
from gpu_narration.cuda.mock_errors import cuda_error

if TYPE_CHECKING:
    from gpu_narration.cuda.mock_gpu import MockGpu


class CachingPool:
    """Keeps what is given back and hands it out again.

    A block is used again whole for any request that it is large enough for, and counts
    with its whole size.  Where the device is full the pool gives back what it keeps
    and tries once more.  Bytes: ``live`` are handed out, ``reserved`` are held.
    """

    def __init__(self, gpu: MockGpu, device: int) -> None:
        self._gpu = gpu
        self._device = device
        self._lock = threading.RLock()
        self._live: dict[int, int] = {}
        self._cached: dict[int, int] = {}
        self.peak_reserved_bytes = 0

    @property
    def live_bytes(self) -> int:
        with self._lock:
            return sum(self._live.values())

    @property
    def reserved_bytes(self) -> int:
        with self._lock:
            return self._reserved()

    def malloc(self, size_bytes: int) -> int:
        """Memory of at least that size; its address.  Raises as :meth:`MockGpu.malloc`."""
        with self._lock:
            fitting = [(size, at) for at, size in self._cached.items() if size >= size_bytes]
            if fitting:
                size, address = min(fitting)
                del self._cached[address]
            else:
                size, address = size_bytes, self._take(size_bytes)
            self._live[address] = size
            self.peak_reserved_bytes = max(self.peak_reserved_bytes, self._reserved())
            return address

    def free(self, address: int) -> None:
        """Gives memory back to the pool, which keeps it."""
        with self._lock:
            if address not in self._live:
                raise cuda_error(1)
            self._cached[address] = self._live.pop(address)

    def trim(self) -> None:
        """Gives what is kept back to the device."""
        with self._lock:
            self._trim()

    def _take(self, size_bytes: int) -> int:
        try:
            return self._gpu.malloc(size_bytes, self._device)
        except CudaError as error:
            if error.code != 2 or not self._cached:
                raise
        self._trim()
        return self._gpu.malloc(size_bytes, self._device)

    def _trim(self) -> None:
        while self._cached:
            address, _ = self._cached.popitem()
            self._gpu.free(address)

    def _reserved(self) -> int:
        return sum(self._live.values()) + sum(self._cached.values())
