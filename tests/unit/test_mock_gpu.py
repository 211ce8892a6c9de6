"""The simulated GPU: virtual time, streams, memory."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_narration.cuda import CudaError, MockBackend, MockGpu, Stream
from tests.support.recording import ManualClock

MIB = 1 << 20


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1000)


@pytest.fixture
def gpu(clock: ManualClock) -> MockGpu:
    return MockGpu(devices=2, memory_bytes=10 * MIB, clock=clock)


def _times(gpu: MockGpu) -> list[tuple[str, int, int]]:
    return [(ran.name, ran.start_ns, ran.end_ns) for ran in gpu.ledger]


def test_launches_queue_on_a_stream(gpu: MockGpu) -> None:
    stream = gpu.stream()

    gpu.launch("a", 50, stream)
    gpu.launch("b", 20, stream)

    assert _times(gpu) == [("a", 1000, 1050), ("b", 1050, 1070)]


def test_an_idle_stream_starts_work_at_the_time_of_the_launch(
    gpu: MockGpu, clock: ManualClock
) -> None:
    stream = gpu.stream()
    gpu.launch("a", 50, stream)
    clock.step(300)

    gpu.launch("b", 20, stream)

    assert _times(gpu)[1] == ("b", 1300, 1320)


def test_streams_overlap(gpu: MockGpu) -> None:
    gpu.launch("a", 50, gpu.stream())
    gpu.launch("b", 20, gpu.stream())

    assert _times(gpu) == [("a", 1000, 1050), ("b", 1000, 1020)]


def test_a_stream_waits_for_an_event_of_another(gpu: MockGpu) -> None:
    first, second = gpu.stream(), gpu.stream()
    gpu.launch("a", 50, first)
    event = gpu.event_create(0)
    gpu.event_record(event, first)

    gpu.wait_event(second, event)
    gpu.launch("b", 20, second)

    assert _times(gpu)[1] == ("b", 1050, 1070)


def test_waiting_for_an_event_never_recorded_waits_for_nothing(gpu: MockGpu) -> None:
    stream = gpu.stream()

    gpu.wait_event(stream, gpu.event_create(0))
    gpu.launch("a", 10, stream)

    assert _times(gpu) == [("a", 1000, 1010)]


def test_work_launched_in_capture_does_not_run(gpu: MockGpu) -> None:
    stream = gpu.stream()
    gpu.begin_capture(stream)

    gpu.launch("a", 10, stream)

    assert gpu.ledger == []


def test_a_launch_of_negative_length_is_refused(gpu: MockGpu) -> None:
    with pytest.raises(CudaError, match="cudaErrorInvalidValue"):
        gpu.launch("a", -1)


def test_a_destroyed_stream_takes_no_work(gpu: MockGpu) -> None:
    stream = gpu.stream()
    gpu.destroy_stream(stream)

    with pytest.raises(CudaError, match="cudaErrorInvalidResourceHandle"):
        gpu.launch("a", 10, stream)


def test_the_default_stream_cannot_be_destroyed(gpu: MockGpu) -> None:
    with pytest.raises(CudaError, match="cudaErrorInvalidResourceHandle"):
        gpu.destroy_stream(gpu.default_stream())


def test_a_stream_belongs_to_its_device_only(gpu: MockGpu) -> None:
    stream = gpu.stream(0)

    with pytest.raises(CudaError, match="cudaErrorInvalidResourceHandle"):
        gpu.launch("a", 10, Stream(stream.handle, 1))


def test_each_device_has_a_default_stream_of_handle_0(gpu: MockGpu) -> None:
    gpu.launch("a", 10, gpu.default_stream(1))

    assert [(ran.stream, ran.device) for ran in gpu.ledger] == [(0, 1)]


def test_memory_can_be_filled_to_its_capacity(gpu: MockGpu) -> None:
    gpu.malloc(10 * MIB)

    assert gpu.memory(0) == (10 * MIB, 10 * MIB)


def test_memory_past_its_capacity_is_out_of_memory(gpu: MockGpu) -> None:
    gpu.malloc(9 * MIB)

    with pytest.raises(CudaError, match=r"cudaErrorMemoryAllocation \(2\)"):
        gpu.malloc(MIB + 1)


def test_a_refused_allocation_takes_nothing(gpu: MockGpu) -> None:
    with pytest.raises(CudaError):
        gpu.malloc(11 * MIB)

    assert gpu.memory(0)[0] == 0


def test_each_device_has_memory_of_its_own(gpu: MockGpu) -> None:
    gpu.malloc(10 * MIB, device=0)

    assert MockBackend(gpu).memory_info(1).free_bytes == 10 * MIB


def test_memory_freed_can_be_had_again(gpu: MockGpu) -> None:
    gpu.free(gpu.malloc(10 * MIB))

    gpu.malloc(10 * MIB)

    assert gpu.memory(0)[0] == 10 * MIB


def test_a_double_free_is_an_error(gpu: MockGpu) -> None:
    address = gpu.malloc(MIB)
    gpu.free(address)

    with pytest.raises(CudaError, match=r"cudaErrorInvalidValue \(1\)"):
        gpu.free(address)


_STREAMS = st.integers(0, 3)
_STEPS = st.one_of(
    st.tuples(st.just("launch"), _STREAMS, st.integers(0, 10_000)),
    st.tuples(st.just("record"), _STREAMS, st.just(0)),
    st.tuples(st.just("pass"), st.just(0), st.integers(0, 5_000)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_STEPS, max_size=60))
def test_events_measure_what_the_ledger_says(program: list[tuple[str, int, int]]) -> None:
    """GIVEN any program, THEN each pair on a stream spans what the ledger says ran there."""
    clock = ManualClock(5)
    gpu = MockGpu(clock=clock)
    streams = [gpu.stream() for _ in range(4)]
    events: list[list[tuple[int, int]]] = [[] for _ in streams]
    for action, index, amount in program:
        if action == "launch":
            gpu.launch("k", amount, streams[index])
        elif action == "record":
            event = gpu.event_create(0)
            gpu.event_record(event, streams[index])
            ends = [ran.end_ns for ran in gpu.ledger if ran.stream == streams[index].handle]
            events[index].append((event, max([clock(), *ends])))
        else:
            clock.step(amount)
    clock.step(10_000_000)

    pairs = [pair for recorded in events for pair in pairwise(recorded)]
    measured = [gpu.event_elapsed_ns(first, last) for (first, _), (last, _) in pairs]

    assert measured == [later - earlier for (_, earlier), (_, later) in pairs]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(_STREAMS, st.integers(0, 9_000), st.integers(0, 900)), max_size=40))
def test_nothing_overlaps_on_one_stream(program: list[tuple[int, int, int]]) -> None:
    clock = ManualClock()
    gpu = MockGpu(clock=clock)
    streams = [gpu.stream() for _ in range(4)]

    for index, length, pause in program:
        gpu.launch("k", length, streams[index])
        clock.step(pause)

    for stream in streams:
        ran = [entry for entry in gpu.ledger if entry.stream == stream.handle]
        assert all(earlier.end_ns <= later.start_ns for earlier, later in pairwise(ran))
