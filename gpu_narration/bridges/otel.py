"""A trace's spans to OpenTelemetry: read from the files, never on the program's path.

Needs the extra ``otel``.  Ids are those that the program gave to other services in its
``traceparent`` headers, so their spans and ours come together.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from gpu_narration._errors import ExportError, MissingExtraError
from gpu_narration._types import Kind, Outcome
from gpu_narration.contexts.headers import span_id_of
from gpu_narration.tracefile import Event, Phase, Trace
from gpu_narration.tracefile.format import CutText, Summary, Value
from gpu_narration.tracefile.trace import ProcessTrace
from gpu_narration.views.sentences import sentence, target_of
from gpu_narration.views.text import value_text

try:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import Event as SpanEvent
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExportResult
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags, TraceState
    from opentelemetry.trace.status import Status, StatusCode
except ImportError as missing:
    raise MissingExtraError(
        f"OpenTelemetry is needed: {missing}", next_step="pip install 'gpu-narration[otel]'"
    ) from missing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

#: Narrations that a span takes along; more are counted.
EVENTS_MAX = 128
_BATCH = 512
_WIDEST = 1 << 63


@dataclass(slots=True)
class Exported:
    """What was exported.

    spans: all of them; gpu: those of launches that lie on the timeline.
    unfinished: spans without an end, which end with the process's last event.
    unplaced: launches whose time on the GPU has no place, as events of the spans round them.
    left_out: narrations outside of all spans, or past what a span takes along.
    """

    spans: int = 0
    gpu: int = 0
    unfinished: int = 0
    unplaced: int = 0
    left_out: int = 0


def otlp_exporter(endpoint: str | None = None) -> SpanExporter:
    """OTLP over HTTP; default endpoint as in ``OTEL_EXPORTER_OTLP_ENDPOINT``.

    Raises MissingExtraError without the extra ``otel``.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise MissingExtraError(
            f"the OTLP exporter is needed: {error}", next_step="pip install 'gpu-narration[otel]'"
        ) from error
    return OTLPSpanExporter(endpoint=endpoint)


def export(
    path: str | os.PathLike[str], exporter: SpanExporter, *, service: str | None = None
) -> Exported:
    """Exports the spans of a trace, and the launches in it that were timed on the GPU.

    Each has its narrations as events, its ids, fields and what was learned of it as
    attributes.  A span inside one of another trace has a link to it.  ``service`` is the
    ``service.name``; default the program's file name.

    Raises NotATraceError, and ExportError where the exporter refuses a batch.
    """
    trace = Trace(path)
    counts = Exported()
    batch: list[ReadableSpan] = []
    for process in trace.processes:
        spans = _Process(trace, process, counts, service)
        for made in spans.read():
            batch.append(made)
            if len(batch) >= _BATCH:
                _send(exporter, batch, counts)
    if batch:
        _send(exporter, batch, counts)
    return counts


def _send(exporter: SpanExporter, batch: list[ReadableSpan], counts: Exported) -> None:
    if exporter.export(batch) is not SpanExportResult.SUCCESS:
        raise ExportError(
            f"the exporter refused {len(batch)} spans, after {counts.spans} that it took",
            next_step="look at what it logged, and whether the collector can be reached",
        )
    counts.spans += len(batch)
    batch.clear()


@dataclass(slots=True)
class _Open:
    begin: Event
    events: list[SpanEvent] = field(default_factory=list)
    left_out: int = 0


