"""What a trace amounts to: spans, waiting, GPU time and memory in a few rows each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from gpu_narration._types import WAITS, Kind, Outcome
from gpu_narration.timeline.distribution import Distribution, Figures
from gpu_narration.timeline.gpu_time import By, DeviceRow, GpuRow, GpuTime, StreamRow
from gpu_narration.timeline.intervals import Intervals
from gpu_narration.timeline.memory import Memory, MemoryRow
from gpu_narration.tracefile import Event, Phase, Trace
from gpu_narration.tracefile.format import Value

#: Gives what was learned about an event after it was recorded.
Annotations = Callable[[Event], Mapping[str, Value]]


@dataclass(slots=True)
class SpanRow:
    """All spans of one name that ended: the CPU time between their edges.

    ``open`` counts those that began and have no end in the trace.
    """

    actor: str
    name: str
    simulated: bool = False
    calls: int = 0
    failed: int = 0
    open: int = 0
    elapsed: Distribution = field(default_factory=Distribution)

    @property
    def figures(self) -> Figures | None:
        return self.elapsed.figures


@dataclass(slots=True)
class Summary:
    """The tables of a trace.

    begin_ns, end_ns: the window, CLOCK_MONOTONIC: from the first event to the last
        one, or to the end of the last GPU work if that is later.
    waits: spans in which a thread only waited for the GPU; ``waiting`` is the time in
        which at least one thread did.  They are not among ``spans``.
    untimed, unplaced: launches and scopes without GPU time, and those without a place
        on the timeline, by reason.
    """

    events: int
    begin_ns: int
    end_ns: int
    spans: list[SpanRow]
    waits: list[SpanRow]
    waiting: Intervals
    launches: list[GpuRow]
    scopes: list[GpuRow]
    streams: list[StreamRow]
    devices: list[DeviceRow]
    untimed: dict[str, int]
    unplaced: dict[str, int]
    memory: list[MemoryRow]

    @property
    def window_ns(self) -> int:
        return self.end_ns - self.begin_ns


def summarise(
    events: Iterable[Event],
    annotations: Annotations,
    *,
    by: By = "stream",
    actors: frozenset[str] = frozenset(),
    correlation: str | None = None,
    uuids: Mapping[tuple[int, int], str] | None = None,
) -> Summary:
    """One pass over the events of a trace, in the order of time; rows as they were met.

    ``correlation`` leaves one request, and the window is that request's; ``actors``
    leaves some rows, in the same window.  ``uuids`` is what :func:`device_uuids` gives.
    """
    spans, waits = _Spans(), _Spans()
    waiting = Intervals()
    gpu, memory = GpuTime(by, uuids or {}), Memory()
    count, begin_ns, end_ns = 0, 0, 0
    for event in events:
        if correlation is not None and event.correlation != correlation:
            continue
        begin_ns = event.monotonic_ns if count == 0 else begin_ns
        end_ns = event.monotonic_ns
        count += 1
        if actors and event.names[0] not in actors:
            continue
        if event.phase is Phase.END:
            elapsed_ns = event.elapsed_ns or 0
            learned = annotations(event)
            if _is_wait(event):
                waits.end(event, simulated=learned.get("simulated") is True)
                waiting.add(event.monotonic_ns - elapsed_ns, event.monotonic_ns)
            else:
                spans.end(event)
            if "gpu_ns" in learned:
                gpu.scope(event, learned, failed=event.outcome is Outcome.ERROR)
        elif event.phase is Phase.BEGIN:
            (waits if _is_wait(event) else spans).begin(event)
        elif event.kind is Kind.LAUNCH:
            # What was known at once is in the event itself.
            gpu.launch(event, {**event.fields, **annotations(event)})
        elif event.kind is Kind.VRAM:
            memory.take(event)
    spans.close()
    waits.close()
    return Summary(
        count,
        begin_ns,
        max(end_ns, gpu.last_ns() or 0),
        spans.rows,
        waits.rows,
        waiting,
        gpu.launches,
        gpu.scopes,
        gpu.streams,
        gpu.devices(),
        gpu.untimed(),
        gpu.unplaced(),
        memory.rows,
    )


def _is_wait(event: Event) -> bool:
    return event.names[0] == "cuda" and event.names[1] in WAITS


def device_uuids(trace: Trace) -> dict[tuple[int, int], str]:
    """Which GPU a device index means, by (process, index), where the trace says it."""
    uuids: dict[tuple[int, int], str] = {}
    for process in trace.processes:
        for note in process.notes:
            index, uuid = note.fields.get("index"), note.fields.get("uuid")
            if note.topic == "device" and isinstance(index, int) and isinstance(uuid, str):
                uuids[process.index, index] = uuid
    return uuids


class _Spans:
    """Spans by actor and name."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], SpanRow] = {}
        self._open: dict[tuple[int, int], SpanRow] = {}

    @property
    def rows(self) -> list[SpanRow]:
        return list(self._rows.values())

    def begin(self, event: Event) -> None:
        self._open[event.process, event.id] = self._row(event)

    def end(self, event: Event, *, simulated: bool = False) -> None:
        # An end without a beginning: its names were lost with that.
        began = self._open.pop((event.process, event.span_id or 0), None)
        row = began if began is not None else self._row(event)
        row.calls += 1
        row.failed += event.outcome is Outcome.ERROR
        row.simulated |= simulated
        if event.elapsed_ns is not None:
            row.elapsed.add(event.elapsed_ns)

    def close(self) -> None:
        """At the end of the trace: what is still open never ended."""
        for row in self._open.values():
            row.open += 1
        self._open.clear()

    def _row(self, event: Event) -> SpanRow:
        key = (event.names[0] or "?", event.names[1] or "?")
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = SpanRow(*key)
        return row
