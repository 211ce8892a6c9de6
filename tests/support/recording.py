"""Recording a small program and reading back what it left in its trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gpu_narration
from gpu_narration import cuda
from gpu_narration._types import Kind
from gpu_narration.cuda import MockBackend, MockGpu
from gpu_narration.tracefile import Event, Phase, Trace
from gpu_narration.tracefile.format import Value
from gpu_narration.views import text

#: Nothing from outside: no environment, no GPU, no tool, no children.
QUIET: dict[str, Any] = {
    "filter": "",
    "backend": "none",
    "nvtx": "off",
    "vram": False,
    "children": False,
    "ring_bytes": 1 << 20,
}


class ManualClock:
    """Time that passes only when a test says so, in ns."""

    def __init__(self, now_ns: int = 1_000_000) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        return self.now_ns

    def step(self, ns: int) -> None:
        self.now_ns += ns


@dataclass
class Seen:
    """What a trace holds, read at once."""

    trace: Trace
    events: list[Event] = field(init=False)

    def __post_init__(self) -> None:
        self.events = list(self.trace.events())

    def lines(self, kind: Kind | None = None) -> list[str]:
        """The lines of all events, or of those of one kind."""
        return [
            text.line(event, self.trace.annotations(event))
            for event in self.events
            if kind is None or event.kind is kind
        ]

    def launched(self) -> list[str | None]:
        """The names of the kernels that were launched, in order."""
        return [event.names[2] for event in self.events if event.kind is Kind.LAUNCH]

    def begins(self, kind: Kind = Kind.SPAN) -> list[Event]:
        return self._of(kind, Phase.BEGIN)

    def ends(self, kind: Kind = Kind.SPAN) -> list[Event]:
        return self._of(kind, Phase.END)

    def learned(self, kind: Kind) -> list[dict[str, Value]]:
        """What was learned later of the spans (or other events) of a kind, in order."""
        return [
            dict(self.trace.annotations(event))
            for event in self.events
            if event.kind is kind and event.phase is not Phase.END
        ]

    def _of(self, kind: Kind, phase: Phase) -> list[Event]:
        return [event for event in self.events if event.kind is kind and event.phase is phase]


def recorded(directory: Path, program: Callable[[], object], **options: Any) -> Seen:
    """Records ``program()`` and reads the trace; what the program raises comes through."""
    path = gpu_narration.start(directory / "seen", **{**QUIET, **options}).path
    try:
        program()
    finally:
        gpu_narration.stop()
    return Seen(Trace(path))


def recorded_on_mock(
    directory: Path, program: Callable[[MockGpu, ManualClock], object], **options: Any
) -> Seen:
    """As :func:`recorded`, on a simulated GPU whose time is given to the program."""

    def with_gpu() -> None:
        clock = ManualClock()
        gpu = simulated_gpu()
        gpu._clock = clock
        program(gpu, clock)

    return recorded(directory, with_gpu, **{"backend": "mock", **options})


def recorded_on_library(
    directory: Path, program: Callable[[], object], *, streams: int = 0
) -> Seen:
    """As :func:`recorded`, where a library's stand-in (``fake_cupy``) runs on the simulated GPU.

    ``streams`` are made before the program begins; after it the GPU gets 1 ms to finish.
    """

    def run(gpu: MockGpu, clock: ManualClock) -> None:
        for _ in range(streams):
            gpu.stream()
        program()
        clock.step(1_000_000)

    return recorded_on_mock(directory, run, backend="cupy")


def simulated_gpu() -> MockGpu:
    """The simulated GPU of the recording that runs."""
    session = cuda.current()
    assert session is not None
    assert isinstance(session.backend, MockBackend)
    return session.backend.gpu
