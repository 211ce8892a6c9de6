"""When the watcher comes, and how a timer ends."""

from __future__ import annotations

import threading

import pytest

from gpu_narration.cuda.timing import BEAT_S, POLL_S, Timer
from tests.support.timer_bench import Bench

#: More rounds than any pace lasts.
MANY = 200


class Woken(Bench):
    """A bench that counts how often its timer asked for the watcher."""

    def __init__(self) -> None:
        super().__init__(pool_limit=20)
        self.wakes = 0
        self.timer = Timer(
            self.backend,
            lambda event_id, fields: self.answers.append((event_id, fields)),
            20,
            clock=self.clock,
            wake=self._wake,
        )

    def _wake(self) -> None:
        self.wakes += 1

    def paces(self, rounds: int) -> list[float | None]:
        """What the timer says after each of so many rounds, a second apart."""
        said = []
        for _ in range(rounds):
            self.clock.step(1_000_000_000)
            self.timer.poll()
            said.append(self.timer.rest())
        return said


@pytest.fixture
def bench() -> Woken:
    return Woken()


def test_the_first_interval_wakes_the_watcher(bench: Woken) -> None:
    bench.open(1)

    assert bench.wakes == 1


def test_a_busy_program_wakes_it_no_more(bench: Woken) -> None:
    for event_id in range(50):
        bench.timed(event_id, 100)
        bench.finish()
        bench.timer.rest()

    assert bench.wakes == 1


def test_while_work_is_awaited_it_comes_soon(bench: Woken) -> None:
    bench.timed(1, 10**15)

    assert set(bench.paces(MANY)) == {POLL_S}


def test_while_a_span_is_only_open_it_comes_now_and_then(bench: Woken) -> None:
    bench.open(1)

    assert bench.paces(MANY)[-1] == BEAT_S


def test_with_nothing_open_it_sleeps_in_the_end(bench: Woken) -> None:
    bench.timed(1, 100)

    assert bench.paces(MANY)[-1] is None


def test_an_interval_that_opens_wakes_a_sleeping_watcher(bench: Woken) -> None:
    bench.timed(1, 100)
    bench.paces(MANY)

    bench.open(2)

    assert bench.wakes == 2


def test_an_interval_that_closes_wakes_a_watcher_at_its_long_pace(bench: Woken) -> None:
    interval = bench.open(1)
    bench.paces(MANY)

    bench.timer.close(interval)

    assert bench.wakes == 2


def test_one_that_closes_just_before_the_rest_is_seen(bench: Woken) -> None:
    """GIVEN a close between the round and the rest that follows it."""
    interval = bench.open(1)
    bench.paces(MANY)
    bench.timer.poll()
    bench.timer.close(interval)

    assert bench.timer.rest() == POLL_S


# ---- one poll at a time ----


def test_a_second_poll_returns_at_once(bench: Woken) -> None:
    """GIVEN a reading that hangs in the driver, THEN another thread's poll does not."""
    bench.timed(1, 500)
    bench.clock.step(1000)
    inside, release = threading.Event(), threading.Event()
    query = bench.backend.event_query

    def hang(event: int) -> bool:
        inside.set()
        release.wait(10)
        return query(event)

    bench.backend.event_query = hang  # type: ignore[method-assign]
    hanging = threading.Thread(target=bench.timer.poll)
    hanging.start()
    inside.wait(10)

    left = bench.timer.poll()

    release.set()
    hanging.join()
    assert (left, bench.elapsed()) == (1, {1: 500})


def test_intervals_closed_in_the_wrong_order_are_both_measured(bench: Woken) -> None:
    """GIVEN two threads on one stream, WHEN the later record is queued first."""
    first, second = bench.open(1), bench.open(2)
    bench.gpu.launch("k", 100, bench.stream)
    bench.timer.close(first)
    bench.gpu.launch("k", 900, bench.stream)
    bench.timer.close(second)
    closed = bench.timer._resolver.closed
    closed.reverse()
    bench.clock.step(500)
    bench.timer.poll()

    bench.finish()

    assert bench.elapsed() == {1: 100, 2: 1000}


def test_each_thread_has_a_per_thread_stream_of_its_own(bench: Woken) -> None:
    """GIVEN long work on one thread's stream, THEN another thread's is not held up."""
    stream = bench.gpu.per_thread_stream()
    bench.timed(1, 10**12, stream)
    other = threading.Thread(target=bench.timed, args=(2, 500, stream))
    other.start()
    other.join()

    bench.finish()

    assert bench.elapsed() == {2: 500}


