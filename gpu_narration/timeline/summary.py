"""What a trace amounts to: spans, launches and memory in a few rows each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from gpu_narration._types import Kind, Outcome
from gpu_narration.tracefile import Event, Phase
from gpu_narration.tracefile.format import Value

#: Gives what was learned about an event after it was recorded.
Annotations = Callable[[Event], Mapping[str, Value]]


@dataclass(slots=True)
class SpanRow:
    """All spans of one name.

    ``gpu_ns`` adds up elapsed on stream of those that are known; ``gpu_unknown``
    counts the others, by reason.
    """

    actor: str
    name: str
    calls: int = 0
    failed: int = 0
    total_ns: int = 0
    longest_ns: int = 0
    gpu_ns: int = 0
    gpu_known: int = 0
    gpu_unknown: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class LaunchRow:
    """All launches of one kernel on one stream."""

    name: str
    device: int | None
    stream: int | None
    simulated: bool
    launches: int = 0
    gpu_ns: int = 0
    known: int = 0
    unknown: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class MemoryRow:
    """Memory of one device over the trace; bytes."""

    device: int
    simulated: bool
    source: str
    first_bytes: int
    last_bytes: int
    peak_bytes: int
    total_bytes: int
    moves: int = 0
    #: By scope: how far memory rose while it was the innermost open span.
    rose_in: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Summary:
    """The tables, each with its largest rows first."""

    events: int
    begin_ns: int
    end_ns: int
    spans: list[SpanRow]
    launches: list[LaunchRow]
    memory: list[MemoryRow]

    @property
    def wall_ns(self) -> int:
        """From the first event to the last."""
        return self.end_ns - self.begin_ns


def summarise(events: Iterable[Event], annotations: Annotations) -> Summary:
    """One pass over the events of a trace, in the order of time."""
    spans: dict[tuple[str, str], SpanRow] = {}
    launches: dict[tuple[object, ...], LaunchRow] = {}
    memory: dict[tuple[int, bool], MemoryRow] = {}
    count, begin_ns, end_ns = 0, 0, 0
    for event in events:
        begin_ns = event.monotonic_ns if count == 0 else begin_ns
        end_ns = event.monotonic_ns
        count += 1
        if event.phase is Phase.END:
            _add_span(spans, event, annotations(event))
        elif event.kind is Kind.LAUNCH:
            _add_launch(launches, event, annotations(event))
        elif event.kind is Kind.VRAM:
            _add_memory(memory, event)
    return Summary(
        count,
        begin_ns,
        end_ns,
        sorted(spans.values(), key=lambda row: -row.total_ns),
        sorted(launches.values(), key=lambda row: -row.gpu_ns),
        sorted(memory.values(), key=lambda row: row.device),
    )


def _add_span(
    spans: dict[tuple[str, str], SpanRow], event: Event, learned: Mapping[str, Value]
) -> None:
    key = (event.names[0] or "?", event.names[1] or "?")
    row = spans.setdefault(key, SpanRow(*key))
    elapsed_ns = event.elapsed_ns or 0
    row.calls += 1
    row.failed += event.outcome is Outcome.ERROR
    row.total_ns += elapsed_ns
    row.longest_ns = max(row.longest_ns, elapsed_ns)
    if "gpu_ns" in learned:
        gpu_ns = learned["gpu_ns"]
        if isinstance(gpu_ns, int):
            row.gpu_ns += gpu_ns
            row.gpu_known += 1
        else:
            _count(row.gpu_unknown, learned.get("gpu_reason"))


def _add_launch(
    launches: dict[tuple[object, ...], LaunchRow], event: Event, learned: Mapping[str, Value]
) -> None:
    device, stream = learned.get("device"), learned.get("stream")
    simulated = event.fields.get("simulated") is True
    name = event.names[2] or "?"
    key = (name, device, stream, simulated)
    row = launches.get(key)
    if row is None:
        row = launches[key] = LaunchRow(
            name,
            device if isinstance(device, int) else None,
            stream if isinstance(stream, int) else None,
            simulated,
        )
    row.launches += 1
    gpu_ns = learned.get("gpu_ns")
    if isinstance(gpu_ns, int):
        row.gpu_ns += gpu_ns
        row.known += 1
    else:
        _count(row.unknown, learned.get("gpu_reason", "the trace ended first"))


def _add_memory(memory: dict[tuple[int, bool], MemoryRow], event: Event) -> None:
    fields = event.fields
    device, used, total = fields.get("device"), fields.get("used_bytes"), fields.get("total_bytes")
    if not isinstance(device, int) or not isinstance(used, int) or not isinstance(total, int):
        return
    simulated = fields.get("simulated") is True
    row = memory.get((device, simulated))
    if row is None:
        row = memory[device, simulated] = MemoryRow(
            device, simulated, str(fields.get("source")), used, used, used, total
        )
    before = fields.get("before_bytes")
    if isinstance(before, int):
        row.moves += 1
        scope = fields.get("in_scope")
        if used > before and isinstance(scope, str):
            row.rose_in[scope] = row.rose_in.get(scope, 0) + used - before
    row.last_bytes = used
    row.peak_bytes = max(row.peak_bytes, used)


def _count(counts: dict[str, int], reason: Value) -> None:
    key = reason if isinstance(reason, str) else "unknown"
    counts[key] = counts.get(key, 0) + 1
