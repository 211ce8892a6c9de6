"""A simulated GPU on which reading a clock takes time and elapsed times are coarse."""

from __future__ import annotations

from dataclasses import dataclass, field

from gpu_narration.cuda import MockBackend, MockGpu, Stream
from gpu_narration.cuda.mock_state import Ran, as_the_real_api
from gpu_narration.cuda.timing import Timer
from tests.support.recording import ManualClock

SECOND_NS = 1_000_000_000


class TickingClock(ManualClock):
    """As on a real machine, no two readings are the same: each takes ``tick_ns``."""

    def __init__(self, now_ns: int = 1_000_000, tick_ns: int = 100) -> None:
        super().__init__(now_ns)
        self.tick_ns = tick_ns

    def __call__(self) -> int:
        self.now_ns += self.tick_ns
        return self.now_ns


class DriftingBackend(MockBackend):
    """Elapsed times on a GPU clock that runs fast, in steps of 0.5 µs, as float32 ms."""

    def __init__(self, gpu: MockGpu, drift: float = 0.0) -> None:
        super().__init__(gpu)
        self.drift = drift
        self.readings: list[int] = []

    def event_elapsed_ns(self, start: int, stop: int, device: int) -> int:
        exact_ns = super().event_elapsed_ns(start, stop, device)
        self.readings.append(exact_ns)
        return as_the_real_api(round(exact_ns * (1 + self.drift)))


@dataclass
class Placed:
    """One answer beside what the ledger says."""

    ran: Ran
    fields: dict[str, object]

    def number(self, name: str) -> int:
        value = self.fields[name]
        assert isinstance(value, int), f"{name} is {value!r}: {self.fields}"
        return value

    @property
    def elapsed_error_ns(self) -> int:
        return abs(self.number("gpu_ns") - (self.ran.end_ns - self.ran.start_ns))

    @property
    def place_error_ns(self) -> int:
        return max(
            abs(self.number("gpu_start_ns") - self.ran.start_ns),
            abs(self.number("gpu_end_ns") - self.ran.end_ns),
        )


@dataclass
class ClockBench:
    """A timer on it.  Work is queued behind work, so that its events lie at its edges."""

    drift: float = 0.0
    tick_ns: int = 100
    clock: TickingClock = field(init=False)
    answers: dict[int, dict[str, object]] = field(default_factory=dict)
    _count: int = 0
    _woken: bool = False

    def __post_init__(self) -> None:
        self.clock = TickingClock(tick_ns=self.tick_ns)
        self.gpu = MockGpu(clock=self.clock)
        self.backend = DriftingBackend(self.gpu, self.drift)
        self.timer = Timer(
            self.backend, self.answers.__setitem__, clock=self.clock, wake=self._wake
        )
        self.stream = self.gpu.stream()

    def enqueue(self, length_ns: int, stream: Stream | None = None) -> tuple[int, Ran]:
        """Opens, launches, closes; the event id, and what the ledger says of the work."""
        target = stream or self.stream
        self._count += 1
        self.gpu.launch("before", 50_000, target)
        interval = self.timer.open(self._count, target)
        assert interval is not None
        self.gpu.launch("work", length_ns, target)
        self.timer.close(interval)
        ran = self.gpu.ledger[-1]
        if self._woken:
            self._woken = False
            self.timer.poll()
        return self._count, ran

    def timed(self, length_ns: int) -> Placed:
        """Work of a length, done and answered."""
        event_id, ran = self.enqueue(length_ns)
        self.run_until(ran.end_ns + 2_000_000)
        return Placed(ran, self.answers[event_id])

    def _wake(self) -> None:
        self._woken = True

    def run_until(self, when_ns: int) -> None:
        """Time passes, and the watcher comes every second and at the end."""
        while self.clock.now_ns < when_ns:
            self.clock.now_ns = min(when_ns, self.clock.now_ns + SECOND_NS)
            self.timer.poll()
