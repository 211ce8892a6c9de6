"""What the scopes in a captured block did to device memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gpu_narration.testing.captured import Captured
from gpu_narration.tracefile import Phase
from gpu_narration.tracefile.format import Value
from gpu_narration.views.units import size


@dataclass(frozen=True, slots=True)
class MemoryOf:
    """Of one scope, the scopes inside it included; bytes.

    ``cached``: how much more a pool keeps unused.  ``peak``: None where it is not known.
    """

    device: int
    before: int
    after: int
    source: str
    peak: int | None
    peak_source: str
    cached: int
    shared: str

    @property
    def rise(self) -> int:
        """How far memory rose above the beginning; without a peak, at the end."""
        return max(self.after, self.peak or 0) - self.before

    @property
    def left(self) -> int:
        """What is taken at the end and was not at the beginning."""
        return self.after - self.before - self.cached


def memory_of(known: Mapping[str, Value]) -> MemoryOf | str:
    """What was learned of a scope, or why nothing was."""
    before, after = number(known, "vram_before_bytes"), number(known, "vram_after_bytes")
    if before is None or after is None:
        return f"its memory is unknown: {_text(known, 'vram_reason') or 'no answer in the trace'}"
    return MemoryOf(
        device=number(known, "vram_device") or 0,
        before=before,
        after=after,
        source=_text(known, "vram_source"),
        peak=number(known, "vram_peak_bytes"),
        peak_source=_text(known, "vram_peak_source"),
        cached=number(known, "vram_cached_delta_bytes") or 0,
        shared=_text(known, "vram_shared"),
    )


@dataclass(frozen=True, slots=True)
class Scope:
    """A scope.  ``own``: what it left taken, without the scopes inside it; bytes."""

    name: str
    depth: int
    own: int
    memory: MemoryOf

    def told(self) -> str:
        memory = self.memory
        own = f"{'+' if self.own > 0 else ''}{size(self.own)}"
        told = f"{self.name}: {own} by itself, {size(memory.before)} → {size(memory.after)}"
        if memory.peak is not None:
            told += f", peak {size(memory.peak)} ({memory.peak_source})"
        return f"{told}; {memory.shared}" if memory.shared else told


def scopes_of(captured: Captured) -> list[Scope]:
    """The scopes that looked at memory and know it, in the order they began."""
    begins = {event.id: event for event in captured.events if event.phase is Phase.BEGIN}
    known: dict[int, MemoryOf] = {}
    for event_id, event in begins.items():
        memory = memory_of(captured.annotations(event))
        if isinstance(memory, MemoryOf):
            known[event_id] = memory
    own = {event_id: memory.left for event_id, memory in known.items()}
    depths = {}
    for event_id, memory in known.items():
        around = []
        outer = begins[event_id].span
        while outer is not None and outer in begins:
            around.append(outer)
            outer = begins[outer].span
        depths[event_id] = len(around)
        for outer in around:
            if outer in known and known[outer].device == memory.device:
                own[outer] -= memory.left
                break
    return [
        Scope(
            f"{begins[event_id].names[0]} {begins[event_id].names[1]}",
            depths[event_id], own[event_id], memory,
        )
        for event_id, memory in known.items()
    ]  # fmt: skip


def number(known: Mapping[str, Value], name: str) -> int | None:
    value = known.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(known: Mapping[str, Value], name: str) -> str:
    value = known.get(name)
    return value if isinstance(value, str) else ""
