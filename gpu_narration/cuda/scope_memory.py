"""What spans with ``vram=True`` learn of device memory.

Where the program has a backend its driver is read at both edges, exactly and by the
span's own thread.  Where there is only NVML no thread of the program asks it: the
memory before is what was read last before the span began, the memory after is what
the watcher reads once the span has ended.

What caching pools hold (:mod:`.pools`) is read by the span's own thread as well; that
asks no driver.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from gpu_narration.cuda.backend import Backend, CudaError, MemoryInfo, NoContextError
from gpu_narration.cuda.nesting import Name, Nesting, Place
from gpu_narration.cuda.pools import PoolChange, PoolMarks, Pools
from gpu_narration.cuda.session import Session
from gpu_narration.cuda.takers import Taken, Takers
from gpu_narration.cuda.telling import NO_ANSWER, WAITING_MAX, Answer
from gpu_narration.cuda.vram import Sampler

_TOO_LATE = "memory was first read when the span had ended"
NO_SAMPLES = "nothing reads memory between the edges: {}"


@dataclass(slots=True, eq=False)
class Edge:
    """What an open span knows of the memory before it.  ``backend``: read exactly.

    ``highest_bytes``: of what was sampled since then; None as long as nothing was.
    """

    device: int
    backend: Backend | None
    before: MemoryInfo | None
    begin_ns: int = field(default_factory=time.monotonic_ns)
    #: Nothing was known when the span began: how much later it was first read.
    late_ns: int | None = None
    reason: str = ""
    place: Place | None = None
    marks: PoolMarks | None = None
    highest_bytes: int | None = None

    def read_late(self, answer: Answer) -> None:
        """Called by the watcher with the first reading after the beginning."""
        if self.before is not None:
            return
        if isinstance(answer, str):
            self.reason = answer
        else:
            self.before, self.late_ns = answer, time.monotonic_ns() - self.begin_ns


class ScopeMemory:
    """Owned by the hook of spans.

    The recorder says what can be read, by :meth:`attach` or :meth:`refuse`; spans that
    end before that are answered then.
    """

    def __init__(self, session: Session, pools: Callable[[], Pools]) -> None:
        self._session = session
        self._pools = pools
        self._nesting = Nesting()
        self._takers = Takers()
        self._lock = threading.RLock()
        #: Spans whose peak is followed; guarded.
        self._followed: dict[Edge, None] = {}
        self._sampler: Sampler | None = None
        #: Why there is none; empty as long as nobody knows.
        self._reason = ""
        self._may_read = True
        #: Spans that are open, and ids of those that have ended, while nobody knows.
        self._early: list[Edge] = []
        self._ended: list[int] = []

    @property
    def waits(self) -> bool:
        """Whether a span waits to be told whether memory can be sampled."""
        return bool(self._ended)

    def attach(self, sampler: Sampler) -> None:
        """From now on there is a sampler; spans that are open get their first reading late."""
        sampler.listen(self._sampled)
        with self._lock:
            self._sampler = sampler
            early, self._early = self._early, []
            ended, self._ended = self._ended, []
        for edge in early:
            sampler.ask(edge.device, edge.read_late)
        for event_id in ended:
            self.unknown(event_id, _TOO_LATE)

    def refuse(self, reason: str, *, exact_too: bool = False) -> None:
        """Memory cannot be sampled; ``exact_too``: it is not to be read at all."""
        with self._lock:
            self._reason, self._may_read = reason, not exact_too
            ended, self._ended = self._ended, []
            self._early.clear()
        for event_id in ended:
            self.unknown(event_id, reason)

    def close(self) -> None:
        """While the core still records: answers what nobody has."""
        if self._sampler is None and not self._reason:
            self.refuse(NO_ANSWER)
        with self._lock:
            left, self._followed = list(self._followed), {}
        for edge in left:  # they end after the recording, if at all
            if edge.marks is not None:
                edge.marks.abandon()

    # ---- the edges of spans ----

    def begin(
        self, event_id: int, backend: Backend | None, device: int, parent: int, name: Name
    ) -> Edge | None:
        """At the beginning of a span; None if nothing can be known, which it then says."""
        edge = self._read_first(event_id, backend, device)
        if edge is not None:
            edge.marks = self._pools().begin(device)
            edge.place = self._nesting.enter(event_id, name, device, parent)
            with self._lock:
                self._followed[edge] = None
        return edge

    def _read_first(self, event_id: int, backend: Backend | None, device: int) -> Edge | None:
        """A program that has no context yet gets one in the span, perhaps.

        NVML can tell what that does, the driver cannot.
        """
        if backend is not None and self._may_read:
            with contextlib.suppress(NoContextError):
                info = self._exactly(event_id, backend, device)
                return None if info is None else Edge(device, backend, info)
        with self._lock:
            sampler, reason = self._sampler, self._reason
            edge = Edge(device, None, None if sampler is None else sampler.latest(device))
            if sampler is None and not reason:
                self._early.append(edge)
        if sampler is not None:
            sampler.ask(device, edge.read_late)
        elif reason:
            self.unknown(event_id, reason)
            return None
        return edge

    def end(self, event_id: int, edge: Edge) -> None:
        """At its end."""
        pools = None
        if edge.marks is not None:
            pools = self._pools().end(edge.marks)
        if edge.place is not None:
            self._nesting.leave(edge.place)
        if edge.backend is not None:
            try:
                info = self._exactly(event_id, edge.backend, edge.device)
            except NoContextError as error:  # the span has ended it
                self.unknown(event_id, str(error))
            else:
                if info is not None:
                    self._tell(event_id, edge, info, pools)
            self._forget(edge)
            return
        with self._lock:
            sampler, reason = self._sampler, self._reason
            if sampler is None and not reason:
                self._early = [other for other in self._early if other is not edge]
                if len(self._ended) < WAITING_MAX:
                    self._ended.append(event_id)
                else:
                    reason = NO_ANSWER
        if sampler is not None:
            sampler.ask(edge.device, lambda answer: self._tell(event_id, edge, answer, pools))
            return
        self._forget(edge)
        if reason:
            self.unknown(event_id, reason)

    def unknown(self, event_id: int, reason: str) -> None:
        """Says of a span why its memory is not known."""
        self._annotate(event_id, {"vram_delta_bytes": None, "vram_reason": reason})

    # ---- between the edges ----

    def _sampled(self, device: int, info: MemoryInfo) -> None:
        """One reading of the sampler: every open span of that device has seen it."""
        with self._lock:
            for edge in self._followed:
                if edge.device == device:
                    edge.highest_bytes = max(edge.highest_bytes or 0, info.used_bytes)

    def _forget(self, edge: Edge) -> None:
        with self._lock:
            self._followed.pop(edge, None)

    def _exactly(self, event_id: int, backend: Backend, device: int) -> MemoryInfo | None:
        try:
            info = backend.memory_info(device)
        except NoContextError:
            raise
        except CudaError as error:
            self.unknown(event_id, str(error))
            return None
        sampler = self._sampler
        if sampler is not None and self._session.simulated:
            sampler.observe(device, info, event_id)
        elif sampler is not None:
            sampler.ask(device, lambda _: None)  # NVML's series has its own reading here
        return info

    # ---- what is told ----

    def _tell(self, event_id: int, edge: Edge, after: Answer, pools: PoolChange | None) -> None:
        self._forget(edge)
        if isinstance(after, str):
            self.unknown(event_id, after)
        elif edge.before is None or edge.before is after:
            self.unknown(event_id, edge.reason or _TOO_LATE)
        else:
            self._tell_known(event_id, edge, edge.before, after, pools)

    def _tell_known(
        self, event_id: int, edge: Edge, before: MemoryInfo, after: MemoryInfo,
        pools: PoolChange | None,
    ) -> None:  # fmt: skip
        delta = after.used_bytes - before.used_bytes
        fields: dict[str, object] = {
            "vram_before_bytes": before.used_bytes,
            "vram_after_bytes": after.used_bytes,
            "vram_delta_bytes": delta,
            "vram_source": after.source,
            "vram_device": edge.device,
            **self._peak(edge, before, after, pools),
        }
        if edge.late_ns is not None:
            fields["vram_before_late_ns"] = edge.late_ns
        if pools is not None:
            fields["vram_live_delta_bytes"] = pools.live_delta_bytes
            fields["vram_cached_delta_bytes"] = pools.cached_delta_bytes
            fields["vram_pool"] = pools.names
            if pools.reason:
                fields["vram_pool_reason"] = pools.reason
        if edge.place is not None:
            if edge.place.shared:
                fields["vram_shared"] = edge.place.shared
            cached = pools.cached_delta_bytes if pools is not None else None
            self._takers.ended(edge.place, delta - (cached or 0))
        self._annotate(event_id, fields)

    def _peak(
        self, edge: Edge, before: MemoryInfo, after: MemoryInfo, pools: PoolChange | None
    ) -> dict[str, object]:
        """Exact where only a pool has moved and has its own peak, else of what was sampled."""
        delta = after.used_bytes - before.used_bytes
        if pools is not None and edge.backend is not None and pools.peak_rise_bytes is not None:
            assert pools.live_delta_bytes is not None
            assert pools.cached_delta_bytes is not None
            if pools.live_delta_bytes + pools.cached_delta_bytes == delta:
                peak = before.used_bytes + pools.peak_rise_bytes
                return {"vram_peak_bytes": peak, "vram_peak_source": "exact"}
        if self._sampler is None:
            return {"vram_peak_bytes": None, "vram_peak_reason": NO_SAMPLES.format(self._reason)}
        peak = max(before.used_bytes, after.used_bytes, edge.highest_bytes or 0)
        return {"vram_peak_bytes": peak, "vram_peak_source": "sampled"}

    # ---- when memory has run out ----

    def now(self, device: int, backend: Backend | None) -> MemoryInfo | str:
        """What there is on a device, or why it is not known."""
        if backend is not None and self._may_read:
            try:
                return backend.memory_info(device)
            except CudaError as error:
                why = str(error)
        else:
            why = self._reason or NO_ANSWER
        sampler = self._sampler
        latest = None if sampler is None else sampler.latest(device)
        return why if latest is None else latest

    def taken(self, device: int, info: MemoryInfo | str, cached_bytes: int) -> list[Taken]:
        """What scopes took so far, largest first; ``cached_bytes``: kept by pools now."""
        open_bytes = {}
        if isinstance(info, MemoryInfo):
            with self._lock:
                edges = list(self._followed)
            for edge in edges:
                place, before, marks = edge.place, edge.before, edge.marks
                if place is None or before is None or marks is None or not place.is_open:
                    continue
                if edge.device == device:
                    cached = cached_bytes - marks.cached_bytes
                    open_bytes[place] = info.used_bytes - before.used_bytes - cached
        return self._takers.listed(device, open_bytes)

    def _annotate(self, event_id: int, fields: dict[str, object]) -> None:
        if self._session.simulated:
            fields["simulated"] = True
        self._session.annotate(event_id, fields)
