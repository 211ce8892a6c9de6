"""Device memory while one request was worked for."""

from __future__ import annotations

from dataclasses import dataclass, field

from gpu_narration._types import Kind
from gpu_narration.timeline.values import is_number
from gpu_narration.tracefile import Event

NO_READING = "no device memory was read in this trace"


@dataclass(slots=True)
class DeviceUse:
    """Memory of one device, of all who use it; bytes.  ``begin_bytes`` is the last reading
    before the request, None if the first one came later.
    """

    process: int
    device: int
    simulated: bool
    source: str
    begin_bytes: int | None
    peak_bytes: int
    end_bytes: int
    total_bytes: int | None


@dataclass(slots=True)
class RequestMemory:
    """The readings that fall into a request, and the last ones before it."""

    devices: list[DeviceUse] = field(default_factory=list)
    _known: dict[tuple[int, int], DeviceUse] = field(default_factory=dict)
    _later: list[Event] = field(default_factory=list)

    def take(self, event: Event, *, started: bool, mine: bool) -> None:
        """Takes an event in, in the order of time; only readings of memory count.

        started: the request has begun; mine: the event belongs to it.
        """
        if event.kind is Kind.VRAM:
            if started:
                self._later.append(event)
            else:
                self._note(event, started=False)
        if mine:
            # What came before an event of the request came within it.
            for reading in self._later:
                self._note(reading, started=True)
            self._later.clear()

    def finish(self) -> None:
        """The request is over: readings behind its last event are not its own."""
        self._later.clear()
        self.devices = sorted(self._known.values(), key=lambda use: (use.process, use.device))

    def _note(self, event: Event, *, started: bool) -> None:
        device, used = event.fields.get("device"), event.fields.get("used_bytes")
        if not is_number(device) or not is_number(used):
            return
        known = self._known.get((event.process, device))
        before = event.fields.get("before_bytes")
        total = event.fields.get("total_bytes")
        if known is None or not started:
            begin = used if not started else before if is_number(before) else None
            self._known[event.process, device] = DeviceUse(
                process=event.process,
                device=device,
                simulated=event.fields.get("simulated") is True,
                source=str(event.fields.get("source")),
                begin_bytes=begin,
                peak_bytes=max(used, begin or 0),
                end_bytes=used,
                total_bytes=total if is_number(total) else None,
            )
            return
        known.end_bytes = used
        known.peak_bytes = max(known.peak_bytes, used)
