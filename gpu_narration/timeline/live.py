"""What a running trace is doing now: kept small however long it runs."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gpu_narration._types import Kind
from gpu_narration.timeline.values import is_number
from gpu_narration.timeline.vram_devices import DeviceMemory, Devices, names, number, uuid_of
from gpu_narration.tracefile import Event, Phase
from gpu_narration.tracefile.follow import Batch, Follower
from gpu_narration.tracefile.format import Value

#: What is counted and not looked at.
_COUNTED = frozenset({Kind.TINY, Kind.CORRELATED, Kind.ENTER, Kind.EXIT, Kind.LOOP, Kind.STATE})
#: How much of each process is read between two looks at the keyboard.
_BATCH_BYTES = 1 << 20
#: So much that is not read yet is worth a word.
_FAR_BEHIND = 4 << 20
#: How long a recording that has only begun is waited for.
_PATIENCE_S = 2.0
#: Events a second are counted over so long, in stretches of so long.
_RATE_NS, _STRETCH_NS = 2_000_000_000, 100_000_000
#: The newest moves and narrations that are kept, the rows of GPU work, and the events
#: whose GPU time is still to come.
_NEWEST, _ROWS, _AWAITED = 100, 2000, 50_000


@dataclass(frozen=True, slots=True)
class LiveMove:
    """Memory that moved; ``scope`` is None outside all."""

    monotonic_ns: int
    device: DeviceMemory
    before_bytes: int | None
    used_bytes: int | None
    scope: str | None
    correlation: str | None


@dataclass(slots=True)
class LiveWork:
    """Launches of one kernel, or spans of one name, on one stream: elapsed there."""

    name: str
    is_launch: bool
    device: int | None
    stream: int | None
    simulated: bool
    calls: int = 0
    elapsed_ns: int = 0
    longest_ns: int = 0


@dataclass(slots=True)
class LiveState:
    """One look at a trace, or at the machine.

    status: running, ended, died, or machine.
    now_ns: CLOCK_MONOTONIC, to which ages are counted.
    since_ns: when it began.  events_per_s: None where there are no events to be counted.
    notes: what the one who looks should know besides.
    """

    title: str
    status: str
    now_ns: int
    since_ns: int | None
    devices: list[DeviceMemory] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    moves: list[LiveMove] = field(default_factory=list)
    work: list[LiveWork] = field(default_factory=list)
    narrations: list[Event] = field(default_factory=list)
    events: int | None = None
    events_per_s: float | None = None
    dropped: int | None = None
    processes: int = 0
    untimed: int = 0
    notes: list[str] = field(default_factory=list)


class LiveTrace:
    """Follows a trace; raises NotATraceError if there is none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._follower = Follower(path, skip=_COUNTED)
        self._devices = Devices()
        self._moves: deque[LiveMove] = deque(maxlen=_NEWEST)
        self._narrations: deque[Event] = deque(maxlen=_NEWEST)
        self._work: dict[tuple[object, ...], LiveWork] = {}
        self._awaited: OrderedDict[tuple[int, int], tuple[str, bool]] = OrderedDict()
        #: Events by the stretch of time that they lie in.
        self._counts: dict[int, int] = {}
        #: Of the newest spans: for which request they work.
        self._requests: OrderedDict[tuple[int, int], str] = OrderedDict()
        self._events = 0
        self._untimed = 0
        self._first_ns: int | None = None
        self._last_ns = 0
        self.ended = False

    def poll(self) -> bool:
        """Takes in what has come, or a part of it; whether there was anything."""
        batch = self._follower.poll(_BATCH_BYTES)
        for note in batch.notes:
            index, uuid = uuid_of(note)
            if index is not None:
                self._devices.learn(note.process, index, uuid)
        for when_ns, count in batch.skipped:
            self._count(when_ns, count)
        for event in batch.events:
            self._count(event.monotonic_ns, 1)
            self._take(event)
        self._learn(batch)
        self.ended = batch.ended
        return bool(batch.events or batch.skipped or batch.annotated)

    def catch_up(self) -> None:
        """Takes in all that there is now.

        A recording that has only begun is worth a moment: how fast its clock runs is
        known after a second.
        """
        give_up_s = time.monotonic() + _PATIENCE_S
        while self.poll() or (self._is_held_back() and time.monotonic() < give_up_s):
            if self._events == 0:
                time.sleep(0.02)

    def state(self, now_ns: int | None = None) -> LiveState:
        """What there is to see."""
        processes = self._follower.processes()
        running = [process for process in processes if not process.ended]
        if now_ns is None:
            now_ns = time.monotonic_ns() if running else self._last_ns
        died = [
            process.pid
            for process in processes
            if process.ended and not any(note.topic == "end" for note in process.notes)
        ]
        notes = [f"process {pid} died while it recorded" for pid in died]
        behind = sum(process.behind_bytes for process in processes)
        if behind > _FAR_BEHIND:
            notes.append(f"catching up: {behind >> 20} MiB to read")
        if not processes:
            notes.append("no process has begun to record yet")
        devices = list(self._devices)
        if not devices:
            notes += self._why_no_memory()
        pids = [process.pid for process in processes]
        return LiveState(
            title=self._path.name,
            status="running" if running or not processes else "died" if died else "ended",
            now_ns=now_ns,
            since_ns=self._first_ns,
            devices=devices,
            names=names(devices, pids),
            moves=list(reversed(self._moves)),
            work=sorted(self._work.values(), key=lambda work: (-work.elapsed_ns, work.name)),
            narrations=list(reversed(self._narrations)),
            events=self._events,
            events_per_s=self._rate(now_ns if behind <= _FAR_BEHIND else self._last_ns),
            dropped=sum(process.dropped for process in processes),
            processes=len(processes),
            untimed=self._untimed,
            notes=notes,
        )

    def _is_held_back(self) -> bool:
        """Whether nothing is known yet of what a running process has written."""
        return self._events == 0 and any(
            process.behind_bytes and not process.ended for process in self._follower.processes()
        )

    def _take(self, event: Event) -> None:
        if event.kind is Kind.VRAM:
            self._move(event)
        elif event.kind is Kind.NARRATION:
            self._narrations.append(event)
        elif event.kind is Kind.LAUNCH:
            self._await(event.process, event.id, event.names[2] or "?", event.fields, launch=True)
        elif event.phase is Phase.BEGIN and event.correlation is not None:
            self._requests[event.process, event.id] = event.correlation
            if len(self._requests) > _ROWS:
                self._requests.popitem(last=False)
        elif event.phase is Phase.END and event.span_id is not None:
            name = f"{event.names[0] or '?'} {event.names[1] or '?'}"
            self._await(event.process, event.span_id, name, {}, launch=False)

    def _count(self, when_ns: int, count: int) -> None:
        self._events += count
        self._first_ns = when_ns if self._first_ns is None else min(self._first_ns, when_ns)
        self._last_ns = max(self._last_ns, when_ns)
        stretch = when_ns // _STRETCH_NS
        self._counts[stretch] = self._counts.get(stretch, 0) + count
        if len(self._counts) > 4 * _RATE_NS // _STRETCH_NS:
            first = self._last_ns // _STRETCH_NS - 2 * _RATE_NS // _STRETCH_NS
            self._counts = {at: many for at, many in self._counts.items() if at >= first}

    def _move(self, event: Event) -> None:
        device = self._devices.of_event(event)
        if device is None:
            return
        fields = event.fields
        device.read(event.monotonic_ns, fields)
        scope, span = fields.get("in_scope"), fields.get("in_span")
        request = event.correlation
        if request is None and is_number(span):
            request = self._requests.get((event.process, span))
        before = number(fields, "before_bytes")
        if before is None:
            return  # the first reading is no move
        self._moves.append(
            LiveMove(
                event.monotonic_ns, device, before, number(fields, "used_bytes"),
                scope if isinstance(scope, str) else None, request,
            )
        )  # fmt: skip

    def _await(
        self, process: int, number_: int, name: str, fields: Mapping[str, Value], *, launch: bool
    ) -> None:
        """GPU time of an event: what is known now, or comes later."""
        known = {**fields, **self._follower.forget(process, number_)}
        if "gpu_ns" in known:
            self._work_done(name, known, launch=launch)
            return
        self._awaited[process, number_] = name, launch
        if len(self._awaited) > _AWAITED:
            self._awaited.popitem(last=False)

    def _learn(self, batch: Batch) -> None:
        for process, event_id in batch.annotated:
            awaited = self._awaited.pop((process, event_id), None)
            if awaited is None:
                continue  # its event is still to come
            known = self._follower.forget(process, event_id)
            if "gpu_ns" in known:
                self._work_done(awaited[0], known, launch=awaited[1])
            else:
                self._awaited[process, event_id] = awaited  # this was of something else

    def _work_done(self, name: str, known: Mapping[str, Value], *, launch: bool) -> None:
        elapsed_ns = number(known, "gpu_ns")
        if elapsed_ns is None:
            self._untimed += 1
            return
        device, stream = known.get("device"), known.get("stream")
        simulated = known.get("simulated") is True
        key = (name, launch, device, stream, simulated)
        if key not in self._work and len(self._work) >= _ROWS:
            name, key = "(other work)", ("", launch, None, None, simulated)
            device = stream = None
        work = self._work.get(key)
        if work is None:
            work = self._work[key] = LiveWork(
                name, launch, device if is_number(device) else None,
                stream if is_number(stream) else None, simulated,
            )  # fmt: skip
        work.calls += 1
        work.elapsed_ns += elapsed_ns
        work.longest_ns = max(work.longest_ns, elapsed_ns)

    def _rate(self, now_ns: int) -> float:
        first = (now_ns - _RATE_NS) // _STRETCH_NS
        seen_ns = _RATE_NS
        if self._first_ns is not None:
            seen_ns = max(_STRETCH_NS, min(_RATE_NS, now_ns - self._first_ns))
        return sum(count for at, count in self._counts.items() if at >= first) * 1e9 / seen_ns

    def _why_no_memory(self) -> list[str]:
        for process in self._follower.processes():
            for note in reversed(process.notes):
                reason = note.fields.get("reason")
                if note.topic == "vram" and isinstance(reason, str):
                    return [f"no memory readings: no NVML: {reason}"]
        return []
