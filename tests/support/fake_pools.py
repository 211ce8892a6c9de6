"""Stand-ins of what CuPy and PyTorch document about their allocators.

Bytes are moved by the tests; nothing else of either library is here.
"""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, Self


class FakeCupyPool:
    """``cupy.cuda.MemoryPool``: ``malloc``, ``used_bytes``, ``total_bytes``."""

    def __init__(self, library: FakeCupy) -> None:
        self._library = library
        self.live = 0
        self.total = 0
        self.broken = False

    def malloc(self, size: int) -> int:
        self.live += size
        self.total = max(self.total, self.live)
        for hook in list(self._library.hooks().values()):
            hook.malloc_postprocess(
                device_id=self._library.device, size=size, mem_size=size, mem_ptr=1, pmem_id=2
            )
        return size

    def free(self, size: int) -> None:
        self.live -= size

    def free_all_blocks(self) -> None:
        self.total = self.live

    def used_bytes(self) -> int:
        return self.live

    def total_bytes(self) -> int:
        if self.broken:
            raise ZeroDivisionError
        return self.total


class FakeCupy:
    """The module ``cupy``, as far as its pool goes.  Hooks are per thread, as there."""

    def __init__(self) -> None:
        self._local = threading.local()
        self.device = 0
        self.pool = FakeCupyPool(self)
        self.allocator: Any = self.pool.malloc
        library = self

        class MemoryHook:
            name = "MemoryHook"

            def __enter__(self) -> Self:
                if self.name in library.hooks():
                    raise KeyError(self.name)
                library.hooks()[self.name] = self
                return self

            def __exit__(self, *exc: object) -> None:
                del library.hooks()[self.name]

            def malloc_postprocess(self, **kwargs: object) -> None: ...

        self.cuda = SimpleNamespace(
            MemoryHook=MemoryHook,
            get_allocator=lambda: self.allocator,
            runtime=SimpleNamespace(getDevice=lambda: self.device),
        )

    def hooks(self) -> dict[str, Any]:
        """The hooks of the calling thread."""
        if not hasattr(self._local, "hooks"):
            self._local.hooks = {}
        hooks: dict[str, Any] = self._local.hooks
        return hooks


class FakeTorch:
    """The module ``torch``, as far as its allocator's statistics go."""

    def __init__(self) -> None:
        self.initialized = True
        self.live = self.reserved = self.peak = 0
        self.stats_missing = False
        self.cuda = SimpleNamespace(
            is_initialized=lambda: self.initialized, memory_stats=self._stats
        )

    def hold(self, live: int, reserved: int) -> None:
        self.live, self.reserved = live, reserved
        self.peak = max(self.peak, reserved)

    def _stats(self, device: int) -> dict[str, int]:
        if not self.initialized:
            raise AssertionError("asked before the program has initialised CUDA")
        if self.stats_missing:
            return {}
        return {
            "allocated_bytes.all.current": self.live,
            "reserved_bytes.all.current": self.reserved,
            "reserved_bytes.all.peak": self.peak,
        }
