"""What was launched in a captured block, and how long it kept a GPU busy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gpu_narration._types import Kind
from gpu_narration.cuda.reasons import is_by_choice
from gpu_narration.testing.captured import Captured
from gpu_narration.testing.memory import number
from gpu_narration.timeline.gpu_time import GpuTime
from gpu_narration.timeline.intervals import union
from gpu_narration.tracefile import Event, Phase
from gpu_narration.tracefile.format import Value
from gpu_narration.views.units import duration


@dataclass(slots=True)
class Item:
    """A launch or a scope with ``gpu=True``; ``elapsed_ns`` on stream, None if unknown."""

    name: str
    stream: int | None
    elapsed_ns: int | None


@dataclass(slots=True)
class Work:
    """All of a block.  ``devices``: what it ran on."""

    gpu: GpuTime = field(default_factory=lambda: GpuTime("stream", {}))
    items: list[Item] = field(default_factory=list)
    devices: set[int] = field(default_factory=set)

    def longest(self) -> Iterator[str]:
        """Names with what elapsed for them on a stream, the longest first."""
        totals: dict[tuple[str, int | None], list[int]] = {}
        for item in self.items:
            if item.elapsed_ns is not None:
                totals.setdefault((item.name, item.stream), []).append(item.elapsed_ns)
        for (name, stream), times in sorted(totals.items(), key=lambda total: -sum(total[1])):
            calls = f" ({len(times)} times)" if len(times) > 1 else ""
            yield f"{name}: {duration(sum(times))} elapsed on stream {stream}{calls}"


def work_of(captured: Captured) -> Work:
    """What was timed, and what was not and ought to have been.

    A launch that nobody asked to time has its time in a scope round it, if one was timed
    on its stream.
    """
    work = Work()
    begins = {event.id: event for event in captured.events if event.phase is Phase.BEGIN}
    for event in captured.events:
        known = {**event.fields, **captured.annotations(event)}
        if event.phase is Phase.END and "gpu_ns" in known:
            work.gpu.scope(event, known, failed=False)
            name = f"{event.names[0]} {event.names[1]}"
        elif event.kind is Kind.LAUNCH and not _is_covered(captured, begins, event, known):
            work.gpu.launch(event, known)
            outer = begins.get(event.span or 0)
            name = event.names[2] or "?"
            if outer is not None:
                name = f"{outer.names[0]} {outer.names[1]}: {name}"
        else:
            continue
        work.items.append(Item(name, number(known, "stream"), number(known, "gpu_ns")))
        device = number(known, "device")
        if device is not None:
            work.devices.add(device)
    return work


def _is_covered(
    captured: Captured, begins: Mapping[int, Event], event: Event, known: Mapping[str, Value]
) -> bool:
    if number(known, "gpu_ns") is not None or not is_by_choice(known.get("gpu_reason")):
        return False
    where = known.get("stream"), known.get("device")
    outer = begins.get(event.span or 0)
    while outer is not None:
        around = captured.annotations(outer)
        is_here = (around.get("stream"), around.get("device")) == where
        if is_here and number(around, "gpu_ns") is not None:
            return True
        outer = begins.get(outer.span or 0)
    return False


def busy_ns(gpu: GpuTime) -> int:
    """How long the busiest device was busy, at least.

    Streams that overlap are busy once, so what placed work covers is a union.  Work that
    could not be placed counts by what elapsed within one stream, which adds up there.
    """
    times = [
        union((device.launches, device.scopes)).covered_ns for device in gpu.devices()
    ]  # fmt: skip
    times += [stream.launches.elapsed_ns for stream in gpu.streams]
    times += [row.figures.longest_ns for row in gpu.scopes if row.figures is not None]
    return max(times, default=0)
