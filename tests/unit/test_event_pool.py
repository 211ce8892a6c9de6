"""The event pool: events are used again, bounded in number, and destroyed at the end."""

from __future__ import annotations

import threading

import pytest

from gpu_narration.cuda import CudaError, MockGpu
from gpu_narration.cuda.pool import EventPool
from tests.support.timer_bench import Watched


@pytest.fixture
def backend() -> Watched:
    return Watched(MockGpu())


def test_it_gives_none_when_it_is_exhausted(backend: Watched) -> None:
    pool = EventPool(backend, 0, limit=2)
    pool.take()
    pool.take()

    assert pool.take() is None


def test_it_gives_the_event_that_it_was_given_back(backend: Watched) -> None:
    pool = EventPool(backend, 0, limit=1)
    event = pool.take()
    assert event is not None
    pool.give_back(event)

    assert pool.take() == event


def test_an_event_that_could_not_be_made_does_not_count(backend: Watched) -> None:
    pool = EventPool(backend, 0, limit=1)
    backend.refuse["create"] = 1
    with pytest.raises(CudaError):
        pool.take()

    assert pool.take() is not None


def test_closing_destroys_the_free_events(backend: Watched) -> None:
    pool = EventPool(backend, 0)
    taken = [pool.take() for _ in range(3)]
    for event in taken:
        assert event is not None
        pool.give_back(event)

    pool.close()

    assert (backend.destroyed, pool.made) == (3, 0)


def test_an_event_in_hand_is_destroyed_when_it_comes_back(backend: Watched) -> None:
    pool = EventPool(backend, 0)
    event = pool.take()
    assert event is not None
    pool.close()
    before = backend.destroyed

    pool.give_back(event)

    assert (before, backend.destroyed) == (0, 1)


def test_a_closed_pool_gives_none(backend: Watched) -> None:
    pool = EventPool(backend, 0)
    pool.close()

    assert (pool.take(), backend.created) == (None, 0)


def test_forgetting_calls_nothing(backend: Watched) -> None:
    pool = EventPool(backend, 0)
    kept, free = pool.take(), pool.take()
    assert kept is not None
    assert free is not None
    pool.give_back(free)

    pool.forget()
    pool.give_back(kept)

    assert (backend.destroyed, pool.made, pool.idle) == (0, 0, 0)


def test_the_first_destroy_that_is_refused_is_the_last(backend: Watched) -> None:
    pool = EventPool(backend, 0)
    for event in [pool.take() for _ in range(3)]:
        assert event is not None
        pool.give_back(event)
    backend.refuse["destroy"] = 3

    pool.close()

    assert backend.refuse["destroy"] == 2


def test_no_event_is_in_two_hands_at_once(backend: Watched) -> None:
    """GIVEN four threads that take and give back as fast as they can."""
    pool = EventPool(backend, 0, limit=8)
    held: set[int] = set()
    twice: list[int] = []
    lock = threading.Lock()

    def work() -> None:
        for _ in range(500):
            event = pool.take()
            if event is None:
                continue
            with lock:
                if event in held:
                    twice.append(event)
                held.add(event)
            with lock:
                held.discard(event)
            pool.give_back(event)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (twice, pool.idle) == ([], pool.made)
