"""Stream capture and graphs of the simulated GPU."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpu_narration.cuda import CudaError, MockGpu, Stream
from gpu_narration.cuda.backend import CaptureStatus
from tests.support.recording import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1000)


@pytest.fixture
def gpu(clock: ManualClock) -> MockGpu:
    return MockGpu(clock=clock)


@pytest.fixture
def stream(gpu: MockGpu) -> Stream:
    """A stream that is capturing."""
    stream = gpu.stream()
    gpu.begin_capture(stream)
    return stream


def _code(call: Callable[[], object]) -> int:
    with pytest.raises(CudaError) as caught:
        call()
    return caught.value.code


def _recorded(gpu: MockGpu, stream: Stream) -> int:
    event = gpu.event_create(0)
    gpu.event_record(event, stream)
    return event


def _forked(gpu: MockGpu, stream: Stream) -> Stream:
    """A second stream that is part of the capture."""
    other = gpu.stream()
    gpu.wait_event(other, _recorded(gpu, stream))
    return other


def test_a_graph_launched_is_one_entry_of_the_ledger(gpu: MockGpu, stream: Stream) -> None:
    gpu.launch("a", 50, stream)
    gpu.launch("b", 20, stream)

    gpu.end_capture(stream, "step").launch(stream)

    assert [(ran.name, ran.start_ns, ran.end_ns) for ran in gpu.ledger] == [("step", 1000, 1070)]


def test_a_graph_can_be_launched_again(gpu: MockGpu, stream: Stream) -> None:
    gpu.launch("a", 50, stream)
    graph = gpu.end_capture(stream)

    graph.launch(stream)
    graph.launch(stream)

    assert [ran.end_ns for ran in gpu.ledger] == [1050, 1100]


def test_a_graph_knows_what_was_launched_into_it(gpu: MockGpu, stream: Stream) -> None:
    gpu.launch("a", 50, stream)
    gpu.launch("b", 20, stream)

    assert [node.name for node in gpu.end_capture(stream).nodes] == ["a", "b"]


def test_a_graph_with_branches_takes_as_long_as_its_longest_path(
    gpu: MockGpu, stream: Stream
) -> None:
    gpu.launch("a", 50, stream)
    other = _forked(gpu, stream)
    gpu.launch("b", 20, stream)
    gpu.launch("c", 300, other)
    gpu.wait_event(stream, _recorded(gpu, other))
    gpu.launch("d", 7, stream)

    assert gpu.end_capture(stream).length_ns == 357


def test_a_graph_counts_the_events_recorded_into_it(gpu: MockGpu, stream: Stream) -> None:
    _recorded(gpu, stream)

    assert gpu.end_capture(stream).records == 1


def test_an_empty_graph_takes_no_time(gpu: MockGpu, stream: Stream) -> None:
    assert gpu.end_capture(stream).length_ns == 0


def test_a_graph_launched_into_a_capture_becomes_a_part_of_it(gpu: MockGpu, stream: Stream) -> None:
    gpu.launch("a", 50, stream)
    inner = gpu.end_capture(stream, "inner")
    gpu.begin_capture(stream)

    inner.launch(stream)

    assert gpu.end_capture(stream).length_ns == 50


def test_a_stream_works_on_after_its_capture(gpu: MockGpu, stream: Stream) -> None:
    gpu.end_capture(stream)

    gpu.launch("a", 50, stream)

    assert [ran.name for ran in gpu.ledger] == ["a"]


def test_a_stream_that_waits_for_a_captured_event_is_captured_too(
    gpu: MockGpu, stream: Stream
) -> None:
    assert gpu.capture_status(_forked(gpu, stream)) is CaptureStatus.ACTIVE


def test_all_streams_of_a_capture_are_free_after_it(gpu: MockGpu, stream: Stream) -> None:
    other = _forked(gpu, stream)

    gpu.end_capture(stream)

    assert gpu.capture_status(other) is CaptureStatus.NONE


@pytest.mark.parametrize("call", ["query", "elapsed"])
def test_an_event_of_a_capture_cannot_be_read(gpu: MockGpu, stream: Stream, call: str) -> None:
    event = _recorded(gpu, stream)
    gpu.end_capture(stream)
    calls = {
        "query": (lambda: gpu.event_query(event), 907),
        "elapsed": (lambda: gpu.event_elapsed_ns(event, event), 400),
    }

    assert _code(calls[call][0]) == calls[call][1]


def test_an_event_recorded_anew_outside_a_capture_can_be_read(gpu: MockGpu, stream: Stream) -> None:
    event = _recorded(gpu, stream)
    gpu.end_capture(stream)

    gpu.event_record(event, stream)

    assert gpu.event_query(event) is True


def test_an_unjoined_stream_is_an_error_at_the_end(gpu: MockGpu, stream: Stream) -> None:
    gpu.launch("a", 1, _forked(gpu, stream))

    assert _code(lambda: gpu.end_capture(stream)) == 904


def test_waiting_for_work_outside_invalidates_a_capture(gpu: MockGpu, stream: Stream) -> None:
    outside = _recorded(gpu, gpu.stream())

    assert _code(lambda: gpu.wait_event(stream, outside)) == 905
    assert gpu.capture_status(stream) is CaptureStatus.INVALIDATED


def test_two_captures_do_not_become_one(gpu: MockGpu, stream: Stream) -> None:
    other = gpu.stream()
    gpu.begin_capture(other)

    assert _code(lambda: gpu.wait_event(other, _recorded(gpu, stream))) == 902


def test_synchronising_invalidates_a_capture(gpu: MockGpu, stream: Stream) -> None:
    assert _code(lambda: gpu.synchronize(stream)) == 900
    assert gpu.capture_status(stream) is CaptureStatus.INVALIDATED


def test_work_for_an_invalidated_capture_is_refused(gpu: MockGpu, stream: Stream) -> None:
    gpu.invalidate_capture(stream)

    assert _code(lambda: gpu.launch("a", 1, stream)) == 901


def test_the_end_of_an_invalidated_capture_is_an_error(gpu: MockGpu, stream: Stream) -> None:
    gpu.invalidate_capture(stream)

    assert _code(lambda: gpu.end_capture(stream)) == 901
    assert gpu.capture_status(stream) is CaptureStatus.NONE


def test_a_capture_ends_on_the_stream_it_began_on(gpu: MockGpu, stream: Stream) -> None:
    other = _forked(gpu, stream)

    assert _code(lambda: gpu.end_capture(other)) == 903


def test_a_capture_begins_once(gpu: MockGpu, stream: Stream) -> None:
    assert _code(lambda: gpu.begin_capture(stream)) == 401


def test_the_legacy_stream_cannot_be_captured(gpu: MockGpu) -> None:
    assert _code(lambda: gpu.begin_capture(gpu.default_stream())) == 900


def test_the_legacy_stream_may_not_be_used_beside_a_capturing_blocking_one(gpu: MockGpu) -> None:
    blocking = gpu.stream(blocking=True)
    gpu.begin_capture(blocking)

    assert _code(lambda: gpu.launch("a", 1)) == 906
    assert gpu.capture_status(blocking) is CaptureStatus.INVALIDATED


def test_asking_for_the_status_of_the_legacy_stream_harms_no_capture(gpu: MockGpu) -> None:
    blocking = gpu.stream(blocking=True)
    gpu.begin_capture(blocking)

    assert gpu.capture_status(gpu.default_stream()) is CaptureStatus.ACTIVE
    assert gpu.capture_status(blocking) is CaptureStatus.ACTIVE


def test_the_legacy_stream_works_beside_a_capturing_non_blocking_one(
    gpu: MockGpu, stream: Stream
) -> None:
    gpu.launch("a", 1)

    assert (len(gpu.ledger), gpu.capture_status(stream)) == (1, CaptureStatus.ACTIVE)
