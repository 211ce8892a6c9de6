"""What spans with ``vram=True`` learn of device memory.

Where the program has a backend its driver is read at both edges, exactly and by the
span's own thread.  Where there is only NVML no thread of the program asks it: the
memory before is what was read last before the span began, the memory after is what
the watcher reads once the span has ended.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field

from gpu_narration.cuda.backend import Backend, CudaError, MemoryInfo, NoContextError
from gpu_narration.cuda.session import Session
from gpu_narration.cuda.telling import NO_ANSWER, WAITING_MAX, Answer
from gpu_narration.cuda.vram import Sampler

_TOO_LATE = "memory was first read when the span had ended"


@dataclass(slots=True)
class Edge:
    """What an open span knows of the memory before it.  ``backend``: read exactly."""

    device: int
    backend: Backend | None
    before: MemoryInfo | None
    begin_ns: int = field(default_factory=time.monotonic_ns)
    #: Nothing was known when the span began: how much later it was first read.
    late_ns: int | None = None
    reason: str = ""

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

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
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

    def begin(self, event_id: int, backend: Backend | None, device: int) -> Edge | None:
        """At the beginning of a span; None if nothing can be known, which it then says.

        A program that has no context yet gets one in the span, perhaps: NVML can tell
        what it does, the driver cannot.
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
        if edge.backend is not None:
            try:
                info = self._exactly(event_id, edge.backend, edge.device)
            except NoContextError as error:  # the span has ended it
                self.unknown(event_id, str(error))
            else:
                if info is not None:
                    self._tell(event_id, edge, info)
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
            sampler.ask(edge.device, lambda answer: self._tell(event_id, edge, answer))
        elif reason:
            self.unknown(event_id, reason)

    def unknown(self, event_id: int, reason: str) -> None:
        """Says of a span why its memory is not known."""
        self._annotate(event_id, {"vram_delta_bytes": None, "vram_reason": reason})

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

    def _tell(self, event_id: int, edge: Edge, after: Answer) -> None:
        if isinstance(after, str):
            self.unknown(event_id, after)
        elif edge.before is None or edge.before is after:
            self.unknown(event_id, edge.reason or _TOO_LATE)
        else:
            fields: dict[str, object] = {
                "vram_before_bytes": edge.before.used_bytes,
                "vram_after_bytes": after.used_bytes,
                "vram_delta_bytes": after.used_bytes - edge.before.used_bytes,
                "vram_source": after.source,
                "vram_device": edge.device,
            }
            if edge.late_ns is not None:
                fields["vram_before_late_ns"] = edge.late_ns
            self._annotate(event_id, fields)

    def _annotate(self, event_id: int, fields: dict[str, object]) -> None:
        if self._session.simulated:
            fields["simulated"] = True
        self._session.annotate(event_id, fields)
