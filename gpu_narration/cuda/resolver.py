"""Reading event pairs once they are done; the watcher's half of timing.

Rounds are made by one thread at a time, and only a round touches the queues, the
anchors and the events of closed intervals.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from gpu_narration.cuda import reasons
from gpu_narration.cuda.anchors import BEAT_NS, FRESH_NS
from gpu_narration.cuda.answers import Answers
from gpu_narration.cuda.backend import Backend, CudaError, Stream
from gpu_narration.cuda.intervals import Home, Interval, measured

#: A beat may come this much early: the watcher's sleep is not exact.
_EARLY_NS = BEAT_NS // 10


class Resolver:
    """The closed intervals, until they are answered.

    ``opened`` are the intervals that are not closed yet: what runs long is measured
    from its begin on while it is open.
    """

    def __init__(
        self, backend: Backend, answers: Answers, clock: Callable[[], int], opened: set[Interval]
    ) -> None:
        self._backend = backend
        self._answers = answers
        self._clock = clock
        self._opened = opened
        #: Closed, and not yet sorted by stream; appended by any thread.
        self.closed: deque[Interval] = deque()
        #: By stream, and by thread where a stream is another one in each.
        self._queues: dict[tuple[Stream, int], deque[Interval]] = {}
        self._next_beat_ns = 0
        #: How many were answered, all in all.
        self.answered = 0

    @property
    def pending(self) -> int:
        """How many closed intervals have no answer yet; from any thread."""
        return len(self.closed) + sum(map(len, list(self._queues.values())))

    def left(self) -> list[Interval]:
        """The closed intervals, for one who answers them all; from any thread."""
        queues = list(self._queues.values())
        return [*list(self.closed), *(each for queue in queues for each in list(queue))]

    def round(self) -> None:
        """Answers what is done."""
        self._sort()
        finished = {key: found for key in list(self._queues) if (found := self._finished(key))[0]}
        now = self._clock()
        if now >= self._next_beat_ns:
            self._next_beat_ns = now + BEAT_NS - _EARLY_NS
            self._beat(now)
        self._tend({self._queues[key][0].home for key in finished}, FRESH_NS)
        for key, (count, seen_ns) in finished.items():
            self._read(self._queues[key], count, seen_ns)
        self._answer_lost()
        for key in [key for key, queue in self._queues.items() if not queue]:
            del self._queues[key]

    def release(self, homes: Iterable[Home]) -> None:
        """Destroys all events that no caller has in hand, and the anchors."""
        self._sort()
        for queue in self._queues.values():
            for interval in queue:
                interval.give_back()
        self._queues.clear()
        for home in homes:
            home.pool.close()
            try:
                home.anchors.close()
            except CudaError:
                home.anchors.forget()  # the first refusal says what the rest would

    # ---- one round ----

    def _sort(self) -> None:
        while self.closed:
            interval = self.closed.popleft()
            key = interval.stream, interval.thread
            self._queues.setdefault(key, deque()).append(interval)

    def _finished(self, key: tuple[Stream, int]) -> tuple[int, int]:
        """How many of a stream's intervals are done, and the CPU time after that was seen.

        Events of one stream finish in order: if the last one is done all are, and
        else the first that is not done ends the search.
        """
        queue = self._queues[key]
        home = queue[0].home
        count = 0
        if home.lost is None:
            try:
                if self._done(queue[-1]):
                    count = len(queue)
                while count < len(queue) and self._done(queue[count]):
                    count += 1
            except CudaError as error:
                if reasons.lost_with(error):
                    home.lose(error)
                    return 0, 0
                if not reasons.not_yet(error):
                    count = max(count, 1)  # its reading says more
        return count, self._clock()

    def _done(self, interval: Interval) -> bool:
        assert interval.stop is not None, "only closed intervals are pending"
        return self._backend.event_query(interval.stop)

    def _read(self, queue: deque[Interval], count: int, seen_ns: int) -> None:
        for _ in range(count):
            interval = queue[0]
            if interval.home.lost is not None:
                return
            try:
                fields = measured(self._backend, interval, seen_ns)
            except CudaError as error:
                if error.fatal:
                    interval.home.lose(error)
                    return
                if reasons.not_yet(error):
                    return  # two threads closed it and an earlier one in the wrong order
                fields = {
                    "gpu_ns": None,
                    "gpu_reason": reasons.of_reading(error),
                    "gpu_detail": str(error),
                }
            queue.popleft()
            interval.give_back()
            self.answered += 1
            if self._answers.claim(interval):
                self._answers.give(interval.event_id, interval.stream, fields)

    def _answer_lost(self) -> None:
        for queue in self._queues.values():
            home = queue[0].home if queue else None
            if home is not None and home.lost is not None:
                home.anchors.forget()
                while queue:
                    self._answers.refuse_claimed(queue.popleft(), *home.lost)

    # ---- anchors ----

    def _beat(self, now: int) -> None:
        """While anything is open or pending: renews the anchors, and takes long begins."""
        waiting = list(self._opened)
        for queue in self._queues.values():
            waiting.extend(queue)
        self._tend({interval.home for interval in waiting}, BEAT_NS - 2 * _EARLY_NS)
        for interval in waiting:
            home = interval.home
            if interval.mark is not None or now - interval.opened_ns < BEAT_NS:
                continue
            if home.lost is not None or home.no_anchors:
                continue
            try:
                if self._backend.event_query(interval.start):
                    interval.mark = home.anchors.locate(interval.start, now)
            except CudaError as error:
                # An opener may have taken its event back meanwhile: only what is
                # fatal for all says anything.
                if error.fatal:
                    home.lose(error)

    def _tend(self, homes: set[Home], age_ns: int) -> None:
        for home in homes:
            if home.lost is not None or home.no_anchors:
                continue
            try:
                home.anchors.tend(age_ns)
            except CudaError as error:
                if error.fatal:
                    home.lose(error)
                elif not reasons.not_yet(error):
                    home.no_anchors = f"{reasons.CALL_FAILED}: {error}"
                    home.anchors.forget()
