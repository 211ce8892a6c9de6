"""What the streams did: launches and scopes with GPU time, by stream and by device.

Elapsed on stream is added up within one stream only.  Across streams, and for
every share of time, what counts is the time that placed intervals *cover*: two
streams that overlap are busy once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeGuard

from gpu_narration.timeline.distribution import Distribution, Figures
from gpu_narration.timeline.intervals import Intervals, union
from gpu_narration.tracefile import Event
from gpu_narration.tracefile.format import Value

#: ``stream``: a row for each name on each stream.  ``name``: one for each name.
By = Literal["stream", "name"]

NO_ANSWER = "no answer in the trace"
NO_PLACE = "no placement in the trace"
IMPOSSIBLE = "impossible elapsed time"
IMPOSSIBLE_PLACE = "impossible placement"
BEFORE_CALL = "placed before its call"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a piece of GPU work lies on the CPU's CLOCK_MONOTONIC, give or take ``error_ns``."""

    start_ns: int
    end_ns: int
    error_ns: int


@dataclass(frozen=True, slots=True)
class Share:
    """A part of the window; ``at_least`` where some of the work is not in it."""

    covered_ns: int
    of_ns: int
    at_least: bool

    @property
    def fraction(self) -> float:
        return self.covered_ns / self.of_ns if self.of_ns > 0 else 0.0


@dataclass(slots=True)
class GpuRow:
    """All launches of one kernel, all launches of one graph, or all spans of one name
    that asked for GPU time.

    process, device, stream: None where unknown, or where the row has several.
    scopes: of a graph, the scopes seen at its capture.
    elapsed: on stream, of those that were timed.
    finish_lag, start_lag: from the CPU time of the call (of a scope: of its beginning)
        to the end and to the start of the work on the GPU, of those that were placed.
    untimed, unplaced: how many of the others, by reason.
    error_ns: the widest bound of a placement in the row; None if nothing was placed.
    """

    action: str
    name: str
    process: int | None
    device: int | None
    stream: int | None
    simulated: bool
    scopes: str | None = None
    calls: int = 0
    failed: int = 0
    elapsed: Distribution = field(default_factory=Distribution)
    finish_lag: Distribution = field(default_factory=Distribution)
    start_lag: Distribution = field(default_factory=Distribution)
    untimed: dict[str, int] = field(default_factory=dict)
    unplaced: dict[str, int] = field(default_factory=dict)
    error_ns: int | None = None
    covered: Intervals = field(default_factory=Intervals)

    @property
    def figures(self) -> Figures | None:
        return self.elapsed.figures

    def share(self, window_ns: int) -> Share | None:
        """How much of the window it covers; None if nothing was placed."""
        if self.error_ns is None:
            return None
        return Share(self.covered.covered_ns, window_ns, bool(self.untimed or self.unplaced))


@dataclass(slots=True)
class Work:
    """Launches, or scopes, of one stream."""

    calls: int = 0
    timed: int = 0
    placed: int = 0
    elapsed_ns: int = 0
    covered: Intervals = field(default_factory=Intervals)


@dataclass(slots=True)
class StreamRow:
    """One stream of one process.  A scope's interval spans idle time, a launch's does not:
    the two are kept apart, and a scope's launches are not counted twice.
    """

    process: int
    device: int | None
    stream: int | None
    simulated: bool
    error_ns: int | None = None
    launches: Work = field(default_factory=Work)
    scopes: Work = field(default_factory=Work)


@dataclass(slots=True)
class DeviceRow:
    """One GPU.  ``launches`` and ``scopes`` cover what at least one stream did: a union
    of placed intervals, never a sum over streams.
    """

    device: int | None
    uuid: str | None
    simulated: bool
    streams: int
    placed: int
    not_placed: int
    error_ns: int | None
    launches: Intervals
    scopes: Intervals

    def share(self, covered: Intervals, window_ns: int) -> Share | None:
        """How much of the window; None if nothing was placed."""
        if self.placed == 0:
            return None
        return Share(covered.covered_ns, window_ns, self.not_placed > 0)


