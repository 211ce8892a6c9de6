"""The one background thread of the recording half.

It polls what must not be polled on the program's own path: finished GPU events
and device memory.  It sleeps as long as its jobs allow and ends with the
recording.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from gpu_narration._errors import internal_error

#: A job does its round and returns after how many seconds it wants the next one,
#: or None if it has nothing to do until it is woken.
Job = Callable[[], float | None]


class Watcher:
    """Runs jobs until stopped.  The thread starts with the first job."""

    def __init__(self) -> None:
        self._jobs: dict[Job, float] = {}
        self._wake = threading.Event()
        self._stopping = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, job: Job) -> None:
        """Adds a job; its first round is now."""
        with self._lock:
            self._jobs[job] = 0.0
            if self._thread is None and not self._stopping:
                self._thread = threading.Thread(
                    target=self._run, name="gpu_narration-watcher", daemon=True
                )
                self._thread.start()
        self._wake.set()

    def wake(self, job: Job) -> None:
        """Gives a job its next round soon."""
        with self._lock:
            if job in self._jobs:
                self._jobs[job] = 0.0
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
            due = [job for job, when in self._jobs.items() if when <= time.monotonic()]
            # A job woken during its round gets another: waking sets an earlier time.
            self._jobs.update(dict.fromkeys(due, float("inf")))
        for job in due:
            if self._stopping:
                return None
            try:
                delay = job()
            except Exception as error:  # noqa: BLE001 - one job must not end the others
                internal_error("watcher", error)
                delay = 1.0
            with self._lock:
                if delay is not None:
                    self._jobs[job] = min(self._jobs[job], time.monotonic() + max(delay, 0.001))
        with self._lock:
            next_round = min(self._jobs.values(), default=float("inf"))
        return None if next_round == float("inf") else next_round
