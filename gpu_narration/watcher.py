"""The one background thread of the recording half.

It polls what must not be polled on the program's own path: finished GPU events
and device memory.  It sleeps as long as its jobs allow and ends with the
recording.

Jobs that rest share their wake-ups: one that asked for a long pause may come a good
deal earlier, together with another.  So a process at rest wakes no more often than its
most frequent job needs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from gpu_narration._errors import internal_error

#: A job does its round and returns after how many seconds it wants the next one,
#: or None if it has nothing to do until it is woken.  A pause of a tenth of a second
#: or more may be cut to the half of it.
Job = Callable[[], float | None]

#: Shorter pauses are kept: whoever asks for them waits for something.
_SHAREABLE_S = 0.1
_NEVER = float("inf")


class Schedule:
    """When which job is to run.  Times are seconds of one clock."""

    def __init__(self) -> None:
        #: From when on a job may run, and when it must.
        self._times: dict[Job, tuple[float, float]] = {}

    def __contains__(self, job: Job) -> bool:
        return job in self._times

    def now(self, job: Job) -> None:
        """The job is due."""
        self._times[job] = (0.0, 0.0)

    def after(self, job: Job, now: float, pause_s: float) -> None:
        """The job is due after a pause, unless it is due before that already."""
        slack_s = pause_s / 2 if pause_s >= _SHAREABLE_S else 0.0
        later = (now + pause_s - slack_s, now + pause_s)
        self._times[job] = min(self._times[job], later, key=lambda times: times[1])

    def take(self, now: float) -> list[Job]:
        """The jobs to run, if one must; they rest until they are due again."""
        if self.next() > now:
            return []
        due = [job for job, (earliest, _) in self._times.items() if earliest <= now]
        self._times.update(dict.fromkeys(due, (_NEVER, _NEVER)))
        return due

    def next(self) -> float:
        """When the next job must run; infinity if none has to."""
        return min((latest for _, latest in self._times.values()), default=_NEVER)


class Watcher:
    """Runs jobs until stopped.  The thread starts with the first job."""

    def __init__(self) -> None:
        self._schedule = Schedule()
        self._wake = threading.Event()
        self._stopping = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, job: Job) -> None:
        """Adds a job; its first round is now."""
        with self._lock:
            self._schedule.now(job)
            if self._thread is None and not self._stopping:
                self._thread = threading.Thread(
                    target=self._run, name="gpu_narration-watcher", daemon=True
                )
                self._thread.start()
        self._wake.set()

    def wake(self, job: Job) -> None:
        """Gives a job its next round soon."""
        with self._lock:
            if job in self._schedule:
                self._schedule.now(job)
        self._wake.set()

    def stop(self, timeout_s: float = 2.0) -> bool:
        """Ends the thread; False if a job hangs, which is then left behind."""
        with self._lock:
            self._stopping = True
            thread = self._thread
        self._wake.set()
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(timeout_s)
        return not thread.is_alive()

    def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            next_round = self._round()
            self._wake.wait(None if next_round is None else max(0.0, next_round - time.monotonic()))

    def _round(self) -> float | None:
        """Runs the jobs that are due; when the next one is."""
        with self._lock:
            # A job woken during its round gets another: waking sets an earlier time.
            due = self._schedule.take(time.monotonic())
        for job in due:
            if self._stopping:
                return None
            try:
                delay = job()
            except Exception as error:  # noqa: BLE001 - one job must not end the others
                internal_error("watcher", error)
                delay = 1.0
            if delay is not None:
                with self._lock:
                    self._schedule.after(job, time.monotonic(), max(delay, 0.001))
        with self._lock:
            next_round = self._schedule.next()
        return None if next_round == _NEVER else next_round
