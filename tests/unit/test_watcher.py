"""The background thread: runs jobs when they are due, and ends."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from gpu_narration.watcher import Schedule, Watcher

TraceFunction = Callable[[FrameType, str, Any], Any]

#: Long past anything that goes right; nothing is asserted about how long it took.
PATIENCE_S = 10.0


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    made = Watcher()
    yield made
    made.stop()


class Rounds:
    """A job that counts its rounds, and says what comes next."""

    def __init__(self, answer: Callable[[int], float | None] = lambda _: None) -> None:
        self.count = 0
        self._answer = answer
        self._done = threading.Condition()

    def __call__(self) -> float | None:
        answer = self._answer(self.count + 1)
        with self._done:
            self.count += 1
            self._done.notify_all()
        return answer

    def reached(self, count: int) -> bool:
        with self._done:
            return self._done.wait_for(lambda: self.count >= count, PATIENCE_S)


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "watcher" in thread.name]


def test_a_watcher_without_jobs_has_no_thread(watcher: Watcher) -> None:
    assert _threads() == []


def test_a_job_has_its_first_round_when_it_is_added(watcher: Watcher) -> None:
    job = Rounds()

    watcher.add(job)

    assert job.reached(1)


def test_a_job_comes_again_after_the_time_it_asked_for(watcher: Watcher) -> None:
    job = Rounds(lambda _: 0.0)

    watcher.add(job)

    assert job.reached(3)


def test_a_job_that_wants_nothing_rests(watcher: Watcher) -> None:
    resting, busy = Rounds(), Rounds(lambda _: 0.0)
    watcher.add(resting)

    watcher.add(busy)
    busy.reached(5)

    assert resting.count == 1


def test_a_resting_job_runs_when_it_is_woken(watcher: Watcher) -> None:
    job = Rounds()
    watcher.add(job)
    job.reached(1)

    watcher.wake(job)

    assert job.reached(2)


@pytest.mark.parametrize("how", ["add", "wake"])
def test_a_job_woken_during_its_round_gets_another(watcher: Watcher, how: str) -> None:
    """GIVEN something new that comes while a job decides to rest, THEN it is not forgotten."""

    def answer(number: int) -> None:
        if number == 1:
            getattr(watcher, how)(job)

    job = Rounds(answer)

    watcher.add(job)

    assert job.reached(2)


def test_waking_an_unknown_job_adds_nothing(watcher: Watcher) -> None:
    stranger, job = Rounds(), Rounds(lambda _: 0.0)
    watcher.add(job)

    watcher.wake(stranger)
    job.reached(job.count + 3)

    assert stranger.count == 0


def test_adding_a_job_twice_makes_one_thread(watcher: Watcher) -> None:
    job = Rounds()

    watcher.add(job)
    watcher.add(job)

    assert len(_threads()) == 1


def test_a_failing_job_does_not_end_the_others(
    watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu_narration.watcher.internal_error", lambda *_: None)
    failing, healthy = Rounds(lambda _: 1 // 0), Rounds(lambda _: 0.0)

    watcher.add(failing)
    watcher.add(healthy)

    assert healthy.reached(3)


def test_a_failing_job_is_reported_as_an_internal_error(
    watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, str]] = []
    reported = threading.Event()

    def report(where: str, error: BaseException) -> None:
        told.append((where, str(error)))
        reported.set()

    monkeypatch.setattr("gpu_narration.watcher.internal_error", report)

    watcher.add(Rounds(lambda _: 1 // 0))
    reported.wait(PATIENCE_S)

    assert told[0] == ("watcher", "integer division or modulo by zero")


def test_stop_ends_the_thread(watcher: Watcher) -> None:
    watcher.add(Rounds(lambda _: 0.0))

    watcher.stop()

    assert _threads() == []


def test_stop_says_that_it_ended(watcher: Watcher) -> None:
    watcher.add(Rounds())

    assert watcher.stop() is True


def test_stop_twice_is_no_error(watcher: Watcher) -> None:
    watcher.add(Rounds())
    watcher.stop()

    assert watcher.stop() is True


def test_stop_leaves_a_hanging_job_behind(watcher: Watcher) -> None:
    entered, release = threading.Event(), threading.Event()

    def hang() -> None:
        entered.set()
        release.wait(PATIENCE_S)

    watcher.add(hang)
    entered.wait(PATIENCE_S)

    ended = watcher.stop(timeout_s=0.01)
    release.set()

    assert ended is False


def test_a_job_may_stop_its_own_watcher(watcher: Watcher) -> None:
    ended: list[bool] = []
    job = Rounds(lambda _: ended.append(watcher.stop()))

    watcher.add(job)
    job.reached(1)

    assert ended == [True]


def test_a_job_added_after_the_stop_never_runs(watcher: Watcher) -> None:
    watcher.stop()

    watcher.add(Rounds())

    assert _threads() == []


def test_a_thread_that_cannot_start_is_told_and_not_waited_for(
    watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    job = Rounds()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            watcher.add(job)

    watcher.add(job)

    assert job.reached(1)


@pytest.mark.parametrize("where", ["the watcher", "the program"])
@pytest.mark.parametrize("what", ["wake", "add", "stop"])
def test_a_finaliser_may_come_by_in_the_midst_of_anything(where: str, what: str) -> None:
    """GIVEN code that calls the watcher at every line of it WHEN jobs run THEN nothing waits."""
    watcher = Watcher()
    job = Rounds(lambda number: 0.0 if number < 10 else None)
    inside = False

    def come_by(frame: FrameType, event: str, _: object) -> TraceFunction | None:
        nonlocal inside
        if frame.f_globals.get("__name__") != "gpu_narration.watcher":
            return None
        if event == "line" and not inside:
            inside = True
            watcher.stop(0.01) if what == "stop" else getattr(watcher, what)(job)
            inside = False
        return come_by

    def program() -> None:
        if where == "the program":
            sys.settrace(come_by)
        watcher.add(job)
        job.reached(10 if what != "stop" else 0)
        watcher.wake(job)
        sys.settrace(None)
        watcher.stop()

    thread = threading.Thread(target=program, daemon=True)
    if where == "the watcher":
        threading.settrace(come_by)
    thread.start()
    threading.settrace(None)  # type: ignore[arg-type]
    thread.join(PATIENCE_S)

    assert not thread.is_alive()


# ---- sharing wake-ups ----


class Clocked:
    """Jobs on a schedule, in the seconds of a test."""

    def __init__(self, **pauses_s: float) -> None:
        self.schedule = Schedule()
        self.ran: dict[str, list[float]] = {name: [] for name in pauses_s}
        self._pauses_s = pauses_s
        self._jobs = {name: self._job(name) for name in pauses_s}
        for job in self._jobs.values():
            self.schedule.now(job)

    def _job(self, name: str) -> Callable[[], float]:
        return lambda: self._pauses_s[name]

    def run(self, until_s: float) -> int:
        """How often the thread woke."""
        wakes = 0
        now = 0.0
        while (now := max(now, self.schedule.next())) < until_s:
            wakes += 1
            for job in self.schedule.take(now):
                name = next(name for name, other in self._jobs.items() if other is job)
                self.ran[name].append(now)
                self.schedule.after(job, now, job())
        return wakes


@pytest.mark.parametrize("other_s", [0.5, 0.6, 0.75, 1.0, 1.3])
def test_two_jobs_at_rest_wake_the_thread_twice_a_second_at_most(other_s: float) -> None:
    """GIVEN a job that comes once a second, and one of at most twice, THEN they come together."""
    assert Clocked(memory=1.0, other=other_s).run(100.0) <= 201


def test_a_job_comes_no_later_than_it_asked_for() -> None:
    clocked = Clocked(memory=1.0, other=0.7)
    clocked.run(50.0)

    for times in clocked.ran.values():
        pauses = [after - before for before, after in itertools.pairwise(times)]
        assert max(pauses) <= 1.0 + 1e-9


def test_a_job_comes_no_earlier_than_after_half_its_pause() -> None:
    clocked = Clocked(memory=1.0, busy=0.11)
    clocked.run(50.0)

    times = clocked.ran["memory"]
    assert min(after - before for before, after in itertools.pairwise(times)) >= 0.5


def test_short_pauses_are_kept() -> None:
    """GIVEN a job that polls every 5 ms and one of 7 ms, THEN neither comes early."""
    clocked = Clocked(poll=0.005, other=0.007)
    clocked.run(1.0)

    times = clocked.ran["poll"]
    assert min(after - before for before, after in itertools.pairwise(times)) >= 0.005 - 1e-9
