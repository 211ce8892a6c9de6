"""Memory made by hand: state changes, edges and narrations, as the reader would give them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gpu_narration._types import Kind, Level
from gpu_narration.timeline.vram import StateChange, VramHistory
from gpu_narration.timeline.vram_devices import DeviceMemory
from gpu_narration.timeline.vram_scopes import ScopeRow
from gpu_narration.tracefile import Event, Phase
from gpu_narration.tracefile.format import Value
from tests.support.events import Story

MIB, GIB = 1 << 20, 1 << 30


@dataclass
class Told:
    """What a history came to."""

    history: VramHistory
    rows: list[ScopeRow]
    changes: list[StateChange]

    def row(self, name: str | None) -> ScopeRow:
        """The only row of a scope, by its name without the actor; None: outside all."""
        (row,) = (row for row in self.rows if (row.scope and row.scope[1]) == name)
        return row

    @property
    def devices(self) -> list[DeviceMemory]:
        return list(self.history.devices)

    @property
    def device(self) -> DeviceMemory:
        (device,) = self.history.devices
        return device


class VramStory(Story):
    """A story with memory in it; times in ns, sizes in bytes."""

    def begin(
        self, name: str, at_ns: int, *, inside: Event | None = None, process: int = 0,
        actor: str = "app", correlation: str | None = None, **learned: Value,
    ) -> Event:  # fmt: skip
        """Begins a span; ``learned`` are its annotations."""
        names = (actor, name, None, None)
        event = self._event(Kind.SPAN, names, at_ns, Phase.BEGIN, process, correlation)
        event.span = inside.id if inside is not None else None
        if learned:
            self.learned[process, event.id] = learned
        return event

    def edged(
        self, name: str, at_ns: int, before: int, after: int, *, inside: Event | None = None,
        process: int = 0, correlation: str | None = None, **more: Value,
    ) -> Event:  # fmt: skip
        """Begins a span whose edges were read."""
        return self.begin(
            name, at_ns, inside=inside, process=process, correlation=correlation,
            **{
                "vram_before_bytes": before, "vram_after_bytes": after,
                "vram_delta_bytes": after - before, "vram_source": "exact", "vram_device": 0,
                **more,
            },
        )  # fmt: skip

    def end(self, begun: Event, at_ns: int) -> None:
        """Ends a span."""
        event = self._event(
            Kind.SPAN, begun.names, at_ns, Phase.END, begun.process, begun.correlation
        )
        event.span_id, event.elapsed_ns = begun.id, at_ns - begun.monotonic_ns
        event.span = begun.span

    def move(
        self, at_ns: int, before: int | None, used: int | None, *, inside: Event | None = None,
        device: int = 0, process: int = 0, total: int | None = 16 * GIB, source: str = "sampled",
        learned: dict[str, Value] | None = None, **fields: Value,
    ) -> Event:  # fmt: skip
        """A state change; ``inside`` is the span that it names."""
        names = ("vram", "state_change", f"gpu{device}.used", None)
        event = self._event(Kind.VRAM, names, at_ns, Phase.INSTANT, process, None)
        event.fields.update(
            before_bytes=before, used_bytes=used, total_bytes=total, device=device, source=source
        )
        if inside is not None:
            event.fields.update(in_span=inside.id, in_scope=inside.names[1])
        event.fields.update(fields)
        if learned is not None:
            self.learned[process, event.id] = learned
        return event

    def narrate(
        self, at_ns: int, text: str, *, level: Level = Level.INFO, actor: str = "app",
        correlation: str | None = None,
    ) -> Event:  # fmt: skip
        """A narration."""
        names = (actor, "say", None, text)
        event = self._event(Kind.NARRATION, names, at_ns, Phase.INSTANT, 0, correlation)
        event.site = replace(event.site, level=level)
        return event

    def told(self, **options: object) -> Told:
        """What it comes to, its events put into the order of time."""
        history = VramHistory(self.annotations, **options)  # type: ignore[arg-type]
        changes = []
        for event in sorted(self.events, key=lambda event: event.monotonic_ns):
            change = history.take(event)
            if change is not None:
                changes.append(change)
        return Told(history, history.close(), changes)
