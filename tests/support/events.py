"""Events made by hand, as the reader would give them, and what was learned of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gpu_narration._types import Kind, Level, Outcome
from gpu_narration.timeline.summary import Summary, summarise
from gpu_narration.tracefile import Event, Phase, Site
from gpu_narration.tracefile.format import Value

Names = tuple[str | None, str | None, str | None, str | None]


@dataclass
class Story:
    """Collects events in the order they are told, with their annotations."""

    events: list[Event] = field(default_factory=list)
    learned: dict[tuple[int, int], dict[str, Value]] = field(default_factory=dict)

    def launch(
        self,
        name: str,
        at_ns: int,
        *,
        action: str = "launch",
        process: int = 0,
        correlation: str | None = None,
        inside: int | None = None,
        fields: Mapping[str, Value] | None = None,
        **learned: Value,
    ) -> None:
        """A launch, and its annotation; none without keywords."""
        event = self._event(
            Kind.LAUNCH, ("cuda", action, name, None), at_ns, Phase.INSTANT, process, correlation
        )
        event.fields.update(fields or {})
        event.span = inside
        if learned:
            self.learned[process, event.id] = learned

    def timed(
        self, name: str, at_ns: int, start_ns: int, end_ns: int, *, stream: int = 7,
        device: int = 0, error_ns: int = 100, process: int = 0, inside: int | None = None,
        **more: Value,
    ) -> None:  # fmt: skip
        """A launch that is timed and placed."""
        self.launch(
            name, at_ns, process=process, inside=inside, gpu_ns=end_ns - start_ns, gpu_start_ns=start_ns,
            gpu_end_ns=end_ns, gpu_place_error_ns=error_ns, stream=stream, device=device, **more,
        )  # fmt: skip

    def span(
        self,
        actor: str,
        name: str,
        begin_ns: int,
        end_ns: int | None,
        *,
        outcome: Outcome = Outcome.OK,
        correlation: str | None = None,
        process: int = 0,
        inside: int | None = None,
        **learned: Value,
    ) -> int:
        """A span, by its id; one without an end stays open.  ``inside``: the id of another."""
        names = (actor, name, None, None)
        begin = self._event(Kind.SPAN, names, begin_ns, Phase.BEGIN, process, correlation)
        if learned:
            self.learned[process, begin.id] = learned
        begin.span = inside
        if end_ns is not None:
            self.end(begin.id, end_ns, outcome)
        return begin.id

    def end(self, span: int, end_ns: int, outcome: Outcome = Outcome.OK) -> None:
        """The end of a span that is open."""
        begin = self.events[span - 1]
        end = self._event(
            Kind.SPAN, begin.names, end_ns, Phase.END, begin.process, begin.correlation
        )
        end.span_id, end.elapsed_ns, end.outcome = span, end_ns - begin.monotonic_ns, outcome
        end.span = begin.span

    def summary(self, **options: object) -> Summary:
        """What it amounts to, its events put into the order of time."""
        events = sorted(self.events, key=lambda event: event.monotonic_ns)
        return summarise(events, self.annotations, **options)  # type: ignore[arg-type]

    def annotations(self, event: Event) -> dict[str, Value]:
        number = event.span_id if event.span_id is not None else event.id
        return self.learned.get((event.process, number), {})

    def _event(
        self, kind: Kind, names: Names, at_ns: int, phase: Phase, process: int,
        correlation: str | None,
    ) -> Event:  # fmt: skip
        number = len(self.events) + 1
        site = Site(number, kind, Level.TRACE, 0, "", names)
        event = Event(
            process, 2, number, number, at_ns, site, phase, names, correlation=correlation
        )
        self.events.append(event)
        return event