class GpuTime:
    """Collects launches and scopes, one at a time.

    What is ``known`` of one are its fields, those that came with the event and those that
    came later.  ``uuids`` tells which GPU a device index of a process means, where the
    trace says it.
    """

    def __init__(self, by: By, uuids: Mapping[tuple[int, int], str]) -> None:
        self._by = by
        self._uuids = uuids
        self._launches: dict[tuple[object, ...], GpuRow] = {}
        self._scopes: dict[tuple[object, ...], GpuRow] = {}
        self._streams: dict[tuple[object, ...], StreamRow] = {}

    def launch(self, event: Event, known: Mapping[str, Value]) -> None:
        """Takes in a launch, or the launch of a graph."""
        row = self._row(self._launches, event, known, event.names[2] or "?")
        row.failed += "error" in known
        scopes = known.get("scopes")
        if isinstance(scopes, str):
            row.scopes = scopes
        stream = self._stream(event.process, known)
        self._take(row, stream, stream.launches, known, event.monotonic_ns)

    def scope(self, event: Event, known: Mapping[str, Value], *, failed: bool) -> None:
        """Takes in the end of a span that asked for GPU time."""
        name = f"{event.names[0] or '?'} {event.names[1] or '?'}"
        row = self._row(self._scopes, event, known, name)
        row.failed += failed
        stream = self._stream(event.process, known)
        began_ns = event.monotonic_ns - (event.elapsed_ns or 0)
        self._take(row, stream, stream.scopes, known, began_ns)

    @property
    def launches(self) -> list[GpuRow]:
        return list(self._launches.values())

    @property
    def scopes(self) -> list[GpuRow]:
        return list(self._scopes.values())

    @property
    def streams(self) -> list[StreamRow]:
        return sorted(
            self._streams.values(),
            key=lambda row: (row.process, _last(row.device), _last(row.stream)),
        )

    def devices(self) -> list[DeviceRow]:
        """The devices that anything ran on."""
        groups: dict[tuple[object, ...], list[StreamRow]] = {}
        for row in self.streams:
            groups.setdefault((row.simulated, *self._identity(row)), []).append(row)
        return [
            self._device(rows)
            for rows in groups.values()
            if any(row.launches.timed + row.scopes.timed for row in rows)
        ]

    def untimed(self) -> dict[str, int]:
        """Launches and scopes without GPU time, by reason; the most frequent first."""
        return _counted(row.untimed for row in [*self.launches, *self.scopes])

    def unplaced(self) -> dict[str, int]:
        """Those with GPU time but no place on the timeline, by reason."""
        return _counted(row.unplaced for row in [*self.launches, *self.scopes])

    def last_ns(self) -> int | None:
        """When the last placed work ended."""
        ends = [
            end
            for row in self._streams.values()
            for end in (row.launches.covered.last_ns, row.scopes.covered.last_ns)
            if end is not None
        ]
        return max(ends, default=None)

    def _row(
        self,
        rows: dict[tuple[object, ...], GpuRow],
        event: Event,
        known: Mapping[str, Value],
        name: str,
    ) -> GpuRow:
        action = event.names[1] or "?"
        simulated = _simulated(known)
        where: tuple[int | None, int | None, int | None] = (None, None, None)
        if self._by == "stream":
            where = event.process, _device(known), _handle(known)
        key = (action, name, simulated, *where)
        row = rows.get(key)
        if row is None:
            row = rows[key] = GpuRow(action, name, *where, simulated)
        row.calls += 1
        return row

    def _stream(self, process: int, known: Mapping[str, Value]) -> StreamRow:
        where = process, _device(known), _handle(known)
        key = (*where, _simulated(known))
        row = self._streams.get(key)
        if row is None:
            row = self._streams[key] = StreamRow(*where, _simulated(known))
        return row

    def _take(
        self,
        row: GpuRow,
        stream: StreamRow,
        work: Work,
        known: Mapping[str, Value],
        called_ns: int,
    ) -> None:
        work.calls += 1
        elapsed_ns = known.get("gpu_ns")
        if not _is_number(elapsed_ns) or elapsed_ns < 0:
            _count(row.untimed, IMPOSSIBLE if _is_number(elapsed_ns) else _reason(known))
            return
        row.elapsed.add(elapsed_ns)
        work.timed += 1
        work.elapsed_ns += elapsed_ns
        place = place_of(known, called_ns)
        if isinstance(place, str):
            _count(row.unplaced, place)
            return
        work.placed += 1
        row.start_lag.add(place.start_ns - called_ns)
        row.finish_lag.add(place.end_ns - called_ns)
        row.covered.add(place.start_ns, place.end_ns)
        work.covered.add(place.start_ns, place.end_ns)
        row.error_ns = max(row.error_ns or 0, place.error_ns)
        stream.error_ns = max(stream.error_ns or 0, place.error_ns)

    def _identity(self, row: StreamRow) -> tuple[object, ...]:
        """What tells devices apart: the uuid across processes, else the index in one."""
        uuid = None if row.device is None else self._uuids.get((row.process, row.device))
        if uuid is None or row.simulated:
            return row.process, row.device
        return (uuid,)

    def _device(self, rows: list[StreamRow]) -> DeviceRow:
        first = rows[0]
        works = [work for row in rows for work in (row.launches, row.scopes)]
        errors = [row.error_ns for row in rows if row.error_ns is not None]
        placed = sum(work.placed for work in works)
        return DeviceRow(
            device=first.device,
            uuid=None if first.device is None else self._uuids.get((first.process, first.device)),
            simulated=first.simulated,
            streams=len(rows),
            placed=placed,
            not_placed=sum(work.calls for work in works) - placed,
            error_ns=max(errors, default=None),
            launches=union(row.launches.covered for row in rows),
            scopes=union(row.scopes.covered for row in rows),
        )