class _Process:
    """The spans of one process."""

    def __init__(
        self, trace: Trace, process: ProcessTrace, counts: Exported, service: str | None
    ) -> None:
        self._process = process
        self._counts = counts
        self._recording = f"{trace.trace_id}/{process.name}"
        self._offset_ns = process.decoder.clock.realtime_offset_ns
        self._open: dict[int, _Open] = {}
        #: In which trace each span so far is.
        self._traces: dict[int, str] = {}
        facts = process.note("process")
        program = os.path.basename(str(facts.get("program") or "python"))  # noqa: PTH119 - a text
        self._resource = Resource(
            {
                "service.name": service or program,
                "process.pid": process.pid,
                "host.name": str(facts.get("host") or ""),
                "gpu_narration.trace": trace.trace_id,
            }
        )
        self._scope = InstrumentationScope("gpu_narration", str(facts.get("gpu_narration") or ""))

    def read(self) -> Iterator[ReadableSpan]:
        last_ns = 0
        for event in self._process.events():
            last_ns = event.monotonic_ns
            if event.phase is Phase.BEGIN:
                self._open[event.id] = _Open(event)
                self._traces[event.id] = self._trace_of(event)
            elif event.phase is Phase.END:
                begun = self._open.pop(event.span_id or 0, None)
                if begun is not None:
                    yield self._span(begun, event, event.monotonic_ns)
            elif event.kind is Kind.LAUNCH:
                yield from self._launch(event)
            elif event.kind is Kind.NARRATION:
                self._inside(event)
        for begun in self._open.values():
            self._counts.unfinished += 1
            yield self._span(begun, None, last_ns)

    # ---- what a span is made of ----

    def _span(self, begun: _Open, end: Event | None, end_ns: int) -> ReadableSpan:
        begin = begun.begin
        learned = self._learned(begin)
        attributes = self._attributes(begin, learned)
        status = Status(StatusCode.UNSET)
        if end is None:
            attributes["gpu_narration.unfinished"] = True
        else:
            attributes |= _named(
                {argument.name or "result": argument.value for argument in end.arguments}
            )
            attributes["gpu_narration.outcome"] = (end.outcome or Outcome.OK).name.lower()
            if end.outcome is Outcome.ERROR:
                status = Status(StatusCode.ERROR, f"{end.error_type}: {end.error_text or ''}")
                attributes["error.type"] = end.error_type or "?"
        if begun.left_out:
            attributes["gpu_narration.events_left_out"] = begun.left_out
        actor, action = begin.names[0], begin.names[1]
        return self._make(
            f"{actor} {action}", begin, begin.id, begin.monotonic_ns, end_ns, attributes,
            begun.events, status,
        )  # fmt: skip

    def _launch(self, event: Event) -> Iterator[ReadableSpan]:
        learned = self._learned(event)
        start_ns, end_ns = learned.get("gpu_start_ns"), learned.get("gpu_end_ns")
        if not isinstance(start_ns, int) or not isinstance(end_ns, int) or end_ns < start_ns:
            self._counts.unplaced += 1
            self._inside(event)
            return
        self._counts.gpu += 1
        attributes = self._attributes(event, learned)
        name = f"gpu {target_of(event) or event.names[1]}"
        yield self._make(
            name, event, event.id, start_ns, end_ns, attributes, [], Status(StatusCode.UNSET)
        )  # fmt: skip

    def _make(
        self, name: str, event: Event, number: int, start_ns: int, end_ns: int,
        attributes: dict[str, Any], events: list[SpanEvent], status: Status,
    ) -> ReadableSpan:  # fmt: skip
        own = self._traces.get(number) or self._trace_of(event)
        parent, links = self._parent(event, own)
        return ReadableSpan(
            name=name,
            context=self._context(own, span_id_of(self._recording, number), event),
            parent=parent,
            resource=self._resource,
            attributes=attributes,
            events=events,
            links=links,
            kind=SpanKind.INTERNAL,
            status=status,
            start_time=start_ns + self._offset_ns,
            end_time=end_ns + self._offset_ns,
            instrumentation_scope=self._scope,
        )

    def _parent(self, event: Event, own: str) -> tuple[SpanContext | None, list[Link]]:
        """The span round it, else the caller's in another process; a link to one of another trace."""
        links = []
        if event.span is not None:
            around = self._traces.get(event.span, own)
            outer = self._context(around, span_id_of(self._recording, event.span), event)
            if around == own:
                return outer, []
            links.append(Link(outer))
        caller = event.context.get("parent_span_id")
        if isinstance(caller, str) and own == event.context.get("trace_id"):
            return self._context(own, caller, event, remote=True), links
        return None, links

    def _context(
        self, trace_id: str, span_id: str, event: Event, *, remote: bool = False
    ) -> SpanContext:
        flags = event.context.get("trace_flags")
        state = event.context.get("tracestate")
        return SpanContext(
            int(trace_id, 16), int(span_id, 16), remote,
            TraceFlags(flags & 1 if isinstance(flags, int) else 1),
            TraceState.from_header([state]) if isinstance(state, str) else None,
        )  # fmt: skip

    def _trace_of(self, event: Event) -> str:
        """Of its context; else of the span round it; else one made of the event's own id."""
        given = event.context.get("trace_id")
        if isinstance(given, str):
            return given
        around = self._traces.get(event.span or 0)
        if around is not None:
            return around
        return blake2b(f"{self._recording}/{event.id}".encode(), digest_size=16).hexdigest()

    def _inside(self, event: Event) -> None:
        """As an event of the span round it, if there is one that has room."""
        around = self._open.get(event.span or 0)
        if around is None or len(around.events) >= EVENTS_MAX:
            self._counts.left_out += 1
            if around is not None:
                around.left_out += 1
            return
        learned = self._learned(event)
        attributes = self._attributes(event, learned)
        attributes["message"] = sentence(event, learned)
        attributes["level"] = event.level.name
        name = f"{event.names[0]} {event.names[1]}"
        around.events.append(
            SpanEvent(name, attributes, timestamp=event.monotonic_ns + self._offset_ns)
        )

    def _learned(self, event: Event) -> Mapping[str, Value]:
        return self._process.decoder.annotations.get(event.id, {})

    def _attributes(self, event: Event, learned: Mapping[str, Value]) -> dict[str, Any]:
        attributes: dict[str, Any] = {"gpu_narration.kind": event.kind.name.lower()}
        target = target_of(event)
        if target:
            attributes["target"] = target
        if event.correlation is not None:
            attributes["correlation_id"] = event.correlation
        if event.source_location is not None:
            path, _, line = event.source_location.rpartition(":")
            attributes["code.file.path"] = path
            attributes["code.line.number"] = int(line) if line.isdigit() else 0
        belongs = {k: v for k, v in event.context.items() if k not in _IN_THE_SPAN_ITSELF}
        arguments = {
            argument.name or f"arg{i}": argument.value for i, argument in enumerate(event.arguments)
        }
        return (
            attributes
            | _named(belongs)
            | _named(arguments)
            | _named(event.fields)
            | _named(learned)
        )


_IN_THE_SPAN_ITSELF = frozenset(("trace_id", "parent_span_id", "trace_flags", "tracestate"))


def _named(fields: Mapping[str, Value]) -> dict[str, Any]:
    return {name: _attribute(value) for name, value in fields.items() if value is not None}


def _attribute(value: Value) -> Any:
    """A value as an attribute can have it: text where it can have no such thing."""
    if isinstance(value, (Summary, CutText)):
        return value.text
    if isinstance(value, int) and not isinstance(value, bool) and not -_WIDEST <= value < _WIDEST:
        return str(value)
    return value if isinstance(value, (bool, int, float, str)) else value_text(value)
