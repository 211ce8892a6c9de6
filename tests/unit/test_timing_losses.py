"""A context that is gone: answered once for all that is pending, and never touched again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpu_narration.cuda import MockGpu
from tests.support.timer_bench import Bench

#: How a context goes, and what is said of it.
LOSSES: dict[str, tuple[Callable[[MockGpu], None], str]] = {
    "reset": (lambda gpu: gpu.reset_device(0), "the context was destroyed"),
    "lost": (lambda gpu: gpu.lose_device(0), "the device is lost"),
    "end": (lambda gpu: gpu.end(), "the context was destroyed"),
}


@pytest.fixture(params=LOSSES)
def loss(request: pytest.FixtureRequest) -> tuple[Callable[[MockGpu], None], str]:
    return LOSSES[request.param]


@pytest.fixture
def bench() -> Bench:
    return Bench(pool_limit=20)


Loss = tuple[Callable[[MockGpu], None], str]


def test_all_that_is_pending_is_answered_with_the_reason(bench: Bench, loss: Loss) -> None:
    lose, reason = loss
    bench.timed(1, 500)
    bench.timed(2, 500)
    bench.timed(3, 500, bench.gpu.stream())
    lose(bench.gpu)

    bench.finish()

    assert bench.reasons() == {1: reason, 2: reason, 3: reason}


def test_nothing_is_answered_twice(bench: Bench, loss: Loss) -> None:
    bench.timed(1, 500)
    loss[0](bench.gpu)

    bench.finish()
    bench.finish()

    assert len(bench.answers) == 1


def test_an_open_interval_is_answered_when_it_closes(bench: Bench, loss: Loss) -> None:
    interval = bench.open(1)
    loss[0](bench.gpu)

    bench.timer.close(interval)

    assert bench.reasons() == {1: loss[1]}


def test_later_intervals_are_refused_without_a_record(bench: Bench, loss: Loss) -> None:
    bench.timed(1, 500)
    loss[0](bench.gpu)
    bench.finish()
    records: list[object] = []
    bench.backend.event_record = lambda *args: records.append(args)  # type: ignore[method-assign]

    bench.timer.open(2, bench.stream)

    assert (bench.reasons()[2], records) == (loss[1], [])


def test_an_interval_that_finds_the_loss_has_the_pending_ones_answered(
    bench: Bench, loss: Loss
) -> None:
    bench.timed(1, 500)
    loss[0](bench.gpu)
    bench.timer.open(2, bench.stream)

    bench.finish()

    assert bench.reasons() == {1: loss[1], 2: loss[1]}


def test_no_event_of_a_lost_context_is_destroyed(bench: Bench, loss: Loss) -> None:
    bench.timed(1, 500)
    loss[0](bench.gpu)
    bench.finish()
    bench.timer.abandon("the end")

    bench.timer.release()

    assert bench.backend.destroyed == 0


def test_what_is_known_of_the_error_stands_beside_the_reason(bench: Bench) -> None:
    bench.timed(1, 500)
    bench.gpu.lose_device(0)

    bench.finish()

    assert bench.answers[0][1]["gpu_detail"] == (
        "cudaErrorDevicesUnavailable (46): the device is lost"
    )


def test_another_device_goes_on(bench: Bench) -> None:
    bench.timed(1, 500)
    bench.timed(2, 300, bench.gpu.stream(1))
    bench.gpu.lose_device(0)

    bench.finish()

    assert bench.elapsed() == {1: None, 2: 300}


def test_a_kernel_that_uses_a_wrong_address_ends_all_timing_on_its_device(bench: Bench) -> None:
    """GIVEN work that is accepted and fails on the GPU, as every call from then on does."""
    bench.gpu.fault_next_launch(700)
    bench.timed(1, 500)
    bench.clock.step(1000)
    bench.timer.open(2, bench.stream)

    bench.finish()

    assert bench.reasons() == {1: "work on the GPU failed", 2: "work on the GPU failed"}


def test_an_event_of_ours_that_is_no_event_means_that_its_context_went(bench: Bench) -> None:
    """GIVEN a driver that answers for a destroyed context as for a wrong handle."""
    bench.timed(1, 500)
    bench.timed(2, 500)
    bench.gpu._events.clear()

    bench.finish()

    assert bench.reasons() == {1: "the context was destroyed", 2: "the context was destroyed"}
