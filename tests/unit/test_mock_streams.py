"""The simulated GPU's default streams, and what goes wrong on it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from gpu_narration.cuda import CudaError, MockBackend, MockGpu, Stream
from gpu_narration.cuda.backend import StreamKind
from tests.support.recording import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1000)


@pytest.fixture
def gpu(clock: ManualClock) -> MockGpu:
    return MockGpu(devices=2, clock=clock)


def _starts(gpu: MockGpu) -> dict[str, int]:
    return {ran.name: ran.start_ns for ran in gpu.ledger}


def test_the_legacy_stream_waits_for_a_blocking_one(gpu: MockGpu) -> None:
    gpu.launch("a", 50, gpu.stream(blocking=True))

    gpu.launch("b", 20)

    assert _starts(gpu) == {"a": 1000, "b": 1050}


def test_a_blocking_stream_waits_for_the_legacy_one(gpu: MockGpu) -> None:
    gpu.launch("a", 50)

    gpu.launch("b", 20, gpu.stream(blocking=True))

    assert _starts(gpu) == {"a": 1000, "b": 1050}


def test_two_blocking_streams_overlap(gpu: MockGpu) -> None:
    gpu.launch("a", 50, gpu.stream(blocking=True))

    gpu.launch("b", 20, gpu.stream(blocking=True))

    assert _starts(gpu) == {"a": 1000, "b": 1000}


def test_work_between_two_of_the_legacy_stream_keeps_them_apart(gpu: MockGpu) -> None:
    blocking = gpu.stream(blocking=True)
    gpu.launch("a", 50)
    gpu.launch("b", 20, blocking)

    gpu.launch("c", 10)

    assert _starts(gpu) == {"a": 1000, "b": 1050, "c": 1070}


def test_the_legacy_stream_and_a_non_blocking_one_overlap(gpu: MockGpu) -> None:
    gpu.launch("a", 50)
    gpu.launch("b", 20, gpu.stream())

    gpu.launch("c", 10)

    assert _starts(gpu) == {"a": 1000, "b": 1000, "c": 1050}


def test_an_event_on_the_legacy_stream_covers_blocking_streams(gpu: MockGpu) -> None:
    start, stop = gpu.event_create(0), gpu.event_create(0)
    gpu.event_record(start, gpu.default_stream())
    gpu.launch("a", 50, gpu.stream(blocking=True))
    gpu.event_record(stop, gpu.default_stream())

    assert _measured(gpu, start, stop) == 50


def test_an_event_on_the_legacy_stream_misses_non_blocking_streams(gpu: MockGpu) -> None:
    start, stop = gpu.event_create(0), gpu.event_create(0)
    gpu.event_record(start, gpu.default_stream())
    gpu.launch("a", 50, gpu.stream())
    gpu.event_record(stop, gpu.default_stream())

    assert _measured(gpu, start, stop) == 0


def test_a_per_thread_stream_is_another_one_in_each_thread(gpu: MockGpu) -> None:
    gpu.launch("a", 50, gpu.per_thread_stream())
    other = threading.Thread(target=gpu.launch, args=("b", 20, gpu.per_thread_stream()))

    other.start()
    other.join()

    assert _starts(gpu) == {"a": 1000, "b": 1000}


def test_a_per_thread_stream_waits_for_the_legacy_one(gpu: MockGpu) -> None:
    gpu.launch("a", 50)

    gpu.launch("b", 20, gpu.per_thread_stream())

    assert _starts(gpu) == {"a": 1000, "b": 1050}


def test_default_streams_of_two_devices_do_not_wait_for_each_other(gpu: MockGpu) -> None:
    gpu.launch("a", 50, gpu.default_stream(0))

    gpu.launch("b", 20, gpu.stream(1, blocking=True))

    assert _starts(gpu) == {"a": 1000, "b": 1000}


@pytest.mark.parametrize("handle", [0, 1])
def test_both_handles_of_the_legacy_stream_are_one(gpu: MockGpu, handle: int) -> None:
    assert MockBackend(gpu).stream_of(handle) == gpu.default_stream()


def test_a_stream_is_found_by_its_handle(gpu: MockGpu) -> None:
    stream = gpu.stream(1)

    assert MockBackend(gpu).stream_of(stream.handle) == stream


def test_kinds_of_streams_are_told_apart(gpu: MockGpu) -> None:
    streams = (
        gpu.default_stream(), gpu.per_thread_stream(), gpu.stream(blocking=True), gpu.stream(),
    )  # fmt: skip

    assert [gpu.stream_kind(stream) for stream in streams] == [
        StreamKind.LEGACY,
        StreamKind.PER_THREAD,
        StreamKind.BLOCKING,
        StreamKind.NON_BLOCKING,
    ]


# ---- what goes wrong ----


def test_a_refused_launch_raises_and_nothing_else_is_wrong(gpu: MockGpu) -> None:
    gpu.refuse_next_launch()
    with pytest.raises(CudaError, match="cudaErrorLaunchOutOfResources"):
        gpu.launch("a", 50)

    gpu.launch("b", 20)

    assert _starts(gpu) == {"b": 1000}


def test_a_faulting_kernel_is_accepted(gpu: MockGpu) -> None:
    gpu.fault_next_launch()
    event = gpu.event_create(0)

    gpu.launch("a", 50)
    gpu.event_record(event, gpu.default_stream())

    assert gpu.event_query(event) is False


def test_a_faulting_kernel_is_not_in_the_ledger(gpu: MockGpu) -> None:
    gpu.fault_next_launch()

    gpu.launch("a", 50)

    assert gpu.ledger == []


@pytest.mark.parametrize("call", ["query", "record", "elapsed", "create", "launch", "memory"])
def test_a_fault_sticks_to_every_later_call(gpu: MockGpu, clock: ManualClock, call: str) -> None:
    event, stream = gpu.event_create(0), gpu.default_stream()
    gpu.event_record(event, stream)
    gpu.fault_next_launch()
    gpu.launch("a", 50)
    clock.step(50)

    assert _code(_calls(gpu, event, stream)[call]) == 700


def test_a_fault_stays_on_its_device(gpu: MockGpu, clock: ManualClock) -> None:
    gpu.fault_next_launch()
    gpu.launch("a", 50)
    clock.step(50)

    gpu.launch("b", 20, gpu.default_stream(1))

    assert _starts(gpu) == {"b": 1050}


@pytest.mark.parametrize("call", ["query", "record", "elapsed", "create", "launch", "memory"])
def test_a_lost_device_answers_nothing(gpu: MockGpu, call: str) -> None:
    event, stream = gpu.event_create(0), gpu.stream()
    gpu.lose_device()

    assert _code(_calls(gpu, event, stream)[call]) == 46


@pytest.mark.parametrize("call", ["query", "record", "elapsed", "launch"])
def test_what_was_made_before_a_reset_is_of_a_destroyed_context(gpu: MockGpu, call: str) -> None:
    event, stream = gpu.event_create(0), gpu.stream()
    gpu.reset_device()

    assert _code(_calls(gpu, event, stream)[call]) == 709


def test_a_device_works_after_a_reset(gpu: MockGpu) -> None:
    gpu.reset_device()

    gpu.launch("a", 50, gpu.stream())

    assert _starts(gpu) == {"a": 1000}


def test_memory_is_free_after_a_reset(gpu: MockGpu) -> None:
    gpu.malloc(1000)

    gpu.reset_device()

    assert gpu.memory(0)[0] == 0


@pytest.mark.parametrize("call", ["query", "record", "elapsed", "create", "launch", "memory"])
def test_everything_is_refused_once_the_driver_shuts_down(gpu: MockGpu, call: str) -> None:
    event, stream = gpu.event_create(0), gpu.stream()
    gpu.end()

    assert _code(_calls(gpu, event, stream)[call]) == 4


@pytest.mark.parametrize(
    ("elapsed_ns", "told_ns"),
    [(1_300, 1_500), (249, 0), (5_000_000, 5_000_000), (3_600_000_000_500, 3_600_000_000_000)],
)
def test_real_precision_rounds_as_the_api_does(
    clock: ManualClock, elapsed_ns: int, told_ns: int
) -> None:
    """Half microseconds, and the 24 bits of a float32: an hour of ms has steps of 0.25 ms."""
    gpu = MockGpu(clock=clock, real_precision=True)
    start, stop = gpu.event_create(0), gpu.event_create(0)
    gpu.event_record(start, gpu.default_stream())
    clock.step(elapsed_ns)
    gpu.event_record(stop, gpu.default_stream())

    assert gpu.event_elapsed_ns(start, stop) == told_ns


def _calls(gpu: MockGpu, event: int, stream: Stream) -> dict[str, Callable[[], object]]:
    return {
        "query": lambda: gpu.event_query(event),
        "record": lambda: gpu.event_record(event, stream),
        "elapsed": lambda: gpu.event_elapsed_ns(event, event),
        "create": lambda: gpu.event_create(0),
        "launch": lambda: gpu.launch("k", 1, stream),
        "memory": lambda: gpu.memory(0),
    }


def _code(call: Callable[[], object]) -> int:
    with pytest.raises(CudaError) as caught:
        call()
    return caught.value.code


def _measured(gpu: MockGpu, start: int, stop: int) -> int:
    clock = gpu._clock
    assert isinstance(clock, ManualClock)
    clock.step(1_000_000)
    return gpu.event_elapsed_ns(start, stop)
