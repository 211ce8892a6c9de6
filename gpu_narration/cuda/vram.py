"""Device memory over time: a ``state_change`` event whenever it has moved.

One sampler, driven by the watcher: no thread of the program ever waits for a driver.
It reads fast while memory moves and slowly while it rests (:mod:`.pace`), and tells
(:mod:`.telling`) what is worth telling (:mod:`.moves`), in the innermost open span
(:mod:`.open_scopes`).  Where spans read memory at their edges by themselves, only
readings of the sampler's own source feed its series.

A device that cannot be read is told once, as unknown; it is tried again, less and
less often, and its series begins anew when it comes back.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gpu_narration import _core
from gpu_narration.cuda import open_scopes, share
from gpu_narration.cuda.backend import CudaError, Device, MemoryInfo
from gpu_narration.cuda.moves import Series, threshold_bytes
from gpu_narration.cuda.nvml import NvmlUnavailable
from gpu_narration.cuda.open_scopes import Sequences
from gpu_narration.cuda.pace import Pace
from gpu_narration.cuda.session import note_device
from gpu_narration.cuda.telling import NO_ANSWER, WAITING_MAX, Answer, Teller, Watched

if TYPE_CHECKING:
    from gpu_narration.cuda.counters import Counters
    from gpu_narration.cuda.nvml import Nvml

#: Reads one device's memory; raises CudaError or NvmlUnavailable.
Read = Callable[[int], MemoryInfo]

#: With slow calls a round is cut into turns, so that the watcher's other jobs get theirs.
_TURN_NS = 5_000_000

#: How long a device that cannot be read is left alone: so long at first, at last so long.
RETRY_NS, RETRY_MAX_NS = 1_000_000_000, 8_000_000_000

#: What watching cost so far is noted so often, for a process that is killed.
_COST_EVERY_NS = 60_000_000_000

_SECOND_NS = 1_000_000_000


class Sampler:
    """Watches the memory of some devices.

    devices: their places in this list are what ``read`` takes.
    nvml: what ``read`` is of; without it the GPU is simulated.
    wake: has :meth:`poll` called soon.
    clock: ns that never go back.
    """

    def __init__(
        self,
        devices: Sequence[Device],
        read: Read,
        *,
        nvml: Nvml | None = None,
        counters: Counters | None = None,
        wake: Callable[[], None] = lambda: None,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._read = read
        self._nvml = nvml
        self._wake = wake
        self._clock = clock
        self._teller = Teller(nvml, counters, clock)
        self._watched = [
            Watched(place, device, share.Budget(clock)) for place, device in enumerate(devices)
        ]
        self._lock = threading.RLock()
        self._closed = False
        self._pace = Pace()
        self._begin_ns = self._cost_noted_ns = clock()
        self._due_ns = self._begin_ns
        #: A round is under way, and what of it is still to be read.
        self._in_round = False
        self._todo: deque[Watched] = deque()
        self._round_cost_ns = 0
        self._moved = False
        self._sequences: Sequences = {}
        self._last_round_asked = self._last_round = False
        self._finished = threading.Event()
        self._listener: Callable[[int, MemoryInfo], None] | None = None

    # ---- for the watcher ----

    def poll(self) -> float:
        """Reads what is due or was asked for; seconds until the next reading is worth while."""
        begin_ns = self._clock()
        if not self._in_round and self._is_due(begin_ns):
            self._begin_round(begin_ns)
        self._sequences = open_scopes.sequences()
        with self._lock:
            asked = [watched for watched in self._watched if watched.waiting]
        for watched in asked:
            self._moved |= self._visit(watched)
            if watched in self._todo:
                self._todo.remove(watched)
        while self._todo:
            self._moved |= self._visit(self._todo.popleft())
            if self._todo and self._clock() - begin_ns > _TURN_NS:
                return 0.0
        now_ns = self._clock()
        if self._in_round:
            self._end_round(now_ns)
        elif self._moved:
            self._due_ns = min(self._due_ns, now_ns + round(self._pace.hurry() * _SECOND_NS))
            self._moved = False
        return max(0, self._due_ns - now_ns) / _SECOND_NS

    def _is_due(self, now_ns: int) -> bool:
        # Woken early, together with another job, it takes the opportunity.
        early_ns = self._pace.period_s * _SECOND_NS / 2
        return now_ns >= self._due_ns - early_ns or (
            self._last_round_asked and not self._last_round
        )

    def _begin_round(self, now_ns: int) -> None:
        if self._nvml is not None and self._nvml.renumber():
            self.describe()
        self._in_round = True
        self._last_round = self._last_round_asked
        self._round_cost_ns = 0
        self._todo.extend(
            watched
            for watched in self._watched
            if watched.lost is None or now_ns >= watched.retry_ns
        )

    def _end_round(self, now_ns: int) -> None:
        period_s = self._pace.next(moved=self._moved, cost_ns=self._round_cost_ns)
        self._due_ns = now_ns + round(period_s * _SECOND_NS)
        self._in_round = self._moved = False
        if now_ns - self._cost_noted_ns > _COST_EVERY_NS:
            self._cost_noted_ns = now_ns
            self.note_cost()
        if self._last_round:
            self._finished.set()

    # ---- for everybody ----

    def describe(self) -> None:
        """Notes in the trace which devices are watched, and whose numbers they have."""
        if self._nvml is None:
            _core.note("vram", {"source": "simulated"})
            return
        _core.note("vram", {"source": "NVML", "order": self._nvml.order})
        for watched in self._watched:
            watched.device = self._nvml.devices[watched.place]
            note_device(watched.device, simulated=False)

    def ask(self, device: int, done: Callable[[Answer], None]) -> None:
        """Has a device read soon, and ``done`` called with it by the watcher; waits for nothing."""
        watched = self._of(device)
        if watched is None:
            done(f"no device {device} is watched")
            return
        with self._lock:
            accepted = not self._closed and len(watched.waiting) < WAITING_MAX
            if accepted:
                watched.waiting.append(done)
        if accepted:
            self._wake()
        else:
            done(NO_ANSWER)

    def listen(self, listener: Callable[[int, MemoryInfo], None]) -> None:
        """Has ``listener`` called with the device and each reading that is taken."""
        self._listener = listener

    def latest(self, device: int) -> MemoryInfo | None:
        """The last reading of a device; None if there is none."""
        watched = self._of(device)
        if watched is None:
            return None
        with self._lock:
            return watched.last

    def observe(self, device: int, info: MemoryInfo, span: int) -> None:
        """Takes a reading that a span made at its edge, if it is of the sampler's source."""
        watched = self._of(device)
        if watched is not None and (info.source == "exact") is (self._nvml is None):
            self._take(watched, info, open_scopes.sequences(), span)

    def finish(self, patience_s: float) -> bool:
        """Has everything read once more; whether that was done in time."""
        self._last_round_asked = True
        self._wake()
        return self._finished.wait(patience_s)

    def close(self) -> None:
        """Ends it; a reading that is still under way is not told any more."""
        with self._lock:
            self._closed = True
            left = [done for watched in self._watched for done in watched.waiting]
            for watched in self._watched:
                watched.waiting.clear()
        for done in left:
            done(NO_ANSWER)
        self.note_cost()

    def note_cost(self) -> None:
        """Notes what watching has cost so far, for each device."""
        for watched in self._watched:
            watched.note_cost(self._clock() - self._begin_ns)

    # ---- readings ----

    def _of(self, device: int) -> Watched | None:
        return next((one for one in self._watched if one.device.index == device), None)

    def _visit(self, watched: Watched) -> bool:
        """Reads a device; whether it has moved."""
        with self._lock:
            waiting, watched.waiting = watched.waiting, []
        answer = self._answer(watched)
        moved = not isinstance(answer, str) and self._take(watched, answer, self._sequences)
        for done in waiting:
            done(answer)
        return moved

    def _answer(self, watched: Watched) -> Answer:
        begin_ns = self._clock()
        if watched.lost is not None:
            if begin_ns < watched.retry_ns:
                return watched.lost
            if self._nvml is not None:
                self._nvml.find_again(watched.place)
                watched.device = self._nvml.devices[watched.place]
        try:
            info = self._read(watched.place)
        except (CudaError, NvmlUnavailable) as error:
            watched.failures += 1
            self._lose(watched, str(error))
            return str(error)
        finally:
            cost_ns = self._clock() - begin_ns
            watched.calls += 1
            watched.cost_ns += cost_ns
            self._round_cost_ns += cost_ns
        watched.lost, watched.retry_pause_ns = None, 0
        return info

    def _take(
        self, watched: Watched, info: MemoryInfo, sequences: Sequences, span: int | None = None
    ) -> bool:
        """Takes one reading; whether it was far enough from the last one told to be told."""
        now_ns = self._clock()
        with self._lock:
            if self._closed:
                return False
            if watched.series is None:
                watched.series = Series(threshold_bytes(info.total_bytes))
                self._teller.describe(watched, info, watched.series.threshold_bytes)
            move = watched.series.take(info.used_bytes)
            since, window_ns = watched.sequences, now_ns - watched.last_ns
            watched.last, watched.last_ns, watched.sequences = info, now_ns, sequences
            watched.peak_bytes = max(watched.peak_bytes or 0, info.used_bytes)
        if self._listener is not None:
            self._listener(watched.device.index, info)
        self._teller.sample(watched.device, info)
        if move is None:
            return False
        self._teller.tell(watched, move, info, open_scopes.innermost(since, span), window_ns)
        return move.before_bytes is not None

    def _lose(self, watched: Watched, reason: str) -> None:
        watched.retry_pause_ns = min(2 * watched.retry_pause_ns or RETRY_NS, RETRY_MAX_NS)
        watched.retry_ns = self._clock() + watched.retry_pause_ns
        before_bytes = None
        with self._lock:
            tell = watched.lost is None and not self._closed
            watched.lost, watched.last = reason, None
            if watched.series is not None:
                before_bytes = watched.series.told_bytes
                watched.series.interrupt()
        if tell:
            self._teller.tell_loss(watched, before_bytes, reason)
