"""What went into a graph is kept until the capture ends, and handed out once."""

from __future__ import annotations

import pytest

from gpu_narration.cuda.captured import EVENTS_KEPT, STREAMS_KEPT, Captured
from tests.support.timer_bench import Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_what_is_refused_in_a_capture_is_handed_out_at_its_end(bench: Bench) -> None:
    bench.gpu.begin_capture(bench.stream)
    bench.timer.open(1, bench.stream)
    bench.timer.open(2, bench.stream)
    bench.gpu.end_capture(bench.stream)

    assert bench.timer.captures.ended(bench.stream).event_ids == (1, 2)


def test_a_scope_in_which_a_capture_began_is_among_it(bench: Bench) -> None:
    interval = bench.open(1)
    bench.gpu.begin_capture(bench.stream)
    bench.timer.close(interval)
    bench.gpu.end_capture(bench.stream)

    assert bench.timer.captures.ended(bench.stream).event_ids == (1,)


def test_it_is_handed_out_once(bench: Bench) -> None:
    bench.gpu.begin_capture(bench.stream)
    bench.timer.open(1, bench.stream)
    bench.gpu.end_capture(bench.stream)
    bench.timer.captures.ended(bench.stream)

    assert bench.timer.captures.ended(bench.stream) == Captured((), (), 0)


def test_names_that_are_told_later_are_added(bench: Bench) -> None:
    captures = bench.timer.captures
    captures.seen(bench.stream, 1, ())
    captures.seen(bench.stream, 2, ("decode",))
    captures.seen(bench.stream, 1, ("prefill",))

    assert captures.ended(bench.stream).names == ("prefill", "decode")


def test_each_name_is_handed_out_once(bench: Bench) -> None:
    for event_id in range(3):
        bench.timer.captures.seen(bench.stream, event_id, ("decode",))

    assert bench.timer.captures.ended(bench.stream).names == ("decode",)


def test_streams_that_joined_the_capture_go_with_it(bench: Bench) -> None:
    """GIVEN a second stream that waits for an event of the capture."""
    joined = bench.gpu.stream()
    bench.gpu.begin_capture(bench.stream)
    fork, join = bench.gpu.event_create(0), bench.gpu.event_create(0)
    bench.gpu.event_record(fork, bench.stream)
    bench.gpu.wait_event(joined, fork)
    bench.timer.open(1, joined)
    bench.gpu.event_record(join, joined)
    bench.gpu.wait_event(bench.stream, join)
    bench.gpu.end_capture(bench.stream)

    assert bench.timer.captures.ended(bench.stream).event_ids == (1,)


def test_another_capture_keeps_what_is_its_own(bench: Bench) -> None:
    other = bench.gpu.stream()
    bench.gpu.begin_capture(bench.stream)
    bench.gpu.begin_capture(other)
    bench.timer.open(1, bench.stream)
    bench.timer.open(2, other)
    bench.gpu.end_capture(bench.stream)

    first = bench.timer.captures.ended(bench.stream).event_ids
    bench.gpu.end_capture(other)

    assert (first, bench.timer.captures.ended(other).event_ids) == ((1,), (2,))


def test_a_capture_keeps_so_many_events_and_counts_the_rest(bench: Bench) -> None:
    for event_id in range(EVENTS_KEPT + 5):
        bench.timer.captures.seen(bench.stream, event_id, ())

    captured = bench.timer.captures.ended(bench.stream)

    assert (len(captured.event_ids), captured.left_out) == (EVENTS_KEPT, 5)


def test_captures_that_nobody_ends_are_forgotten_oldest_first(bench: Bench) -> None:
    """GIVEN streams that stay in their captures, more than are kept."""
    streams = [bench.gpu.stream() for _ in range(STREAMS_KEPT + 1)]
    for event_id, stream in enumerate(streams):
        bench.gpu.begin_capture(stream)
        bench.timer.captures.seen(stream, event_id, ())

    kept = [bench.timer.captures.ended(stream).event_ids for stream in (streams[0], streams[1])]

    assert kept == [(), (1,)]
