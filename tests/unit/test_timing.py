"""The event pool and the timer: what is measured, and when it is answered."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.timer_bench import Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_an_interval_is_not_answered_before_its_work_has_finished(bench: Bench) -> None:
    bench.timed(1, 500)
    bench.clock.step(499)

    bench.timer.poll()

    assert bench.answers == []


def test_no_pair_is_read_before_a_query_said_that_it_is_done(bench: Bench) -> None:
    bench.timed(1, 500)
    bench.timer.poll()
    read: list[int] = []
    bench.backend.event_elapsed_ns = lambda *args: read.append(args) or 0  # type: ignore[method-assign, func-returns-value]
    bench.clock.step(400)

    bench.timer.poll()

    assert read == []


def test_an_interval_is_answered_once_its_work_has_finished(bench: Bench) -> None:
    bench.timed(1, 500)
    bench.clock.step(500)

    bench.timer.poll()

    assert bench.elapsed() == {1: 500}


def test_an_answer_is_given_once(bench: Bench) -> None:
    bench.timed(1, 500)
    bench.finish()

    bench.finish()

    assert len(bench.answers) == 1


def test_an_answer_says_where_and_that_it_is_simulated(bench: Bench) -> None:
    bench.timed(1, 500)
    bench.finish()

    (event_id, fields), *_ = bench.answers
    where = {key: fields[key] for key in ("gpu_ns", "stream", "device", "simulated")}
    assert (event_id, where) == (
        1,
        {"gpu_ns": 500, "stream": bench.stream.handle, "device": 0, "simulated": True},
    )


def test_poll_says_how_many_intervals_are_open_on_the_gpu(bench: Bench) -> None:
    bench.timed(1, 100)
    bench.timed(2, 100)
    bench.clock.step(150)

    assert bench.timer.poll() == 1


def test_overlapping_streams_are_measured_each_for_itself(bench: Bench) -> None:
    other = bench.gpu.stream()
    bench.timed(1, 500)
    bench.timed(2, 300, other)

    bench.finish()

    assert bench.elapsed() == {1: 500, 2: 300}


def test_a_slow_stream_does_not_hold_up_another(bench: Bench) -> None:
    bench.timed(1, 500)
    bench.timed(2, 300, bench.gpu.stream())
    bench.clock.step(300)

    bench.timer.poll()

    assert bench.elapsed() == {2: 300}


def test_an_open_interval_is_not_answered(bench: Bench) -> None:
    bench.open()

    bench.finish()

    assert bench.answers == []


def test_nested_intervals_are_measured_each_for_itself(bench: Bench) -> None:
    outer = bench.open(1)
    bench.gpu.launch("k", 100, bench.stream)
    bench.timed(2, 30)
    bench.timer.close(outer)

    bench.finish()

    assert bench.elapsed() == {1: 130, 2: 30}


def test_opening_and_closing_never_waits_for_the_gpu(bench: Bench) -> None:
    """GIVEN work that never ends and a GPU that must not be synchronised."""
    bench.timed(1, 10**18)

    assert bench.timer.poll() == 1


def test_events_are_used_again_once_they_were_read(bench: Bench) -> None:
    for event_id in range(50):
        bench.timed(event_id, 10)
        bench.finish()

    assert bench.pool().made == 2


def test_events_are_not_used_again_before_they_were_read() -> None:
    """GIVEN two intervals whose work is done but unread, WHEN a third runs, THEN none is mixed up."""
    bench = Bench(pool_limit=6)
    for event_id, length_ns in ((1, 100), (2, 200), (3, 300)):
        bench.timed(event_id, length_ns)
        bench.clock.step(1000)

    bench.finish()

    assert bench.elapsed() == {1: 100, 2: 200, 3: 300}


def test_each_device_has_a_pool_of_its_own() -> None:
    bench = Bench(pool_limit=2)
    bench.timed(1, 500)

    bench.timed(2, 300, bench.gpu.stream(1))
    bench.finish()

    assert bench.elapsed() == {1: 500, 2: 300}


_LENGTHS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 900), st.integers(0, 500)))


@settings(max_examples=100, deadline=None)
@given(_LENGTHS)
def test_every_interval_is_answered_exactly_once(program: list[tuple[int, int, int]]) -> None:
    """GIVEN any work on three streams, polled at any time, THEN nothing is lost or invented."""
    bench = Bench(pool_limit=10_000)
    streams = [bench.gpu.stream() for _ in range(3)]
    for event_id, (index, length_ns, pause_ns) in enumerate(program):
        bench.timed(event_id, length_ns, streams[index])
        bench.clock.step(pause_ns)
        bench.timer.poll()
    bench.finish()

    assert sorted(event_id for event_id, _ in bench.answers) == list(range(len(program)))


@settings(max_examples=100, deadline=None)
@given(_LENGTHS)
def test_every_interval_measures_its_own_work(program: list[tuple[int, int, int]]) -> None:
    """GIVEN events that are used again and again, THEN no answer belongs to another interval."""
    bench = Bench(pool_limit=10_000)
    streams = [bench.gpu.stream() for _ in range(3)]
    for event_id, (index, length_ns, pause_ns) in enumerate(program):
        bench.timed(event_id, length_ns, streams[index])
        bench.clock.step(pause_ns)
        bench.timer.poll()
    bench.finish()

    assert bench.elapsed() == {
        event_id: length_ns for event_id, (_, length_ns, _) in enumerate(program)
    }
