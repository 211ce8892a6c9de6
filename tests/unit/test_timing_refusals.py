"""Where no honest number can be had, the timer gives a reason instead."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpu_narration.cuda.timing import Timer
from tests.support.timer_bench import Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_full_pool_refuses_an_interval_at_its_begin(bench: Bench) -> None:
    bench.timed(1, 500)
    bench.timed(2, 500)

    refused = bench.timer.open(3, bench.stream)

    assert (refused, bench.reasons()) == (None, {3: "event pool exhausted"})


def test_a_full_pool_refuses_an_interval_at_its_end() -> None:
    bench = Bench(pool_limit=1)

    bench.timer.close(bench.open(1))

    assert bench.reasons() == {1: "event pool exhausted"}


def test_a_refused_interval_has_no_number() -> None:
    bench = Bench(pool_limit=1)
    bench.open(1)

    bench.timer.open(2, bench.stream)

    assert bench.elapsed() == {2: None}


def test_a_pool_refills_once_its_events_were_read(bench: Bench) -> None:
    bench.timed(1, 500)
    bench.timed(2, 500)
    bench.finish()

    bench.timed(3, 500)
    bench.finish()

    assert bench.elapsed() == {1: 500, 2: 500, 3: 500}


def test_a_capturing_stream_is_not_timed(bench: Bench) -> None:
    bench.gpu.begin_capture(bench.stream)

    bench.timer.open(1, bench.stream)

    assert bench.reasons() == {1: "stream capture"}


def test_a_capture_that_began_inside_is_not_timed(bench: Bench) -> None:
    interval = bench.open()
    bench.gpu.begin_capture(bench.stream)

    bench.timer.close(interval)

    assert bench.reasons() == {1: "capture began inside the span"}


def test_nothing_is_recorded_into_a_capture(bench: Bench) -> None:
    bench.gpu.begin_capture(bench.stream)

    bench.timer.open(1, bench.stream)

    assert bench.backend.created == 0


def test_a_negative_elapsed_time_is_no_number(bench: Bench) -> None:
    bench.timed(1, 500)
    bench.backend.event_elapsed_ns = lambda *_: -7  # type: ignore[method-assign]

    bench.finish()

    assert bench.answers[0][1]["gpu_ns"] is None


def test_a_negative_elapsed_time_has_a_reason(bench: Bench) -> None:
    bench.timed(1, 500)
    bench.backend.event_elapsed_ns = lambda *_: -7  # type: ignore[method-assign]

    bench.finish()

    assert bench.reasons() == {1: "impossible elapsed time"}


def test_an_elapsed_time_longer_than_the_cpu_waited_is_no_number(bench: Bench) -> None:
    """GIVEN a pair opened 1 ms before it was seen done, WHEN it reads 2 s."""
    bench.timed(1, 500)
    bench.backend.event_elapsed_ns = lambda *_: 2_000_000_000  # type: ignore[method-assign]

    bench.finish()

    assert (bench.elapsed(), bench.reasons()) == ({1: None}, {1: "impossible elapsed time"})


def test_an_impossible_value_stands_beside_its_reason(bench: Bench) -> None:
    bench.timed(1, 500)
    bench.backend.event_elapsed_ns = lambda *_: -7  # type: ignore[method-assign]

    bench.finish()

    assert bench.answers[0][1]["gpu_detail"] == "-7 ns within 1000000 ns of the CPU's clock"


def test_a_stream_destroyed_inside_has_a_reason(bench: Bench) -> None:
    interval = bench.open()
    bench.gpu.destroy_stream(bench.stream)

    bench.timer.close(interval)

    assert bench.reasons() == {1: "the stream was destroyed"}


def test_a_handle_that_is_no_stream_has_a_reason(bench: Bench) -> None:
    bench.gpu.destroy_stream(bench.stream)

    bench.timer.open(1, bench.stream)

    assert bench.reasons() == {1: "unknown stream"}


def test_what_is_no_stream_has_a_reason(bench: Bench) -> None:
    bench.timer.open(1, "seven")

    assert bench.reasons() == {1: "unknown stream"}


def test_a_stream_object_that_raises_has_a_reason(bench: Bench) -> None:
    class Broken:
        def __cuda_stream__(self) -> tuple[int, int]:
            raise RuntimeError("the program's own")

    bench.timer.open(1, Broken())

    assert (bench.reasons(), bench.answers[0][1]["gpu_detail"]) == (
        {1: "unknown stream"},
        "RuntimeError",
    )


def test_a_failing_reading_has_a_reason(bench: Bench) -> None:
    bench.timed(1, 500)
    bench.backend.refuse["elapsed"] = 1

    bench.finish()

    assert bench.reasons() == {1: "a CUDA call failed"}


def test_the_name_of_a_cuda_error_stands_beside_its_reason(bench: Bench) -> None:
    bench.timed(1, 500)
    bench.backend.refuse["elapsed"] = 1

    bench.finish()

    assert bench.answers[0][1]["gpu_detail"] == "cudaErrorUnknown (999)"


def test_a_failing_reading_does_not_stop_the_next(bench: Bench) -> None:
    bench.timed(1, 500)
    bench.timed(2, 200)
    bench.backend.refuse["elapsed"] = 1

    bench.finish()

    assert bench.elapsed() == {1: None, 2: 200}


@pytest.mark.parametrize("call", ["create", "record"])
def test_failures_do_not_use_up_the_pool(bench: Bench, call: str) -> None:
    """GIVEN more failures than the pool has events, THEN the next interval is still timed."""
    bench.backend.refuse[call] = 20
    for event_id in range(20):
        bench.timer.open(event_id, bench.stream)

    bench.timed(99, 500)
    bench.finish()

    assert bench.elapsed()[99] == 500


def test_failures_at_the_end_do_not_use_up_the_pool(bench: Bench) -> None:
    for event_id in range(20):
        interval = bench.open(event_id)
        bench.backend.refuse["record"] = 1
        bench.timer.close(interval)

    bench.timed(99, 500)
    bench.finish()

    assert bench.elapsed()[99] == 500


def test_a_cancelled_interval_is_answered_with_the_reason(bench: Bench) -> None:
    bench.timer.cancel(bench.open(1), "the launch failed")

    assert (bench.elapsed(), bench.reasons()) == ({1: None}, {1: "the launch failed"})


def test_abandoning_answers_all_that_is_left(bench: Bench) -> None:
    bench.timed(1, 500)
    bench.timed(2, 500, bench.gpu.stream())

    bench.timer.abandon("the end")

    assert bench.reasons() == {1: "the end", 2: "the end"}


def test_what_was_abandoned_is_not_answered_again(bench: Bench) -> None:
    bench.timed(1, 500)
    bench.timer.abandon("the end")

    bench.finish()

    assert len(bench.answers) == 1


def test_abandoning_while_another_thread_reads_answers_once(bench: Bench) -> None:
    """GIVEN a reading that hangs in the driver, WHEN the recording gives up on it meanwhile."""
    bench.timed(1, 500)
    read: Callable[[int, int, int], int] = bench.backend.event_elapsed_ns

    def slow(start: int, stop: int, device: int) -> int:
        bench.timer.abandon("the end")
        return read(start, stop, device)

    bench.backend.event_elapsed_ns = slow  # type: ignore[method-assign]

    bench.finish()

    assert bench.reasons() == {1: "the end"}


def test_an_answer_that_fails_does_not_stop_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(
        "gpu_narration.cuda.answers.internal_error", lambda _, error: told.append(str(error))
    )
    bench = Bench()
    bench.timer = Timer(bench.backend, lambda event_id, _: 1 // (event_id - 1), clock=bench.clock)
    bench.timed(1, 10)
    bench.timed(2, 10)

    bench.finish()

    assert (told, bench.timer.poll()) == (["integer division or modulo by zero"], 0)