def place_of(known: Mapping[str, Value], called_ns: int) -> Place | str:
    """Where the work lies on the timeline, or the reason why that is not known.

    Work cannot end before it was asked for: a placement that says so by more than
    its own bound is refused.
    """
    start_ns, end_ns = known.get("gpu_start_ns"), known.get("gpu_end_ns")
    error_ns = known.get("gpu_place_error_ns")
    if not _is_number(start_ns) or not _is_number(end_ns) or not _is_number(error_ns):
        reason = known.get("gpu_place_reason")
        return reason if isinstance(reason, str) and reason else NO_PLACE
    if end_ns < start_ns or error_ns < 0:
        return IMPOSSIBLE_PLACE
    if end_ns + error_ns < called_ns:
        return BEFORE_CALL
    return Place(start_ns, end_ns, error_ns)


def _reason(known: Mapping[str, Value]) -> str:
    reason = known.get("gpu_reason")
    return reason if isinstance(reason, str) and reason else NO_ANSWER


def _is_number(value: Value) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _device(known: Mapping[str, Value]) -> int | None:
    value = known.get("device")
    return value if _is_number(value) else None


def _handle(known: Mapping[str, Value]) -> int | None:
    value = known.get("stream")
    return value if _is_number(value) else None


def _simulated(known: Mapping[str, Value]) -> bool:
    return known.get("simulated") is True


def _last(number: int | None) -> tuple[bool, int]:
    """Sorts what is unknown behind what is known."""
    return number is None, number or 0


def _count(counts: dict[str, int], reason: str) -> None:
    counts[reason] = counts.get(reason, 0) + 1


def _counted(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for part in parts:
        for reason, count in part.items():
            counts[reason] = counts.get(reason, 0) + count
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
