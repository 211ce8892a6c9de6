"""Device memory over time: a ``state_change`` event whenever it has moved.

One sampler, driven by the watcher, so no traced thread ever waits for a driver.
It reads fast while memory moves and slowly while it rests.  Spans that ask for
it also read memory at their edges; those readings feed the same series.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from gpu_narration import _core
from gpu_narration._types import Kind, Level
from gpu_narration.cuda.backend import CudaError, Device, MemoryInfo
from gpu_narration.cuda.nvml import NvmlUnavailable

MIB = 1 << 20

FAST_S, SLOW_S = 0.02, 1.0

#: Reads one device's memory; raises CudaError or NvmlUnavailable.
Read = Callable[[int], MemoryInfo]


def threshold_bytes(total_bytes: int) -> int:
    """A move smaller than this is noise: 1 MiB, on large devices 1/4096 of the memory."""
    return max(MIB, total_bytes // 4096)


class Sampler:
    """Watches the memory of some devices; ``simulated`` marks every event it makes."""

    def __init__(self, devices: Sequence[Device], read: Read, *, simulated: bool = False) -> None:
        self._devices = list(devices)
        self._read = read
        self._simulated = simulated
        self._told: dict[int, int] = {}
        self._lock = threading.Lock()
        self._period_s = FAST_S
        self._closed = False
        self.samples = 0
        self.cost_ns = 0
        self.unreadable: dict[int, str] = {}

    def poll(self) -> float:
        """Reads every device once; seconds until the next reading is worth while."""
        begin = time.perf_counter_ns()
        moved = False
        for device in self._devices:
            try:
                info = self._read(device.index)
            except (CudaError, NvmlUnavailable) as error:
                self._lose(device.index, str(error))
                continue
            moved |= self.observe(device.index, info)
        self.samples += 1
        self.cost_ns += time.perf_counter_ns() - begin
        self._period_s = FAST_S if moved else min(SLOW_S, self._period_s * 2)
        return self._period_s

    def observe(self, device: int, info: MemoryInfo) -> bool:
        """Takes one reading; whether it was far enough from the last one told to be told."""
        with self._lock:
            before = self._told.get(device)
            if self._closed:
                return False
            if before is not None and (
                abs(info.used_bytes - before) < threshold_bytes(info.total_bytes)
            ):
                return False
            self._told[device] = info.used_bytes
        self._tell(device, before, info)
        return before is not None

    def close(self) -> None:
        """Ends it; a reading that is still under way is not told any more."""
        with self._lock:
            self._closed = True

    def _tell(self, device: int, before: int | None, info: MemoryInfo) -> None:
        fields: dict[str, object] = {
            "before_bytes": before,
            "used_bytes": info.used_bytes,
            "free_bytes": info.free_bytes,
            "total_bytes": info.total_bytes,
            "reserved_bytes": info.reserved_bytes,
            "device": device,
            "source": info.source,
        }
        if self._simulated:
            fields["simulated"] = True
        scope = innermost_scope()
        if scope is not None:
            fields["in_span"], fields["in_scope"] = scope
        _core.emit(
            Kind.VRAM,
            Level.TRACE,
            __name__,
            "vram",
            "state_change",
            f"gpu{device}.used",
            "",
            fields,
        )

    def _lose(self, device: int, reason: str) -> None:
        if device not in self.unreadable:
            self.unreadable[device] = reason
            _core.note("vram_lost", {"device": device, "reason": reason})


def innermost_scope() -> tuple[int, str] | None:
    """Event id and name of the open span that was active last in this process."""
    scopes = _core.scopes()
    if not scopes:
        return None
    _, span_id, _, name, _ = max(scopes, key=lambda scope: scope[4])
    return span_id, name
