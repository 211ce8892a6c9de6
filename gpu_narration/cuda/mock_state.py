"""What the simulated GPU keeps of its streams, events and devices."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from gpu_narration.cuda.backend import StreamKind
from gpu_narration.cuda.mock_errors import cuda_error
from gpu_narration.cuda.mock_graph import Capture, Frontier

#: What cuEventElapsedTime counts in.
_RESOLUTION_NS = 500


@dataclass(frozen=True, slots=True)
class Ran:
    """One entry of the ledger: what ran on a stream, and when.  A graph is one entry."""

    name: str
    stream: int
    device: int
    start_ns: int
    end_ns: int


@dataclass(slots=True, eq=False)
class StreamState:
    device: int
    tail_ns: int
    kind: StreamKind
    capture: Capture | None = None


@dataclass(slots=True, eq=False)
class EventState:
    device: int
    timing: bool
    time_ns: int | None = None
    #: If it was last recorded in a capture: which, and the frontier there.
    captured: tuple[Capture, Frontier] | None = None

    def readable_ns(self) -> int:
        """Its time, if elapsed times can be had of it."""
        if self.time_ns is None or self.captured is not None or not self.timing:
            raise cuda_error(400)
        return self.time_ns


@dataclass(slots=True)
class DeviceState:
    index: int
    capacity_bytes: int
    allocations: dict[int, int] = field(default_factory=dict)
    legacy: StreamState = field(init=False)
    lost: bool = False
    #: (time, code): from then on every call about the device gives this error.
    fault: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """A new context, with nothing in it."""
        self.legacy = StreamState(self.index, 0, StreamKind.LEGACY)
        self.allocations.clear()

    @property
    def used_bytes(self) -> int:
        return sum(self.allocations.values())

    def take(self, size_bytes: int, address: int) -> None:
        """Memory of that size at that address, if there is enough."""
        if size_bytes < 0:
            raise cuda_error(1)
        if self.used_bytes + size_bytes > self.capacity_bytes:
            raise cuda_error(2, requested_bytes=size_bytes)
        self.allocations[address] = size_bytes

    def give_back(self, address: int) -> bool:
        """Whether there was memory of this device at that address."""
        return self.allocations.pop(address, None) is not None


def as_the_real_api(elapsed_ns: int) -> int:
    """An elapsed time as cuEventElapsedTime gives it: steps of 0.5 µs, float32 ms."""
    steps_ns = round(elapsed_ns / _RESOLUTION_NS) * _RESOLUTION_NS
    elapsed_ms: float = struct.unpack("f", struct.pack("f", steps_ns / 1e6))[0]
    return round(elapsed_ms * 1e6)
