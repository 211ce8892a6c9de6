"""What GPUs really did for spans and launches, beside what their events measured.

Elapsed on stream is the time between two events on a stream, kernel time that in which a
GPU worked for the span by a report of Nsight Systems.  The difference is what lay
between: gaps, other streams' work in front, the events themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from gpu_narration._types import SPAN_KINDS, Kind
from gpu_narration.nsight.sidecar import Joined, SpanWork
from gpu_narration.timeline.distribution import Distribution
from gpu_narration.timeline.summary import Annotations
from gpu_narration.tracefile import Event, Phase
from gpu_narration.tracefile.format import Value


@dataclass(slots=True)
class BesideRow:
    """All spans, or launches, of one name that GPUs worked for.

    calls: of them all; joined: of those that the report knows work of.
    cpu: of the spans that are joined; None of launches.
    busy_ns: added up over the joined ones, each the union of its work.
    compared: how many have both times; ``elapsed_ns`` and ``compared_busy_ns`` are of these.
    lag: from the first launch call to the start of its work.
    """

    actor: str
    name: str
    is_launch: bool
    calls: int = 0
    joined: int = 0
    cpu_ns: int = 0
    kernels: int = 0
    other_work: int = 0
    busy_ns: int = 0
    compared: int = 0
    elapsed_ns: int = 0
    compared_busy_ns: int = 0
    lag: Distribution = field(default_factory=Distribution)

    @property
    def difference_ns(self) -> int | None:
        """Elapsed on stream minus kernel time, of those that have both."""
        return self.elapsed_ns - self.compared_busy_ns if self.compared else None


class Beside:
    """Looks at events as they pass by, and adds up what a join says of them."""

    def __init__(
        self, joined: Joined, annotations: Annotations, *, actors: frozenset[str], correlation: str | None
    ) -> None:  # fmt: skip
        self._joined = joined
        self._annotations = annotations
        self._actors = actors
        self._correlation = correlation
        self._rows: dict[tuple[str, str, bool], BesideRow] = {}

    def watch(self, events: Iterable[Event]) -> Iterator[Event]:
        """The same events."""
        for event in events:
            if has_work(event) and self._wanted(event):
                self._take(event)
            yield event

    def rows(self) -> list[BesideRow]:
        """Rows with GPU work, the most first."""
        found = (row for row in self._rows.values() if row.joined)
        return sorted(found, key=lambda row: (-row.busy_ns, row.actor, row.name))

    def _wanted(self, event: Event) -> bool:
        if self._correlation is not None and event.correlation != self._correlation:
            return False
        return not self._actors or event.names[0] in self._actors

    def _take(self, event: Event) -> None:
        is_launch = event.kind is Kind.LAUNCH
        name = (event.names[2] if is_launch else event.names[1]) or "?"
        key = event.names[0] or "?", name, is_launch
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = BesideRow(*key)
        row.calls += 1
        work = self._joined.of(event.process, event.span_id or event.id)
        if work is None:
            return
        row.joined += 1
        row.cpu_ns += event.elapsed_ns or 0
        row.kernels += work.kernels
        row.other_work += work.other_work
        row.busy_ns += work.busy_ns
        if work.lag_ns is not None:
            row.lag.add(work.lag_ns)
        known = {**event.fields, **self._annotations(event)}
        elapsed_ns = known.get("gpu_ns")
        if isinstance(elapsed_ns, int) and not isinstance(elapsed_ns, bool):
            row.compared += 1
            row.elapsed_ns += elapsed_ns
            row.compared_busy_ns += work.busy_ns


def has_work(event: Event) -> bool:
    """Whether an event can have GPU work of its own: the end of a span, or a launch."""
    if event.kind is Kind.LAUNCH:
        return event.phase is Phase.INSTANT
    return event.phase is Phase.END and event.kind in SPAN_KINDS


def fields_of(work: SpanWork, gpu_ns: Value) -> dict[str, Value]:
    """What a line of an event says of its GPU work, beside ``gpu_ns``."""
    fields: dict[str, Value] = {"kernels": work.kernels}
    if work.other_work:
        fields["copies_and_memsets"] = work.other_work
    fields["kernel_busy_ns"] = work.busy_ns
    if isinstance(gpu_ns, int) and not isinstance(gpu_ns, bool):
        fields["gpu_minus_kernels_ns"] = gpu_ns - work.busy_ns
    if work.lag_ns is not None:
        fields["launch_to_start_ns"] = work.lag_ns
    return fields
