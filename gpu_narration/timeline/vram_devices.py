"""The devices of a trace and how much of each was used, reading by reading."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gpu_narration.timeline.values import is_number
from gpu_narration.tracefile import Event, Note, Trace
from gpu_narration.tracefile.format import Value

#: Stands for "unknown" in a series of bytes.
_UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class Reading:
    """One point of a series.  ``used_bytes``: None from here on where it became unknown.

    ``peak_bytes``: the highest that was seen since the point before; None where nobody said.
    """

    monotonic_ns: int
    used_bytes: int | None
    peak_bytes: int | None


class Series:
    """Used bytes over time, 24 bytes a reading."""

    __slots__ = ("_peaks", "_times", "_used")

    def __init__(self) -> None:
        self._times = array("q")
        self._used = array("q")
        self._peaks = array("q")

    def __len__(self) -> int:
        return len(self._times)

    def __iter__(self) -> Iterator[Reading]:
        for time_ns, used, peak in zip(self._times, self._used, self._peaks, strict=True):
            yield Reading(time_ns, _known(used), _known(peak))

    def add(self, monotonic_ns: int, used_bytes: int | None, peak_bytes: int | None = None) -> None:
        """Adds a reading; one that is older than the last counts as taken with it."""
        if self._times and monotonic_ns < self._times[-1]:
            monotonic_ns = self._times[-1]
        self._times.append(monotonic_ns)
        self._used.append(_UNKNOWN if used_bytes is None else used_bytes)
        self._peaks.append(_UNKNOWN if peak_bytes is None else peak_bytes)

    @property
    def last(self) -> Reading | None:
        if not self._times:
            return None
        return Reading(self._times[-1], _known(self._used[-1]), _known(self._peaks[-1]))


@dataclass(slots=True)
class _Readings:
    """What one way of reading said."""

    series: Series = field(default_factory=Series)
    sources: set[str] = field(default_factory=set)
    first_bytes: int | None = None
    last_bytes: int | None = None
    peak_bytes: int | None = None

    def add(self, monotonic_ns: int, used: int | None, peak: int | None, source: Value) -> None:
        self.series.add(monotonic_ns, used, peak)
        if isinstance(source, str):
            self.sources.add(source)
        if used is not None:
            self.first_bytes = used if self.first_bytes is None else self.first_bytes
            self.last_bytes = used
            self.reach(max(used, peak or 0))

    def reach(self, used_bytes: int) -> None:
        self.peak_bytes = max(self.peak_bytes or 0, used_bytes)


@dataclass(slots=True)
class DeviceMemory:
    """One GPU.  ``index`` is that of the process that named it first.

    process: None where a UUID tells it apart across processes; a simulated GPU and one
        without a UUID belong to their process.
    processes: those that watched it: more than one may tell the same move.
    lost: why it cannot be read any more, if so.

    Its readings are the state changes, and only where there are none the edges of spans:
    the two may count reserved memory differently, and a series must not jump.
    """

    index: int
    uuid: str | None
    process: int | None
    simulated: bool
    moves: int = 0
    total_bytes: int | None = None
    processes: set[int] = field(default_factory=set)
    lost: str | None = None
    _told: _Readings = field(default_factory=_Readings)
    _edges: _Readings = field(default_factory=_Readings)

    @property
    def name(self) -> str:
        return f"gpu{self.index}"

    @property
    def series(self) -> Series:
        return self._readings.series

    @property
    def sources(self) -> set[str]:
        return self._readings.sources

    @property
    def first_bytes(self) -> int | None:
        return self._readings.first_bytes

    @property
    def last_bytes(self) -> int | None:
        return self._readings.last_bytes

    @property
    def peak_bytes(self) -> int | None:
        return self._readings.peak_bytes

    def edge(self, monotonic_ns: int, used_bytes: int, source: str) -> None:
        """A reading at the edge of a span; a point of the series if it is news."""
        last = self._edges.series.last
        if last is None or last.used_bytes != used_bytes:
            self._edges.add(monotonic_ns, used_bytes, None, source)

    def reach(self, used_bytes: int, source: str) -> None:
        """Something between two readings of that source came so high."""
        self._edges.reach(used_bytes)
        if source in self._told.sources:
            self._told.reach(used_bytes)

    def read(self, monotonic_ns: int, fields: Mapping[str, Value]) -> None:
        """A ``state_change``."""
        used, total = number(fields, "used_bytes"), number(fields, "total_bytes")
        reason = fields.get("reason")
        self.lost = None
        if used is None:
            self.lost = reason if isinstance(reason, str) else "no reason was recorded"
        self.moves += used is not None and number(fields, "before_bytes") is not None
        self.total_bytes = self.total_bytes if total is None else total
        self._told.add(monotonic_ns, used, number(fields, "peak_bytes"), fields.get("source"))

    @property
    def _readings(self) -> _Readings:
        return self._told if len(self._told.series) else self._edges


class Devices:
    """Which device an index in a process means.

    ``uuids`` is what :func:`uuids_of` gives.
    """

    def __init__(self, uuids: Mapping[tuple[int, int], str] | None = None) -> None:
        self._uuids = dict(uuids or {})
        self._devices: dict[tuple[object, ...], DeviceMemory] = {}

    def __iter__(self) -> Iterator[DeviceMemory]:
        return iter(sorted(self._devices.values(), key=_order))

    def of_event(self, event: Event) -> DeviceMemory | None:
        """The device of a ``state_change``; None if it names none."""
        index = number(event.fields, "device")
        if index is None:
            return None
        uuid = event.fields.get("uuid")
        simulated = event.fields.get("simulated") is True
        return self.of_reading(
            event.process, index, uuid if isinstance(uuid, str) else "", simulated=simulated
        )

    def of_reading(
        self, process: int, index: int, uuid: str, *, simulated: bool = False
    ) -> DeviceMemory:
        """The device of a reading that says itself whose it is; ``uuid`` may be empty."""
        if uuid:
            self.learn(process, index, uuid)
        return self.of(process, index, simulated=simulated)

    def learn(self, process: int, index: int, uuid: str) -> None:
        """Says which GPU an index in a process means."""
        self._uuids[process, index] = uuid

    def of(self, process: int, index: int, *, simulated: bool) -> DeviceMemory:
        uuid = self._uuids.get((process, index))
        own = simulated or uuid is None
        key: tuple[object, ...] = (simulated, process, index) if own else (uuid,)
        device = self._devices.get(key)
        if device is None:
            device = DeviceMemory(index, uuid, process if own else None, simulated)
            self._devices[key] = device
        device.processes.add(process)
        return device


def uuids_of(trace: Trace) -> dict[tuple[int, int], str]:
    """Which GPU a device index means, by (process, index), where a note of the trace says it."""
    return {
        (process.index, index): uuid
        for process in trace.processes
        for index, uuid in map(uuid_of, process.notes)
        if index is not None
    }


def uuid_of(note: Note) -> tuple[int, str] | tuple[None, str]:
    """The index and the UUID of a device, where a note says them; else None."""
    index = note.fields.get("index", note.fields.get("device"))
    uuid = note.fields.get("uuid")
    if note.topic in ("device", "vram_device") and is_number(index) and isinstance(uuid, str):
        return (index, uuid) if uuid else (None, "")
    return None, ""


def names(devices: Iterable[DeviceMemory], pids: Sequence[int] = ()) -> dict[int, str]:
    """What to call each device, by ``id()``: its index, and more where that is not enough."""
    listed = list(devices)
    count: dict[str, int] = {}
    for device in listed:
        count[device.name] = count.get(device.name, 0) + 1
    shown = {}
    for device in listed:
        name = device.name
        if count[name] > 1:
            name += f" {device.uuid}" if device.process is None else ""
            name += (
                f" of process {_pid(device.process, pids)}" if device.process is not None else ""
            )
        shown[id(device)] = name + (" simulated" if device.simulated else "")
    return shown


def is_meant(device: DeviceMemory, wanted: Sequence[str]) -> bool:
    """Whether a device is among those that were asked for: by ``0``, ``gpu0`` or its UUID,
    which may be cut short.  All are where none was asked for.
    """
    return not wanted or any(
        text in (str(device.index), device.name)
        or (device.uuid is not None and len(text) > 4 and device.uuid.startswith(text))
        for text in wanted
    )


def number(fields: Mapping[str, Value], name: str) -> int | None:
    """An integer field that is not negative; None for anything else."""
    value = fields.get(name)
    return value if is_number(value) and value >= 0 else None


def _known(value: int) -> int | None:
    return None if value == _UNKNOWN else value


def _order(device: DeviceMemory) -> tuple[bool, int, int]:
    return device.simulated, device.index, device.process or 0


def _pid(process: int, pids: Sequence[int]) -> int:
    return pids[process] if process < len(pids) else process
