"""What every backend promises when streams, contexts, devices and the driver go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gpu_narration.cuda import CudaError, Stream
from tests.support.backends import Bench, FakeDriverBench, code_of

#: Calls about what was made before, of a program that still holds it.
OLD = ["status", "record", "query", "elapsed"]
#: Calls that make something new or ask about the device.
NEW = ["create", "stream", "memory"]


@pytest.fixture
def calls(bench: Bench) -> dict[str, Callable[[], object]]:
    bench.need_simulation()
    backend, target = bench.backend, bench.backend.stream_of(bench.new_stream())
    first, second = bench.recorded_event(target), bench.recorded_event(target)
    own = backend.stream_create(0)
    bench.let_work_finish()
    return {
        "status": lambda: backend.capture_status(target),
        "record": lambda: backend.event_record(first, target),
        "query": lambda: backend.event_query(first),
        "elapsed": lambda: backend.event_elapsed_ns(first, second, 0),
        "create": lambda: backend.event_create(0),
        "stream": lambda: backend.stream_create(0),
        "memory": lambda: backend.memory_info(0),
        "destroy": lambda: backend.event_destroy(first),
        "destroy stream": lambda: backend.stream_destroy(own),
    }


def _error(call: Callable[[], object]) -> CudaError:
    with pytest.raises(CudaError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize("use", ["status", "flags", "record", "handle"])
def test_a_destroyed_stream_is_error_400(bench: Bench, use: str) -> None:
    bench.need_simulation()
    stream: Any = bench.new_stream()
    target = bench.backend.stream_of(stream)
    event = bench.recorded_event(target)
    bench.destroy_stream(stream)
    uses: dict[str, Callable[[], object]] = {
        "status": lambda: bench.backend.capture_status(target),
        "flags": lambda: bench.backend.stream_flags(target),
        "record": lambda: bench.backend.event_record(event, target),
        "handle": lambda: bench.backend.stream_of(target.handle),
    }

    assert code_of(uses[use]) == 400


def test_a_destroyed_stream_is_no_fatal_error(bench: Bench) -> None:
    bench.need_simulation()
    stream: Any = bench.new_stream()
    target = bench.backend.stream_of(stream)
    bench.destroy_stream(stream)

    assert _error(lambda: bench.backend.capture_status(target)).fatal is False


@pytest.mark.parametrize("call", OLD)
def test_what_was_made_before_a_reset_is_of_a_destroyed_context(
    bench: Bench, calls: dict[str, Callable[[], object]], call: str
) -> None:
    bench.reset_device(0)

    error = _error(calls[call])

    assert (error.code, error.fatal) == (709, True)


@pytest.mark.parametrize("call", OLD)
def test_what_was_made_before_a_reset_stays_dead_when_the_device_is_used_again(
    bench: Bench, calls: dict[str, Callable[[], object]], call: str
) -> None:
    if isinstance(bench, FakeDriverBench) and not hasattr(bench.fake.library, "cuCtxGetId"):
        pytest.skip("a driver before CUDA 12.0 does not tell two lives of a context apart")
    bench.reset_device(0)
    bench.new_stream(0)

    assert _error(calls[call]).code == 709


def test_a_device_can_be_used_again_after_a_reset(bench: Bench) -> None:
    bench.need_simulation()
    bench.recorded_event(bench.new_stream())
    bench.reset_device(0)

    event = bench.recorded_event(bench.new_stream())

    assert bench.backend.event_query(event) is True


def test_another_device_goes_on_after_a_reset(bench: Bench) -> None:
    bench.need_simulation()
    event = bench.recorded_event(bench.new_stream(1))

    bench.reset_device(0)

    assert bench.backend.event_query(event) is True


@pytest.mark.parametrize("call", ["destroy", "destroy stream"])
@pytest.mark.parametrize("how", ["reset", "lost", "ended"])
def test_destroying_what_is_gone_with_its_context_does_nothing(
    bench: Bench, calls: dict[str, Callable[[], object]], call: str, how: str
) -> None:
    {
        "reset": lambda: bench.reset_device(0),
        "lost": lambda: bench.lose_device(0),
        "ended": bench.end_driver,
    }[how]()

    assert calls[call]() is None


@pytest.mark.parametrize("call", [*OLD, *NEW])
def test_a_lost_device_is_a_fatal_error(
    bench: Bench, calls: dict[str, Callable[[], object]], call: str
) -> None:
    bench.lose_device(0)

    assert _error(calls[call]).fatal is True


@pytest.mark.parametrize("call", ["query", "record", "create", "memory"])
def test_an_illegal_address_sticks_to_every_later_call(
    bench: Bench, calls: dict[str, Callable[[], object]], call: str
) -> None:
    bench.fault(bench.new_stream())
    bench.let_work_finish()

    error = _error(calls[call])

    assert (error.code, error.fatal) == (700, True)


def test_an_event_behind_an_illegal_address_is_not_done_before_it(bench: Bench) -> None:
    bench.need_simulation()
    stream = bench.new_stream()
    bench.fault(stream)

    event = bench.recorded_event(stream)

    assert bench.backend.event_query(event) is False


@pytest.mark.parametrize("call", [*OLD, *NEW])
def test_a_driver_that_has_shut_down_is_a_fatal_error(
    bench: Bench, calls: dict[str, Callable[[], object]], call: str
) -> None:
    bench.end_driver()

    error = _error(calls[call])

    assert (error.code, error.fatal) == (4, True)


@pytest.mark.parametrize("how", ["reset", "lost", "ended", "fault"])
def test_no_handle_is_touched_after_its_context_is_gone(
    bench: Bench, calls: dict[str, Callable[[], object]], how: str
) -> None:
    """A driver may crash on one, where the fake library counts it."""
    if not isinstance(bench, FakeDriverBench):
        pytest.skip("only the fake library counts")
    {
        "reset": lambda: bench.reset_device(0),
        "lost": lambda: bench.lose_device(0),
        "ended": bench.end_driver,
        "fault": lambda: bench.fault(bench.new_stream()),
    }[how]()
    bench.let_work_finish()
    for call in calls.values():
        try:
            call()
        except CudaError:
            continue

    assert bench.fake.stale() == 0


def test_a_stream_that_was_never_made_is_error_400(bench: Bench) -> None:
    bench.need_simulation()

    assert code_of(lambda: bench.backend.capture_status(Stream(0xABCDE0, 0))) == 400
