"""A timer on a simulated GPU whose time stands still, and the answers it gave."""

from __future__ import annotations

from gpu_narration.cuda import CudaError, MockBackend, MockGpu, Stream
from gpu_narration.cuda.intervals import Interval
from gpu_narration.cuda.pool import EventPool
from gpu_narration.cuda.timing import Timer
from tests.support.recording import ManualClock


class Watched(MockBackend):
    """A simulator that counts its calls, fails on demand, and must not be waited for."""

    def __init__(self, gpu: MockGpu) -> None:
        super().__init__(gpu)
        self.created = self.destroyed = 0
        #: Calls still to fail: how often, and with which error.
        self.refuse: dict[str, int] = {}
        self.error = CudaError(999, "cudaErrorUnknown")

        def synchronize(stream: Stream | None = None) -> None:
            raise AssertionError("the timer synchronised")

        gpu.synchronize = synchronize

    def event_create(self, device: int) -> int:
        self._maybe_fail("create")
        self.created += 1
        return super().event_create(device)

    def event_record(self, event: int, stream: Stream) -> None:
        self._maybe_fail("record")
        super().event_record(event, stream)

    def event_elapsed_ns(self, start: int, stop: int, device: int) -> int:
        self._maybe_fail("elapsed")
        return super().event_elapsed_ns(start, stop, device)

    def event_query(self, event: int) -> bool:
        self._maybe_fail("query")
        return super().event_query(event)

    def event_destroy(self, event: int) -> None:
        self._maybe_fail("destroy")
        self.destroyed += 1
        super().event_destroy(event)

    def stream_create(self, device: int) -> Stream:
        self._maybe_fail("stream")
        return super().stream_create(device)

    def _maybe_fail(self, call: str) -> None:
        if self.refuse.get(call, 0) > 0:
            self.refuse[call] -= 1
            raise self.error


class Bench:
    """A timer, its GPU, and the answers it gave."""

    def __init__(self, pool_limit: int = 4, *, real_precision: bool = False) -> None:
        self.clock = ManualClock()
        self.gpu = MockGpu(devices=2, clock=self.clock, real_precision=real_precision)
        self.backend = Watched(self.gpu)
        self.answers: list[tuple[int, dict[str, object]]] = []
        self.timer = Timer(
            self.backend,
            lambda event_id, fields: self.answers.append((event_id, fields)),
            pool_limit,
            clock=self.clock,
        )
        self.stream = self.gpu.stream()

    def open(self, event_id: int = 1, stream: object = None) -> Interval:
        interval = self.timer.open(event_id, stream or self.stream)
        assert interval is not None
        return interval

    def timed(self, event_id: int, length_ns: int, stream: Stream | None = None) -> None:
        interval = self.open(event_id, stream)
        self.gpu.launch("k", length_ns, stream or self.stream)
        self.timer.close(interval)

    def finish(self) -> None:
        self.clock.step(1_000_000)
        self.timer.poll()

    def pool(self, device: int = 0) -> EventPool:
        """The pool of a device that was used."""
        return self.timer._homes[device].pool

    def elapsed(self) -> dict[int, object]:
        return {event_id: fields["gpu_ns"] for event_id, fields in self.answers}

    def reasons(self) -> dict[int, object]:
        return {event_id: fields.get("gpu_reason") for event_id, fields in self.answers}
