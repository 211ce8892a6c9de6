"""Where GPU work lies on the CPU's timeline, and how sure that is."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from gpu_narration.cuda import CudaError, MockGpu
from gpu_narration.cuda.anchors import (
    REACH_NS,
    RESOLUTION_NS,
    AnchorLine,
    reading_error_ns,
)
from tests.support.clock_bench import SECOND_NS, ClockBench, DriftingBackend, TickingClock

DRIFTS = [0.0, 37e-6, -80e-6]


@pytest.mark.parametrize(
    ("elapsed_ns", "error_ns"),
    [(0, 501), (10**9, 531), (4 * 10**9, 623), (3600 * 10**9, 125_500)],
)
def test_a_reading_is_as_coarse_as_float32_makes_it(elapsed_ns: int, error_ns: int) -> None:
    """0.5 µs, and half a unit in the last place: 2**-25 of the power of two above, in ms."""
    assert reading_error_ns(elapsed_ns) == error_ns


def test_within_reach_a_reading_is_good_to_less_than_a_microsecond() -> None:
    assert reading_error_ns(REACH_NS) <= 1000


# ---- intervals are placed ----


def test_an_interval_lies_where_the_ledger_says() -> None:
    placed = ClockBench().timed(200_000)

    assert placed.place_error_ns <= placed.number("gpu_place_error_ns")


def test_begin_and_end_are_as_far_apart_as_the_elapsed_time() -> None:
    placed = ClockBench().timed(200_000)

    assert placed.number("gpu_end_ns") - placed.number("gpu_start_ns") == placed.number("gpu_ns")


def test_an_interval_never_begins_before_it_was_asked_for() -> None:
    """GIVEN a GPU that is idle and a window so wide that the begin could lie before."""
    bench = ClockBench(tick_ns=40_000)
    interval = bench.timer.open(1, bench.stream)
    assert interval is not None
    bench.gpu.launch("work", 10_000, bench.stream)
    bench.timer.close(interval)
    bench.run_until(bench.clock.now_ns + 1_000_000)

    begin = bench.answers[1]["gpu_start_ns"]
    assert isinstance(begin, int)
    assert begin >= interval.opened_ns


@pytest.mark.parametrize("drift", DRIFTS)
def test_places_hold_for_an_hour(drift: float) -> None:
    """GIVEN clocks that differ and coarse readings, THEN every place keeps its stated bound."""
    bench = ClockBench(drift)
    chance = random.Random(1)
    end_ns = bench.clock.now_ns + 3600 * SECOND_NS
    placed = []
    while bench.clock.now_ns < end_ns:
        placed.append(bench.timed(chance.choice([5_000, 50_000, 500_000, 5_000_000])))
        bench.run_until(bench.clock.now_ns + chance.randrange(20 * SECOND_NS))

    assert [
        each for each in placed if each.place_error_ns > each.number("gpu_place_error_ns")
    ] == []


@pytest.mark.parametrize("drift", DRIFTS)
def test_after_an_hour_places_are_as_precise_as_at_first(drift: float) -> None:
    """GIVEN a busy hour, THEN the error of each of its last places is at most 1 µs."""
    bench = ClockBench(drift)
    bench.timed(50_000)
    keep_open = bench.timer.open(10**6, bench.stream)
    bench.run_until(bench.clock.now_ns + 3600 * SECOND_NS)

    errors = [bench.timed(50_000).place_error_ns for _ in range(50)]

    assert keep_open is not None
    assert max(errors) <= 1000


@pytest.mark.parametrize("length_ns", [5_000, 50_000, 500_000, 5_000_000, 4_000_000_000])
def test_after_an_hour_elapsed_times_are_as_precise_as_at_first(length_ns: int) -> None:
    bench = ClockBench()
    bench.run_until(bench.clock.now_ns + 3600 * SECOND_NS)

    assert bench.timed(length_ns).elapsed_error_ns <= RESOLUTION_NS


def test_the_stated_bound_does_not_grow() -> None:
    bench = ClockBench(37e-6)
    first = bench.timed(50_000).number("gpu_place_error_ns")
    bench.run_until(bench.clock.now_ns + 3600 * SECOND_NS)
    bench.timed(50_000)

    last = bench.timed(50_000).number("gpu_place_error_ns")

    assert last <= first + 10  # rounding


def test_no_reading_goes_further_than_it_is_good_for() -> None:
    bench = ClockBench()
    for _ in range(60):
        bench.timed(50_000)
        bench.run_until(bench.clock.now_ns + 7 * SECOND_NS)

    assert max(abs(reading) for reading in bench.backend.readings) <= REACH_NS


# ---- long intervals ----


def _hour_long(drift: float) -> ClockBench:
    bench = ClockBench(drift)
    bench.enqueue(3600 * SECOND_NS)
    bench.run_until(bench.clock.now_ns + 3602 * SECOND_NS)
    return bench


@pytest.mark.parametrize("drift", DRIFTS)
def test_an_hour_on_the_gpu_is_within_its_stated_bound(drift: float) -> None:
    answer = _hour_long(drift).answers[1]
    elapsed_ns, error_ns = answer["gpu_ns"], answer["gpu_error_ns"]
    assert isinstance(elapsed_ns, int)
    assert isinstance(error_ns, int)

    assert abs(elapsed_ns - round(3600 * SECOND_NS * (1 + drift))) <= error_ns


def test_the_bound_of_an_hour_is_that_of_one_reading_at_most() -> None:
    error_ns = _hour_long(0.0).answers[1]["gpu_error_ns"]
    assert isinstance(error_ns, int)

    assert error_ns <= 2 * reading_error_ns(3600 * SECOND_NS)


def test_a_long_interval_is_finer_than_the_reading_of_its_pair() -> None:
    """GIVEN ten minutes, of which a float32 of ms knows only every 62nd µs."""
    lengths = [600 * SECOND_NS + 1_234_567 * step for step in range(8)]
    off = []
    for length_ns in lengths:
        bench = ClockBench()
        bench.enqueue(length_ns)
        bench.run_until(bench.clock.now_ns + length_ns + 2 * SECOND_NS)
        elapsed_ns = bench.answers[1]["gpu_ns"]
        assert isinstance(elapsed_ns, int)
        off.append(abs(elapsed_ns - length_ns))

    assert max(off) <= 20_000, off


def test_the_begin_of_an_hour_lies_where_the_ledger_says() -> None:
    """GIVEN clocks that drift apart by 130 ms in the hour."""
    bench = ClockBench(37e-6)
    event_id, ran = bench.enqueue(3600 * SECOND_NS)
    bench.run_until(ran.end_ns + SECOND_NS)
    begin = bench.answers[event_id]["gpu_start_ns"]
    assert isinstance(begin, int)

    assert abs(begin - ran.start_ns) <= 10_000


def test_short_intervals_say_nothing_of_an_error_of_their_own() -> None:
    assert "gpu_error_ns" not in ClockBench().timed(3 * SECOND_NS).fields


# ---- anchors themselves ----


@pytest.fixture
def clock() -> TickingClock:
    return TickingClock()


@pytest.fixture
def backend(clock: TickingClock) -> DriftingBackend:
    return DriftingBackend(MockGpu(clock=clock))


@pytest.fixture
def line(backend: DriftingBackend, clock: TickingClock) -> AnchorLine:
    return AnchorLine(backend, 0, clock)


def test_a_fresh_anchor_is_not_renewed(line: AnchorLine, clock: TickingClock) -> None:
    line.tend(SECOND_NS)
    clock.step(SECOND_NS // 2)

    line.tend(SECOND_NS)

    assert line.count == 1


def test_an_old_anchor_is_renewed(line: AnchorLine, clock: TickingClock) -> None:
    line.tend(SECOND_NS)
    clock.step(SECOND_NS)

    line.tend(SECOND_NS)

    assert line.count == 2


def test_events_of_anchors_out_of_reach_are_used_again(
    line: AnchorLine, clock: TickingClock, backend: DriftingBackend
) -> None:
    for _ in range(100):
        line.tend(SECOND_NS)
        clock.step(SECOND_NS)

    assert len(backend.gpu._events) <= 6


def test_an_anchor_on_a_busy_gpu_is_taken_by_a_later_round(
    line: AnchorLine, clock: TickingClock, backend: DriftingBackend
) -> None:
    """GIVEN a GPU that reaches the anchor only after 3 ms, THEN no round waits for it."""
    busy = _busy(backend, 3_000_000)
    line.tend(SECOND_NS)
    before = line.count
    busy()
    clock.step(4_000_000)

    line.tend(SECOND_NS)

    assert (before, line.count) == (0, 1)


def test_an_anchor_on_a_busy_gpu_states_a_wider_bound(
    line: AnchorLine,
    clock: TickingClock,
    backend: DriftingBackend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """GIVEN a GPU that is busy at each try."""
    monkeypatch.setattr("gpu_narration.cuda.anchors._TRIES", 1)
    event = backend.event_create(0)
    backend.event_record(event, backend.gpu.stream())
    busy = _busy(backend, 3_000_000)
    line.tend(SECOND_NS)
    busy()
    clock.step(4_000_000)
    line.tend(SECOND_NS)

    spot = line.locate(event, clock.now_ns)

    assert spot is not None
    assert spot.hi_ns - spot.lo_ns >= 4_000_000


def test_the_best_anchor_places_an_event_even_if_it_is_not_the_nearest(
    line: AnchorLine,
    clock: TickingClock,
    backend: DriftingBackend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gpu_narration.cuda.anchors._TRIES", 1)
    line.tend(0)
    clock.step(10_000_000)
    busy = _busy(backend, 3_000_000)
    line.tend(0)
    busy()
    clock.step(4_000_000)
    line.tend(0)
    event = backend.event_create(0)
    backend.event_record(event, backend.gpu.stream())

    spot = line.locate(event, clock.now_ns)

    assert spot is not None
    assert (line.count, spot.hi_ns - spot.lo_ns < 100_000) == (2, True)


def test_an_event_far_from_every_anchor_has_no_place(
    line: AnchorLine, clock: TickingClock, backend: DriftingBackend
) -> None:
    line.tend(0)
    clock.step(REACH_NS + SECOND_NS)
    event = backend.event_create(0)
    backend.event_record(event, backend.gpu.stream())

    assert line.locate(event, clock.now_ns) is None


def test_a_line_that_is_closed_leaves_nothing_behind(
    line: AnchorLine, clock: TickingClock, backend: DriftingBackend
) -> None:
    line.tend(0)
    clock.step(SECOND_NS)
    line.tend(0)

    line.close()

    assert (backend.gpu._events, backend.gpu._streams) == ({}, {})


def test_anchors_are_recorded_on_a_stream_of_their_own(
    line: AnchorLine, backend: DriftingBackend
) -> None:
    theirs = backend.gpu.stream()
    recorded = []
    record = backend.event_record
    backend.event_record = lambda event, stream: (  # type: ignore[method-assign]
        recorded.append(stream), record(event, stream)
    )[1]  # fmt: skip

    line.tend(0)

    assert theirs not in recorded
    assert len(recorded) == 1


def test_a_device_without_anchors_says_why_nothing_is_placed() -> None:
    bench = ClockBench()

    def refuse(_: int) -> None:
        raise CudaError(2, "cudaErrorMemoryAllocation")

    bench.backend.stream_create = refuse  # type: ignore[assignment, method-assign]

    fields = bench.timed(50_000).fields

    assert fields["gpu_place_reason"] == "a CUDA call failed: cudaErrorMemoryAllocation (2)"


def test_a_device_without_anchors_still_measures() -> None:
    bench = ClockBench()

    def refuse(_: int) -> None:
        raise CudaError(2, "cudaErrorMemoryAllocation")

    bench.backend.stream_create = refuse  # type: ignore[assignment, method-assign]

    assert bench.timed(50_000).number("gpu_ns") == 50_000


def _busy(backend: DriftingBackend, length_ns: int) -> Callable[[], None]:
    """Puts work before the next events of any stream; the call ends that."""
    record = backend.event_record

    def behind(event: int, stream: object) -> None:
        backend.gpu.launch("busy", length_ns, stream)  # type: ignore[arg-type]
        record(event, stream)  # type: ignore[arg-type]

    backend.event_record = behind  # type: ignore[assignment, method-assign]

    def end() -> None:
        backend.event_record = record  # type: ignore[method-assign]

    return end
