"""NVTX counters of device memory, so that a tool draws it beside the kernels.

Nsight Systems draws them from 2026.3 on; older viewers open the report and show no
row for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gpu_narration.cuda.backend import Device, MemoryInfo

#: The first version of the ``nvtx`` package that has counters.
FIRST_WITH_COUNTERS = "0.2.17"
#: The first version of Nsight Systems that draws them.
FIRST_VIEWER = (2026, 3)


@dataclass(slots=True)
class _Pair:
    used: Any
    free: Any
    last: tuple[int, int] | None = None


class Counters:
    """The counters ``gpu0.vram_used`` and ``gpu0.vram_free`` of each device."""

    def __init__(self, domain: Any, prefix: str = "") -> None:
        self._domain = domain
        self._prefix = prefix
        self._pairs: dict[str, _Pair] = {}

    def sample(self, device: Device, info: MemoryInfo) -> None:
        """Gives the tool a reading, unless it is as the one before."""
        pair = self._pairs.get(device.uuid)
        if pair is None:
            # The number of a device may change; its counters keep their first name.
            name = f"{self._prefix}gpu{device.index}"
            pair = self._pairs[device.uuid] = _Pair(
                self._counter(f"{name}.vram_used", info.total_bytes),
                self._counter(f"{name}.vram_free", info.total_bytes),
            )
        if pair.last != (info.used_bytes, info.free_bytes):
            pair.last = info.used_bytes, info.free_bytes
            pair.used.sample(info.used_bytes)
            pair.free.sample(info.free_bytes)

    def lose(self, device: Device) -> None:
        """Tells the tool that a device cannot be read."""
        import nvtx

        pair = self._pairs.get(device.uuid)
        if pair is not None and pair.last is not None:
            pair.last = None
            for counter in (pair.used, pair.free):
                counter.sample_no_value(nvtx.CounterNoValueReason.UNAVAILABLE)

    def _counter(self, name: str, total_bytes: int) -> Any:
        import nvtx

        semantics = nvtx.CounterSemantics(
            unit="bytes",
            min=0,
            max=total_bytes,
            interpolation=nvtx.CounterInterpolation.UNTIL_NEXT,
        )
        return self._domain.get_counter(name, int, semantics=semantics)


def counters_of(domain: object, *, simulated: bool) -> Counters | None:
    """Counters in an NVTX domain; None if there is none, or its package has no counters."""
    if not hasattr(domain, "get_counter"):
        return None
    return Counters(domain, "simulated " if simulated else "")
