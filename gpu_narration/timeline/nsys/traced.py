"""What a join needs to know of a trace: its spans, where they lie, and their names in NVTX."""

from __future__ import annotations

from dataclasses import dataclass, field

from gpu_narration._types import SPAN_KINDS, Kind
from gpu_narration.timeline.nsys.attribution import Identity
from gpu_narration.tracefile import Event, Phase, Site, Trace

#: Kinds that go by their target in NVTX; cuda/ranges.py names the others.
_BY_TARGET = frozenset({Kind.ENTER, Kind.EXIT, Kind.LAUNCH, Kind.STATE})


@dataclass(slots=True)
class TracedSpan:
    """A span; ``end_ns`` is None of one that has no end in the trace."""

    parent: int | None
    thread: int
    begin_ns: int
    end_ns: int | None
    nvtx_name: str
    request: str | None


@dataclass(slots=True)
class TracedProcess:
    """What one process recorded, by event id."""

    index: int
    name: str
    pid: int
    native_ids: dict[int, int]
    realtime_offset_ns: int | None
    spans: dict[int, TracedSpan] = field(default_factory=dict)
    launches: dict[int, int | None] = field(default_factory=dict)
    narrations: set[int] = field(default_factory=set)
    nvtx_names: set[str] = field(default_factory=set)
    first_ns: int | None = None
    last_ns: int | None = None


class Traced:
    """A whole trace, read once; some 300 bytes a span."""

    def __init__(self, trace: Trace) -> None:
        self.processes = [
            TracedProcess(
                process.index, process.name, process.pid,
                {
                    number: info.native_id
                    for number, info in process.threads.items() if info.native_id is not None
                },
                process.decoder.clock.realtime_offset_ns if process.decoder.clock.points else None,
            )
            for process in trace.processes
        ]  # fmt: skip
        self._by_pid: dict[int, list[TracedProcess]] = {}
        for process in self.processes:
            self._by_pid.setdefault(process.pid, []).append(process)

    def take(self, event: Event) -> None:
        """Takes in an event, in the order of time."""
        process = self.processes[event.process]
        if process.first_ns is None:
            process.first_ns = event.monotonic_ns
        process.last_ns = event.monotonic_ns
        if event.kind in SPAN_KINDS:
            self._span(process, event)
        elif event.kind is Kind.LAUNCH:
            process.launches[event.id] = event.span
        elif event.kind is Kind.NARRATION:
            process.narrations.add(event.id)

    def of_pid(self, pid: int) -> list[TracedProcess]:
        """The processes of a pid: one, or several if the system gave it out again."""
        return self._by_pid.get(pid, [])

    def parent(self, event: Identity) -> Identity | None:
        """The span that a span or launch happened in."""
        process = self.processes[event.process]
        span = process.spans.get(event.event)
        parent = span.parent if span is not None else process.launches.get(event.event)
        return None if parent is None or parent == 0 else Identity(event.process, parent)

    def is_inside(self, inner: Identity, outer: Identity) -> bool:
        """Whether a span lies in another one."""
        above: Identity | None = inner
        seen = 0
        while above is not None and seen < _DEEPEST:
            if above == outer:
                return True
            above = self.parent(above)
            seen += 1
        return False

    @staticmethod
    def _span(process: TracedProcess, event: Event) -> None:
        if event.phase is Phase.BEGIN:
            name = nvtx_name(event.site)
            process.nvtx_names.add(name)
            process.spans[event.id] = TracedSpan(
                event.span, event.thread, event.monotonic_ns, None, name, event.correlation
            )
        elif event.span_id is not None and (span := process.spans.get(event.span_id)) is not None:
            span.end_ns = event.monotonic_ns


#: A damaged trace may say that spans lie in each other.
_DEEPEST = 10_000


def nvtx_name(site: Site) -> str:
    """What NVTX was told as the name of a call site's events."""
    actor, action, target, _ = site.names
    named = target if site.kind in _BY_TARGET else action
    return named or action or actor or site.kind.name.lower()