def test_a_pair_never_crosses_the_per_thread_streams_of_two_threads(bench: Woken) -> None:
    interval = bench.open(1, bench.gpu.per_thread_stream())
    other = threading.Thread(target=bench.timer.close, args=(interval,))
    other.start()
    other.join()

    assert bench.reasons() == {1: "per-thread default stream of another thread"}


# ---- the end ----


def test_abandoning_answers_what_is_open_too(bench: Woken) -> None:
    bench.open(1)

    bench.timer.abandon("the end")

    assert bench.reasons() == {1: "the end"}


def test_an_interval_that_closes_after_the_end_is_not_answered_again(bench: Woken) -> None:
    interval = bench.open(1)
    bench.timer.abandon("the end")

    bench.timer.close(interval)

    assert len(bench.answers) == 1


def test_after_the_end_nothing_is_recorded(bench: Woken) -> None:
    interval = bench.open(1)
    bench.timer.abandon("the end")
    records: list[object] = []
    bench.backend.event_record = lambda *args: records.append(args)  # type: ignore[method-assign]

    bench.timer.close(interval)
    bench.timer.open(2, bench.stream)

    assert records == []


def _ended(bench: Woken) -> None:
    bench.timer.abandon("the end")
    bench.timer.release()


def test_at_the_end_the_driver_holds_nothing_of_ours(bench: Woken) -> None:
    """GIVEN events that are free, events of unfinished work, anchors and their stream."""
    bench.timed(1, 500)
    bench.finish()
    bench.timed(2, 10**15)

    _ended(bench)

    assert (bench.gpu._events, list(bench.gpu._streams)) == ({}, [bench.stream])


def test_an_event_in_hand_at_the_end_goes_when_its_interval_closes(bench: Woken) -> None:
    interval = bench.open(1)
    _ended(bench)
    in_hand = list(bench.gpu._events)

    bench.timer.close(interval)

    assert (in_hand, bench.gpu._events) == ([interval.start], {})


def test_a_poll_that_hangs_keeps_its_events(bench: Woken) -> None:
    """GIVEN a query that never returns, THEN no event is destroyed under it."""
    bench.timed(1, 500)
    bench.timer.abandon("the end")
    with bench.timer._polling:
        bench.timer.release()

    assert bench.backend.destroyed == 0


def test_in_a_forked_child_no_call_is_made(bench: Woken) -> None:
    """GIVEN an interval open across the fork, and locks that another thread held then."""
    interval = bench.open(1)
    bench.timer.disown()
    calls: list[object] = []
    for name in ("event_record", "event_destroy", "event_query", "capture_status"):
        setattr(bench.backend, name, lambda *args: calls.append(args))
    with interval.home.pool._lock, bench.timer._answers._lock:
        bench.timer.close(interval)

    assert (calls, bench.answers) == ([], [])


def test_the_pool_is_balanced_after_any_failure(bench: Woken) -> None:
    """GIVEN each way an interval can end, THEN every event is free again."""
    bench.timer.cancel(bench.open(1), "the launch failed")
    bench.timed(2, 500)
    captured = bench.open(3)
    bench.gpu.begin_capture(bench.stream)
    bench.timer.close(captured)
    bench.gpu.end_capture(bench.stream)
    bench.backend.refuse["record"] = 1
    bench.timer.open(4, bench.stream)
    refused = bench.open(5)
    bench.backend.refuse["record"] = 1
    bench.timer.close(refused)
    bench.timed(6, 500)
    bench.clock.step(1000)
    bench.backend.refuse["elapsed"] = 1
    bench.finish()

    assert (len(bench.answers), bench.pool().idle) == (6, bench.pool().made)


def test_many_threads_lose_nothing_and_mix_nothing(bench: Woken) -> None:
    """GIVEN six threads with streams of their own and a watcher that polls meanwhile."""
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            bench.timer.poll()

    def work(number: int) -> None:
        stream = bench.gpu.stream()
        for index in range(100):
            event_id = number * 1000 + index
            while (interval := bench.timer.open(event_id, stream)) is None:
                bench.clock.step(1000)
            bench.gpu.launch("k", event_id, stream)
            bench.timer.close(interval)
            bench.clock.step(10_000)

    bench.timer._pool_limit = 10_000
    watcher = threading.Thread(target=watch)
    watcher.start()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    watcher.join()
    bench.finish()

    numbers = {number * 1000 + index for number in range(6) for index in range(100)}
    assert (len(bench.answers), {event_id for event_id, _ in bench.answers}) == (600, numbers)
    assert [item for item in bench.answers if item[1]["gpu_ns"] != item[0]] == []
