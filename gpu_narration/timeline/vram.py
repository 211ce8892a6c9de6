"""Device memory over a trace: what there was, when it moved, and in which scopes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gpu_narration._types import Kind
from gpu_narration.timeline.values import is_number
from gpu_narration.timeline.vram_devices import DeviceMemory, Devices, number
from gpu_narration.timeline.vram_scopes import (
    OTHERS,
    OUTSIDE,
    Call,
    Edges,
    Move,
    ScopeMemory,
    ScopeName,
    ScopeRow,
)
from gpu_narration.tracefile import Event, Phase
from gpu_narration.tracefile.format import Value

#: So many narrations are kept to be marked; of more, the most important ones.
_MARKS = 2000

NEWER = "read after the scope began, so perhaps moved before it"
SEVERAL = "several scopes were open"


@dataclass(frozen=True, slots=True)
class StateChange:
    """A state change and where it belongs."""

    event: Event
    device: DeviceMemory
    correlation: str | None


class VramHistory:
    """Collects a trace's memory, one event at a time, in the order of time.

    ``annotations`` gives what was learned about an event later; ``uuids`` is what
    :func:`~gpu_narration.timeline.vram_devices.uuids_of` gives; ``correlation`` leaves
    the scopes and narrations of one request.  ``name_of`` tells what to call the scope that
    an event begins; default its actor and name.
    """

    def __init__(
        self,
        annotations: Callable[[Event], Mapping[str, Value]],
        *,
        uuids: Mapping[tuple[int, int], str] | None = None,
        correlation: str | None = None,
        name_of: Callable[[Event], tuple[str, str]] = lambda event: (
            event.names[0] or "?",
            event.names[1] or "?",
        ),
    ) -> None:
        self._name_of = name_of
        self.devices = Devices(uuids)
        self.begin_ns: int | None = None
        self.end_ns: int | None = None
        self._annotations = annotations
        self._correlation = correlation
        self._scopes = ScopeMemory(correlation)
        self._marks: list[Event] = []
        self.marks_left_out = 0

    def take(self, event: Event) -> StateChange | None:
        """Takes in an event; what it says of memory if it is a state change."""
        if self.begin_ns is None:
            self.begin_ns = event.monotonic_ns
        self.end_ns = event.monotonic_ns
        if event.phase is Phase.BEGIN:
            self._begin(event)
        elif event.phase is Phase.END:
            self._end(event)
        elif event.kind is Kind.VRAM:
            return self._move(event)
        elif event.kind is Kind.NARRATION:
            self._mark(event)
        return None

    def close(self) -> list[ScopeRow]:
        """After the last event: the scopes that memory was read or moved in."""
        return self._scopes.close(self.end_ns or 0)

    @property
    def marks(self) -> list[Event]:
        """Narrations, in the order of time."""
        return self._marks

    # ---- events ----

    def _begin(self, event: Event) -> None:
        call = Call(
            self._name_of(event),
            self._scopes.find(event.process, event.span),
            event.monotonic_ns,
            event.correlation,
        )
        learned = self._annotations(event)
        if "vram_delta_bytes" in learned:
            self._read_edges(event, call, learned)
        self._scopes.begin(event.process, event.id, call)

    def _read_edges(self, event: Event, call: Call, learned: Mapping[str, Value]) -> None:
        device = self.devices.of(
            event.process, number(learned, "vram_device") or 0,
            simulated=learned.get("simulated") is True,
        )  # fmt: skip
        delta = learned["vram_delta_bytes"]
        before, after = number(learned, "vram_before_bytes"), number(learned, "vram_after_bytes")
        if not is_number(delta) or before is None or after is None:
            reason = learned.get("vram_reason")
            call.reason = reason if isinstance(reason, str) and reason else "no reason was recorded"
            call.reason_device = device
            return
        source, shared = learned.get("vram_source"), learned.get("vram_shared")
        live, cached = learned.get("vram_live_delta_bytes"), learned.get("vram_cached_delta_bytes")
        call.edges = Edges(
            device, delta, max(before, after, number(learned, "vram_peak_bytes") or 0),
            source if isinstance(source, str) else "?",
            live if is_number(live) else None, cached if is_number(cached) else None,
            shared if isinstance(shared, str) and shared else None,
        )  # fmt: skip
        device.edge(event.monotonic_ns, before, call.edges.source)

    def _end(self, event: Event) -> None:
        if event.span_id is None:
            return
        call = self._scopes.find(event.process, event.span_id)
        if call is not None and call.edges is not None:
            after = number(self._annotations(event), "vram_after_bytes")
            if after is not None:
                call.edges.device.edge(event.monotonic_ns, after, call.edges.source)
            call.edges.device.reach(call.edges.peak, call.edges.source)
        self._scopes.end(event.process, event.span_id, event.monotonic_ns)

    def _move(self, event: Event) -> StateChange | None:
        device = self.devices.of_event(event)
        if device is None:
            return None
        device.read(event.monotonic_ns, event.fields)
        fields = event.fields
        span = fields.get("in_span")
        call = self._scopes.find(event.process, span if is_number(span) else event.span)
        name: ScopeName = OUTSIDE
        scope = fields.get("in_scope")
        if self._annotations(event).get("by_others") is True:
            call, name = None, OTHERS
        elif call is None and isinstance(scope, str):
            name = ("?", scope)
        correlation = event.correlation
        if correlation is None and call is not None:
            correlation = call.correlation
        used, before = number(fields, "used_bytes"), number(fields, "before_bytes")
        if used is not None and before is not None:
            source = fields.get("source")
            move = Move(
                device, event.monotonic_ns, used - before,
                max(used, number(fields, "peak_bytes") or 0),
                source if isinstance(source, str) else "?",
                number(fields, "window_ns"), _unsure(fields),
            )  # fmt: skip
            self._scopes.move(move, call, name)
        return StateChange(event, device, correlation)

    def _mark(self, event: Event) -> None:
        if self._correlation is not None and event.correlation != self._correlation:
            return
        self._marks.append(event)
        if len(self._marks) >= 2 * _MARKS:
            kept = sorted(self._marks, key=lambda mark: -mark.level)[:_MARKS]
            self.marks_left_out += len(self._marks) - len(kept)
            self._marks = sorted(kept, key=lambda mark: mark.monotonic_ns)


def _unsure(fields: Mapping[str, Value]) -> str | None:
    if fields.get("scope_is_newer") is True:
        return NEWER
    open_scopes = fields.get("open_scopes")
    return SEVERAL if is_number(open_scopes) and open_scopes > 1 else None
