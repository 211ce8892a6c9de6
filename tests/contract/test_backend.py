"""What every backend promises, real or simulated."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from gpu_narration.cuda import CudaError, MockBackend, MockGpu, Stream
from gpu_narration.cuda.backend import Backend, CaptureStatus, NoBackend, choose

#: Long enough to be seen unfinished, short enough to be waited for.
WORK_NS = 200_000_000


@dataclass
class Bench:
    """A backend and the few things the protocol leaves to the program."""

    backend: Backend
    new_stream: Callable[[int], object]
    work: Callable[[object], None]
    capture: Callable[[object], Any]

    def wait_for(self, event: int) -> None:
        give_up = time.monotonic() + 20
        while not self.backend.event_query(event):
            assert time.monotonic() < give_up, "the event never finished"
            time.sleep(0.001)

    def recorded_event(self, stream: object) -> int:
        target = self.backend.stream_of(stream)
        event = self.backend.event_create(target.device)
        self.backend.event_record(event, target)
        return event


def _mock_bench() -> Bench:
    gpu = MockGpu(devices=2)

    @contextmanager
    def capture(stream: Stream) -> Iterator[None]:
        gpu.begin_capture(stream)
        yield
        gpu.end_capture(stream)

    return Bench(
        MockBackend(gpu), gpu.stream, lambda stream: gpu.launch("work", WORK_NS, stream), capture
    )


def _cupy_bench() -> Bench:
    chosen = choose("auto")
    if isinstance(chosen, NoBackend):
        pytest.skip(f"no cupy backend: {chosen.reason}")
    import cupy

    spin = cupy.RawKernel(
        'extern "C" __global__ void spin(long long n)'
        "{ long long begin = clock64(); while (clock64() - begin < n) {} }",
        "spin",
    )

    def new_stream(device: int) -> object:
        with cupy.cuda.Device(device):
            return cupy.cuda.Stream(non_blocking=True)

    def work(stream: Any) -> None:
        with stream:
            spin((1,), (1,), (WORK_NS,))

    @contextmanager
    def capture(stream: Any) -> Iterator[None]:
        with stream:
            stream.begin_capture()
            yield
            stream.end_capture()

    return Bench(chosen, new_stream, work, capture)


@pytest.fixture(params=["mock", pytest.param("cupy", marks=pytest.mark.gpu)])
def bench(request: pytest.FixtureRequest) -> Bench:
    return _mock_bench() if request.param == "mock" else _cupy_bench()


def _code(call: Callable[[], object]) -> int:
    with pytest.raises(CudaError) as caught:
        call()
    return caught.value.code


def test_a_pair_round_work_measures_at_least_that_work(bench: Bench) -> None:
    stream = bench.new_stream(0)
    start = bench.recorded_event(stream)
    bench.work(stream)
    stop = bench.recorded_event(stream)

    bench.wait_for(stop)

    # A real GPU may clock above 1 GHz: its WORK_NS cycles then take less than WORK_NS.
    assert bench.backend.event_elapsed_ns(start, stop, 0) >= WORK_NS / 4


def test_an_event_behind_running_work_is_not_done(bench: Bench) -> None:
    stream = bench.new_stream(0)
    bench.work(stream)

    event = bench.recorded_event(stream)

    assert bench.backend.event_query(event) is False


def test_an_event_is_done_once_its_work_has_finished(bench: Bench) -> None:
    stream = bench.new_stream(0)
    bench.work(stream)
    event = bench.recorded_event(stream)

    bench.wait_for(event)

    assert bench.backend.event_query(event) is True


def test_an_event_recorded_again_takes_the_later_time(bench: Bench) -> None:
    stream = bench.new_stream(0)
    start, stop = bench.recorded_event(stream), bench.recorded_event(stream)
    bench.work(stream)
    bench.backend.event_record(stop, bench.backend.stream_of(stream))

    bench.wait_for(stop)

    assert bench.backend.event_elapsed_ns(start, stop, 0) >= WORK_NS / 4


def test_a_pair_the_wrong_way_round_is_negative(bench: Bench) -> None:
    stream = bench.new_stream(0)
    start = bench.recorded_event(stream)
    bench.work(stream)
    stop = bench.recorded_event(stream)

    bench.wait_for(stop)

    assert bench.backend.event_elapsed_ns(stop, start, 0) < 0


def test_elapsed_of_an_unfinished_pair_is_error_600(bench: Bench) -> None:
    stream = bench.new_stream(0)
    start = bench.recorded_event(stream)
    bench.work(stream)
    stop = bench.recorded_event(stream)

    assert _code(lambda: bench.backend.event_elapsed_ns(start, stop, 0)) == 600


def test_elapsed_of_an_unrecorded_event_is_error_400(bench: Bench) -> None:
    stream = bench.new_stream(0)
    start = bench.recorded_event(stream)
    never = bench.backend.event_create(0)
    bench.wait_for(start)

    assert _code(lambda: bench.backend.event_elapsed_ns(start, never, 0)) == 400


def test_recording_an_event_of_another_device_is_error_400(bench: Bench) -> None:
    if len(bench.backend.devices()) < 2:
        pytest.skip("needs two devices")
    event = bench.backend.event_create(1)
    target = bench.backend.stream_of(bench.new_stream(0))

    assert _code(lambda: bench.backend.event_record(event, target)) == 400


def test_elapsed_across_devices_is_error_400(bench: Bench) -> None:
    if len(bench.backend.devices()) < 2:
        pytest.skip("needs two devices")
    here = bench.recorded_event(bench.new_stream(0))
    there = bench.recorded_event(bench.new_stream(1))
    bench.wait_for(here)
    bench.wait_for(there)

    assert _code(lambda: bench.backend.event_elapsed_ns(here, there, 0)) == 400


@pytest.mark.parametrize("use", ["record", "query", "elapsed", "destroy"])
def test_a_destroyed_event_is_error_400(bench: Bench, use: str) -> None:
    if bench.backend.name == "cupy":
        pytest.skip("the CUDA runtime leaves the use of a destroyed event undefined")
    backend, target = bench.backend, bench.backend.stream_of(bench.new_stream(0))
    alive = bench.recorded_event(target)
    gone = bench.recorded_event(target)
    backend.event_destroy(gone)
    calls: dict[str, Callable[[], object]] = {
        "record": lambda: backend.event_record(gone, target),
        "query": lambda: backend.event_query(gone),
        "elapsed": lambda: backend.event_elapsed_ns(alive, gone, 0),
        "destroy": lambda: backend.event_destroy(gone),
    }

    assert _code(calls[use]) == 400


def test_a_stream_says_that_it_is_capturing_only_while_it_is(bench: Bench) -> None:
    stream = bench.new_stream(0)
    target = bench.backend.stream_of(stream)

    before = bench.backend.capture_status(target)
    with bench.capture(stream):
        during = bench.backend.capture_status(target)
    after = bench.backend.capture_status(target)

    none, active = CaptureStatus.NONE, CaptureStatus.ACTIVE
    assert (before, during, after) == (none, active, none)


def test_an_event_recorded_in_capture_measures_nothing(bench: Bench) -> None:
    """The record goes into the graph: of the event there is nothing to read."""
    stream = bench.new_stream(0)
    target = bench.backend.stream_of(stream)
    start, stop = bench.recorded_event(stream), bench.backend.event_create(0)
    bench.wait_for(start)
    with bench.capture(stream):
        bench.backend.event_record(stop, target)

    assert _code(lambda: bench.backend.event_elapsed_ns(start, stop, 0)) == 400


def test_memory_info_adds_up(bench: Bench) -> None:
    info = bench.backend.memory_info(0)

    assert info.used_bytes + info.free_bytes == info.total_bytes


def test_memory_info_says_that_it_is_exact(bench: Bench) -> None:
    assert bench.backend.memory_info(0).source == "exact"


def test_memory_info_of_no_such_device_is_error_101(bench: Bench) -> None:
    assert _code(lambda: bench.backend.memory_info(99)) == 101


def test_no_stream_means_the_current_one(bench: Bench) -> None:
    assert bench.backend.stream_of(None) == Stream(0, 0)


@pytest.mark.parametrize("nonsense", ["7", 1.5, object(), True])
def test_what_is_no_stream_is_a_type_error(bench: Bench, nonsense: object) -> None:
    with pytest.raises(TypeError, match=type(nonsense).__name__):
        bench.backend.stream_of(nonsense)


def test_two_streams_have_different_handles(bench: Bench) -> None:
    first, second = bench.new_stream(0), bench.new_stream(0)

    assert bench.backend.stream_of(first) != bench.backend.stream_of(second)


def test_device_uuids_are_unique(bench: Bench) -> None:
    uuids = [device.uuid for device in bench.backend.devices()]

    assert len(set(uuids)) == len(uuids) > 0


def test_devices_are_numbered_as_the_program_sees_them(bench: Bench) -> None:
    devices = bench.backend.devices()

    assert [device.index for device in devices] == list(range(len(devices)))


def test_only_the_simulator_says_that_it_is_simulated(bench: Bench) -> None:
    assert bench.backend.simulated is (bench.backend.name == "mock")
