"""Scopes on a default stream have a number only where it is the time of their work."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpu_narration.cuda import CudaError, Stream
from gpu_narration.cuda.backend import StreamKind
from gpu_narration.cuda.intervals import Interval
from tests.support.timer_bench import Bench

NON_BLOCKING = "legacy default stream beside non-blocking ones"
MIXED = "per-thread default stream beside the legacy one"


@pytest.fixture
def bench() -> Bench:
    return Bench(pool_limit=20)


def _scope(bench: Bench, stream: object = None) -> Interval:
    interval = bench.timer.open(1, stream, scope=True)
    assert interval is not None
    return interval


def _after(bench: Bench, scope: Interval) -> tuple[object, object]:
    """What the scope is answered, once it has ended."""
    bench.timer.close(scope)
    bench.finish()
    return bench.elapsed()[1], bench.reasons()[1]


def test_work_on_a_non_blocking_stream_inside_spoils_a_scope_on_the_legacy_one(
    bench: Bench,
) -> None:
    scope = _scope(bench)
    bench.timed(2, 500, bench.gpu.stream())

    assert _after(bench, scope) == (None, NON_BLOCKING)


def test_a_launch_that_is_not_timed_spoils_it_too(bench: Bench) -> None:
    scope = _scope(bench)
    bench.timer.saw(bench.gpu.stream())

    assert _after(bench, scope) == (None, NON_BLOCKING)


def test_a_library_with_streams_of_its_own_spoils_it_too(bench: Bench) -> None:
    scope = _scope(bench)
    bench.timer.saw_foreign()

    assert _after(bench, scope) == (None, NON_BLOCKING)


def test_the_inner_interval_keeps_its_number(bench: Bench) -> None:
    scope = _scope(bench)
    bench.timed(2, 500, bench.gpu.stream())
    _after(bench, scope)

    assert bench.elapsed()[2] == 500


def test_work_on_a_blocking_stream_inside_is_bracketed(bench: Bench) -> None:
    """The legacy default stream and blocking ones wait for each other."""
    scope = _scope(bench)
    bench.timed(2, 500, bench.gpu.stream(blocking=True))

    assert _after(bench, scope) == (500, None)


def test_work_on_the_legacy_stream_alone_is_measured(bench: Bench) -> None:
    scope = _scope(bench)
    bench.gpu.launch("k", 700)

    assert _after(bench, scope) == (700, None)


def test_a_scope_with_an_explicit_stream_is_right_about_that_stream(bench: Bench) -> None:
    scope = _scope(bench, bench.gpu.default_stream())
    bench.gpu.launch("k", 700)
    bench.timed(2, 500, bench.gpu.stream())

    assert _after(bench, scope) == (700, None)


def test_a_launch_on_the_legacy_stream_is_right_about_itself(bench: Bench) -> None:
    """GIVEN no scope, but a launch without a stream, THEN other streams do not matter."""
    launch = bench.timer.open(1, None)
    assert launch is not None
    bench.timed(2, 500, bench.gpu.stream())
    bench.gpu.launch("k", 700)

    assert _after(bench, launch) == (700, None)


def test_work_before_and_after_the_scope_does_not_matter(bench: Bench) -> None:
    bench.timed(2, 500, bench.gpu.stream())
    scope = _scope(bench)
    bench.gpu.launch("k", 700)
    bench.timer.close(scope)
    bench.timed(3, 500, bench.gpu.stream())
    bench.finish()

    assert bench.elapsed()[1] == 700


def test_work_on_another_device_does_not_matter(bench: Bench) -> None:
    scope = _scope(bench)
    bench.gpu.launch("k", 700)
    bench.timed(2, 500, bench.gpu.stream(1))

    assert _after(bench, scope) == (700, None)


def test_per_thread_work_spoils_a_scope_on_the_legacy_stream(bench: Bench) -> None:
    scope = _scope(bench)
    bench.timed(2, 500, bench.gpu.per_thread_stream())

    assert _after(bench, scope) == (None, MIXED)


@pytest.mark.parametrize(
    ("inside", "reason"),
    [
        (lambda bench: bench.gpu.default_stream(), MIXED),
        (lambda bench: bench.gpu.stream(), "per-thread default stream beside non-blocking ones"),
    ],
)
def test_work_elsewhere_spoils_a_scope_on_the_per_thread_stream(
    bench: Bench, inside: Callable[[Bench], Stream], reason: str
) -> None:
    own = bench.gpu.per_thread_stream()
    bench.backend.stream_of = lambda stream: stream or own  # type: ignore[method-assign, return-value]
    scope = _scope(bench)
    bench.timed(2, 500, inside(bench))

    assert _after(bench, scope) == (None, reason)


@pytest.mark.parametrize("fails", [False, True])
def test_a_stream_of_unknown_kind_inside_spoils_the_scope(bench: Bench, fails: bool) -> None:
    scope = _scope(bench)

    def flags(_: Stream) -> StreamKind:
        if fails:
            raise CudaError(999, "cudaErrorUnknown")
        return StreamKind.UNKNOWN

    bench.backend.stream_flags = flags  # type: ignore[method-assign]
    bench.timed(2, 500, bench.gpu.stream())

    assert _after(bench, scope) == (None, "unknown stream")


def test_kinds_are_not_asked_for_while_no_scope_is_on_a_default_stream(bench: Bench) -> None:
    asked: list[Stream] = []
    bench.backend.stream_flags = asked.append  # type: ignore[assignment, method-assign]

    bench.timed(2, 500, bench.gpu.stream())
    bench.timer.saw(bench.gpu.stream())

    assert asked == []


def test_a_spoiled_scope_gives_its_event_back(bench: Bench) -> None:
    scope = _scope(bench)
    bench.timed(2, 500, bench.gpu.stream())
    _after(bench, scope)

    assert bench.pool().idle == bench.pool().made


def test_both_of_two_nested_scopes_are_spoiled(bench: Bench) -> None:
    outer = _scope(bench)
    inner = bench.timer.open(2, None, scope=True)
    assert inner is not None
    bench.timed(3, 500, bench.gpu.stream())
    bench.timer.close(inner)
    bench.timer.close(outer)

    assert bench.reasons() == {1: NON_BLOCKING, 2: NON_BLOCKING}
