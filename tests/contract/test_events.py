"""What every backend promises of events and of captures."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from gpu_narration.cuda import Stream
from gpu_narration.cuda.backend import LEGACY_HANDLE, CaptureStatus
from tests.support.backends import WORK_NS, Bench, code_of


def test_a_pair_round_work_measures_at_least_that_work(bench: Bench) -> None:
    stream = bench.new_stream()
    start = bench.recorded_event(stream)
    bench.work(stream)
    stop = bench.recorded_event(stream)

    bench.let_work_finish()

    # A real GPU may clock above 1 GHz: its WORK_NS cycles then take less than WORK_NS.
    assert bench.backend.event_elapsed_ns(start, stop, 0) >= WORK_NS / 4


def test_a_simulated_pair_measures_the_work_exactly(bench: Bench) -> None:
    bench.need_simulation()
    stream = bench.new_stream()
    start = bench.recorded_event(stream)
    bench.work(stream)
    stop = bench.recorded_event(stream)

    bench.let_work_finish()

    assert bench.backend.event_elapsed_ns(start, stop, 0) == WORK_NS


@pytest.mark.parametrize("handle", [0, 2])
def test_a_pair_on_a_default_stream_measures_its_work(bench: Bench, handle: int) -> None:
    start = bench.recorded_event(handle)
    bench.work(bench.backend.stream_of(handle))
    stop = bench.recorded_event(handle)

    bench.let_work_finish()

    assert bench.backend.event_elapsed_ns(start, stop, 0) >= WORK_NS / 4


def test_a_pair_on_the_default_stream_of_another_device_measures_its_work(bench: Bench) -> None:
    bench.need_devices(2)
    stream = bench.new_stream(1, blocking=True)
    default = Stream(LEGACY_HANDLE, 1)
    start = bench.recorded_event(default)
    bench.work(stream)
    stop = bench.recorded_event(default)

    bench.let_work_finish()

    assert bench.backend.event_elapsed_ns(start, stop, 1) >= WORK_NS / 4


def test_an_event_behind_running_work_is_not_done(bench: Bench) -> None:
    stream = bench.new_stream()
    bench.work(stream)

    event = bench.recorded_event(stream)

    assert bench.backend.event_query(event) is False


def test_an_event_is_done_once_its_work_has_finished(bench: Bench) -> None:
    stream = bench.new_stream()
    bench.work(stream)
    event = bench.recorded_event(stream)

    bench.let_work_finish()

    assert bench.backend.event_query(event) is True


def test_an_event_never_recorded_is_done(bench: Bench) -> None:
    assert bench.backend.event_query(bench.backend.event_create(0)) is True


def test_an_event_can_be_read_in_another_thread(bench: Bench) -> None:
    """The watcher has no device current, and reads what any thread has recorded."""
    stream = bench.new_stream()
    start = bench.recorded_event(stream)
    bench.work(stream)
    stop = bench.recorded_event(stream)
    bench.let_work_finish()
    read: list[object] = []

    def watch() -> None:
        read.append(bench.backend.event_query(stop))
        read.append(bench.backend.event_elapsed_ns(start, stop, 0) >= WORK_NS / 4)

    watcher = threading.Thread(target=watch)
    watcher.start()
    watcher.join()

    assert read == [True, True]


def test_another_thread_can_make_events_and_streams(bench: Bench) -> None:
    bench.new_stream()
    done: list[bool] = []

    def make() -> None:
        event = bench.recorded_event(bench.backend.stream_create(0))
        bench.let_work_finish()
        done.append(bench.backend.event_query(event))

    maker = threading.Thread(target=make)
    maker.start()
    maker.join()

    assert done == [True]


def test_an_event_recorded_again_takes_the_later_time(bench: Bench) -> None:
    stream = bench.new_stream()
    start, stop = bench.recorded_event(stream), bench.recorded_event(stream)
    bench.work(stream)
    bench.backend.event_record(stop, bench.backend.stream_of(stream))

    bench.let_work_finish()

    assert bench.backend.event_elapsed_ns(start, stop, 0) >= WORK_NS / 4


def test_a_pair_the_wrong_way_round_is_negative(bench: Bench) -> None:
    stream = bench.new_stream()
    start = bench.recorded_event(stream)
    bench.work(stream)
    stop = bench.recorded_event(stream)

    bench.let_work_finish()

    assert bench.backend.event_elapsed_ns(stop, start, 0) < 0


def test_elapsed_of_an_unfinished_pair_is_error_600(bench: Bench) -> None:
    stream = bench.new_stream()
    start = bench.recorded_event(stream)
    bench.work(stream)
    stop = bench.recorded_event(stream)

    assert code_of(lambda: bench.backend.event_elapsed_ns(start, stop, 0)) == 600


def test_elapsed_of_an_unrecorded_event_is_error_400(bench: Bench) -> None:
    start = bench.recorded_event(bench.new_stream())
    never = bench.backend.event_create(0)
    bench.let_work_finish()

    assert code_of(lambda: bench.backend.event_elapsed_ns(start, never, 0)) == 400


def test_elapsed_of_an_event_without_timing_is_error_400(bench: Bench) -> None:
    start = bench.recorded_event(bench.new_stream())
    untimed = bench.untimed_event()
    bench.let_work_finish()

    assert code_of(lambda: bench.backend.event_elapsed_ns(start, untimed, 0)) == 400


def test_elapsed_across_devices_is_error_400(bench: Bench) -> None:
    bench.need_devices(2)
    here = bench.recorded_event(bench.new_stream(0))
    there = bench.recorded_event(bench.new_stream(1))
    bench.let_work_finish()

    assert code_of(lambda: bench.backend.event_elapsed_ns(here, there, 0)) == 400


def test_recording_an_event_of_another_device_is_error_400(bench: Bench) -> None:
    bench.need_devices(2)
    target = bench.backend.stream_of(bench.new_stream(0))
    bench.new_stream(1)
    event = bench.backend.event_create(1)

    assert code_of(lambda: bench.backend.event_record(event, target)) == 400


def test_an_event_of_no_such_device_is_error_101(bench: Bench) -> None:
    assert code_of(lambda: bench.backend.event_create(99)) == 101


@pytest.mark.parametrize("use", ["record", "query", "elapsed", "destroy"])
def test_a_destroyed_event_is_error_400(bench: Bench, use: str) -> None:
    backend, target = bench.backend, bench.backend.stream_of(bench.new_stream())
    alive, gone = bench.recorded_event(target), bench.recorded_event(target)
    backend.event_destroy(gone)
    calls: dict[str, Callable[[], object]] = {
        "record": lambda: backend.event_record(gone, target),
        "query": lambda: backend.event_query(gone),
        "elapsed": lambda: backend.event_elapsed_ns(alive, gone, 0),
        "destroy": lambda: backend.event_destroy(gone),
    }

    assert code_of(calls[use]) == 400


# ---- captures ----


def test_a_stream_says_that_it_is_capturing_only_while_it_is(bench: Bench) -> None:
    stream = bench.new_stream()
    target = bench.backend.stream_of(stream)

    before = bench.backend.capture_status(target)
    with bench.capture(stream):
        during = bench.backend.capture_status(target)
    after = bench.backend.capture_status(target)

    none, active = CaptureStatus.NONE, CaptureStatus.ACTIVE
    assert (before, during, after) == (none, active, none)


def test_a_stream_says_that_its_capture_was_invalidated(bench: Bench) -> None:
    stream = bench.new_stream()
    with bench.capture(stream):
        bench.invalidate_capture(stream)

        status = bench.backend.capture_status(bench.backend.stream_of(stream))

    assert status is CaptureStatus.INVALIDATED


def test_a_stream_beside_a_capturing_one_is_not_capturing(bench: Bench) -> None:
    other = bench.backend.stream_of(bench.new_stream())
    with bench.capture(bench.new_stream()):
        status = bench.backend.capture_status(other)

    assert status is CaptureStatus.NONE


def test_the_legacy_stream_beside_a_capturing_blocking_one_may_not_be_used(bench: Bench) -> None:
    with bench.capture(bench.new_stream(blocking=True)):
        status = bench.backend.capture_status(Stream(LEGACY_HANDLE, 0))

    assert status is CaptureStatus.ACTIVE


def test_the_legacy_stream_beside_a_capturing_non_blocking_one_may_be_used(bench: Bench) -> None:
    with bench.capture(bench.new_stream()):
        status = bench.backend.capture_status(Stream(LEGACY_HANDLE, 0))

    assert status is CaptureStatus.NONE


def test_an_event_recorded_in_capture_measures_nothing(bench: Bench) -> None:
    """The record goes into the graph: of the event there is nothing to read."""
    stream = bench.new_stream()
    target = bench.backend.stream_of(stream)
    start, stop = bench.recorded_event(stream), bench.backend.event_create(0)
    bench.let_work_finish()
    with bench.capture(stream):
        bench.backend.event_record(stop, target)

    assert code_of(lambda: bench.backend.event_elapsed_ns(start, stop, 0)) == 400


@pytest.mark.parametrize(
    "call", ["create", "record", "query", "elapsed", "destroy", "memory", "stream", "status"]
)
@pytest.mark.parametrize("where", ["the capturing thread", "another thread"])
def test_no_call_disturbs_a_capture_under_way(bench: Bench, call: str, where: str) -> None:
    """GIVEN a capture in the global mode, as PyTorch begins them."""
    backend, other = bench.backend, bench.backend.stream_of(bench.new_stream())
    first, second = bench.recorded_event(other), bench.recorded_event(other)
    bench.let_work_finish()
    calls: dict[str, Callable[[], object]] = {
        "create": lambda: backend.event_create(0),
        "record": lambda: backend.event_record(first, other),
        "query": lambda: backend.event_query(first),
        "elapsed": lambda: backend.event_elapsed_ns(first, second, 0),
        "destroy": lambda: backend.event_destroy(first),
        "memory": lambda: backend.memory_info(0),
        "stream": lambda: backend.stream_destroy(backend.stream_create(0)),
        "status": lambda: backend.capture_status(Stream(LEGACY_HANDLE, 0)),
    }
    stream = bench.new_stream()
    with bench.capture(stream):
        if where == "another thread":
            thread = threading.Thread(target=calls[call])
            thread.start()
            thread.join()
        else:
            calls[call]()

        status = backend.capture_status(backend.stream_of(stream))

    assert status is CaptureStatus.ACTIVE
