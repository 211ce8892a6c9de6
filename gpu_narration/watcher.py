"""The one background thread of the recording half.

It polls what must not be polled on the program's own path: finished GPU events
and device memory.  It sleeps as long as its jobs allow and ends with the
recording.

Jobs that rest share their wake-ups: one that asked for a long pause may come a good
deal earlier, together with another.  So a process at rest wakes no more often than its
most frequent job needs.
"""

from __future__ import annotations

import contextlib
import queue
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
    """Runs jobs until stopped.  The thread starts with the first job.

    It holds no lock: the collector may run a finaliser of the program's in the midst of
    any method here, in any thread, and that may end the recording or add to it.
    """

    def __init__(self) -> None:
        self._schedule = Schedule()  # the thread's own
        self._known: set[Job] = set()
        self._asked: set[Job] = set()  # on their way to the thread: each once
        self._requests: queue.SimpleQueue[Job | None] = queue.SimpleQueue()  # None: stop
        self._stopping = False
        self._begun = threading.Lock()  # taken for good by whoever starts the thread
        self._thread: threading.Thread | None = None

    def add(self, job: Job) -> None:
        """Adds a job; its first round is now."""
        self._known.add(job)
        self._ask(job)
        if not self._stopping and self._begun.acquire(blocking=False):
            thread = threading.Thread(target=self._run, name="gpu_narration-watcher", daemon=True)
            try:
                thread.start()
            except BaseException:
                self._begun.release()
                raise
            self._thread = thread

    def wake(self, job: Job) -> None:
        """Gives a job its next round soon."""
        if job in self._known:
            self._ask(job)

    def stop(self, timeout_s: float = 2.0) -> bool:
        """Ends the thread; False if a job hangs, which is then left behind."""
        self._stopping = True
        self._requests.put(None)
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(timeout_s)
        return not thread.is_alive()

    def _ask(self, job: Job) -> None:
        if job not in self._asked:
            self._asked.add(job)
            self._requests.put(job)

    def _run(self) -> None:
        next_round = 0.0
        while not self._stopping:
            self._listen(next_round)
            self._round()
            next_round = self._schedule.next()

    def _listen(self, until: float) -> None:
        """Takes what was asked for; waits for it if nothing is due."""
        wait_s = None if until == _NEVER else max(0.0, until - time.monotonic())
        with contextlib.suppress(queue.Empty):
            self._take(self._requests.get(timeout=wait_s))
            # Not until it is empty: a program that asks all the time would keep us here.
            for _ in range(self._requests.qsize()):
                self._take(self._requests.get_nowait())

    def _take(self, job: Job | None) -> None:
        if job is not None:
            # In this order: asked for from now on, it gets a round after this one.
            self._asked.discard(job)
            self._schedule.now(job)

    def _round(self) -> None:
        """Runs the jobs that are due."""
        for job in self._schedule.take(time.monotonic()):
            if self._stopping:
                return
            try:
                delay = job()
            except Exception as error:  # noqa: BLE001 - one job must not end the others
                internal_error("watcher", error)
                delay = 1.0
            if delay is not None:
                self._schedule.after(job, time.monotonic(), max(delay, 0.001))
