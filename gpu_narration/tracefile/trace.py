"""Opening a trace: its processes, its events in order, and what is wrong with it."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gpu_narration._errors import NotATraceError
from gpu_narration._marker import RECORDS, is_live, read_marker
from gpu_narration.tracefile import format as fmt
from gpu_narration.tracefile.decoder import ProcessDecoder
from gpu_narration.tracefile.events import Event, Note, Notice, ThreadInfo, Trouble
from gpu_narration.tracefile.format import Value
from gpu_narration.tracefile.source import FragmentRef, RingFile, SegmentFile


@dataclass(slots=True)
class _ProcessFiles:
    segments: list[Path] = field(default_factory=list)
    ring: Path | None = None


class ProcessTrace:
    """What one process recorded.  Its definitions and annotations are read at once."""

    def __init__(self, index: int, name: str, files: _ProcessFiles) -> None:
        self.index = index
        self.name = name
        self.notices: list[Notice] = []
        self.decoder = ProcessDecoder(index)
        self.pid = int(name.partition("-")[0])
        self.live = files.ring is not None and is_live(files.ring)
        self._dropped = 0
        self._forgotten = 0
        self._fragments: dict[int, list[FragmentRef]] = {}
        self._read_segments(sorted(files.segments))
        if files.ring is not None:
            self._read_ring(files.ring)
        for fragments in self._fragments.values():
            fragments.sort(key=lambda fragment: (fragment.serial, fragment.offset))
        for fragment in self._fragments.pop(fmt.STREAM_DEFINITIONS, []):
            self.decoder.define(fragment.load())
        for fragment in self._fragments.pop(fmt.STREAM_ANNOTATIONS, []):
            self.decoder.annotate(fragment.load())
        if files.ring is not None:
            self._tell_how_it_ended()

    @property
    def notes(self) -> list[Note]:
        return self.decoder.notes

    @property
    def threads(self) -> dict[int, ThreadInfo]:
        return self.decoder.threads

    @property
    def fragments(self) -> dict[int, list[FragmentRef]]:
        """Where the records of each thread lie, in order."""
        return self._fragments

    def note(self, topic: str) -> dict[str, Value]:
        """The fields of the last note on a topic; empty if there is none."""
        for note in reversed(self.notes):
            if note.topic == topic:
                return note.fields
        return {}

    def events(self) -> Iterator[Event]:
        """All events in the order of time."""
        self.decoder.begin_again()
        streams = [self._thread_events(fragments) for fragments in self._fragments.values()]
        return heapq.merge(*streams, key=lambda event: event.monotonic_ns)

    def closing_notices(self) -> list[Notice]:
        """What is known about losses; complete once all events were read."""
        decoder = self.decoder
        notices = list(self.notices)
        for thread, count in sorted(decoder.dropped.items()):
            notices.append(
                Notice(Trouble.DROPPED, f"{count} events of {self._name(thread)} were dropped: the ring was full", count)
            )  # fmt: skip
        # A drop is told by the thread's next event; the last ones have none.
        last = self._in_all("dropped", self._dropped) - sum(decoder.dropped.values())
        if last > 0:
            notices.append(
                Notice(Trouble.DROPPED, f"{last} events were dropped last: the ring was full", last)
            )
        notices += self._older_events()
        if decoder.undefined:
            notices.append(
                Notice(
                    Trouble.UNDEFINED,
                    f"{decoder.undefined} events have no definition of their call site",
                    decoder.undefined,
                )
            )
        if decoder.malformed_bytes:
            notices.append(
                Notice(
                    Trouble.DAMAGED,
                    f"{decoder.malformed_bytes} bytes are no records of this format and were left out",
                    decoder.malformed_bytes,
                )
            )
        return notices

    def _older_events(self) -> list[Notice]:
        """What came before the first events that are there, or between two of them."""
        gaps = self.decoder.overwritten
        # A gap is told by the thread's next event; what a thread recorded last has none.
        forgotten = self._in_all("forgotten", self._forgotten)
        if forgotten:
            count = max(forgotten, sum(gaps.values()))  # a flight that goes on forgets meanwhile
            text = f"{count} older events were forgotten: the flight recorder keeps the newest"
            return [Notice(Trouble.OVERWRITTEN, text, count)]
        return [
            Notice(Trouble.OVERWRITTEN, f"{count} older events of {self._name(thread)} are missing", count)
            for thread, count in sorted(gaps.items())
        ]  # fmt: skip

    def _in_all(self, what: str, in_ring: int) -> int:
        """A count of losses: of the ring, if it is there, or as noted at the end."""
        counted = self.note("end").get(what)
        return max(in_ring, counted) if isinstance(counted, int) else in_ring

    def _name(self, thread: int) -> str:
        info = self.threads.get(thread)
        return f"thread {info.name}" if info is not None and info.name else f"thread {thread}"

    def _thread_events(self, fragments: list[FragmentRef]) -> Iterator[Event]:
        for fragment in fragments:
            yield from self.decoder.events(fragment.load())

    def _read_segments(self, paths: list[Path]) -> None:
        for path in paths:
            segment = SegmentFile(path)
            self.notices += segment.notices
            for point in segment.clock_points:
                self.decoder.clock.add(point)
            for fragment in segment.fragments:
                self._fragments.setdefault(fragment.thread, []).append(fragment)

    def _read_ring(self, path: Path) -> None:
        written: dict[int, int] = {}
        for fragments in self._fragments.values():
            for fragment in fragments:
                written[fragment.serial] = max(written.get(fragment.serial, 0), fragment.end)
        ring = RingFile(path, written)
        self._dropped = ring.dropped
        self._forgotten = ring.forgotten
        self.notices += ring.notices
        for point in ring.clock_points:
            self.decoder.clock.add(point)
        for fragment in ring.fragments:
            self._fragments.setdefault(fragment.thread, []).append(fragment)
        self._recovered = sum(len(fragment) for fragment in ring.fragments)

    def _tell_how_it_ended(self) -> None:
        """Of a process whose ring is still there."""
        if self.live:
            self.notices.append(
                Notice(Trouble.RUNNING, f"process {self.pid} is still recording", self.pid)
            )
            return
        # With a full disk a process that ended well leaves its ring behind, too.
        how = (
            "could not write all of the trace"
            if self.note("end")
            else "died while it recorded, or was copied then"
        )
        self.notices.append(
            Notice(
                Trouble.DIED if not self.note("end") else Trouble.RING_KEPT,
                f"process {self.pid} {how}; "
                f"{self._recovered} bytes of its last records were found in its ring",
                self._recovered,
            )
        )


class Trace:
    """A trace directory, opened for reading.

    Raises :class:`~gpu_narration.NotATraceError` if there is no trace at ``path``.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        marker = read_marker(self.path)
        if marker is None:
            raise NotATraceError(
                f"{self.path} is no trace of gpu_narration",
                meaning="a trace is a directory NAME.gnt with a file trace.json in it",
                next_step="check the path; 'gpu-narration run -o NAME.gnt app.py' makes one",
            )
        self.trace_id = str(marker.get("trace_id"))
        self.processes = [
            ProcessTrace(index, name, files)
            for index, (name, files) in enumerate(sorted(find_processes(self.path).items()))
        ]

    def events(self) -> Iterator[Event]:
        """The events of all processes in the order of time."""
        streams = [process.events() for process in self.processes]
        return heapq.merge(*streams, key=lambda event: event.monotonic_ns)

    def annotations(self, event: Event) -> dict[str, Value]:
        """What was learned about an event after it was recorded."""
        return self.processes[event.process].decoder.annotations.get(
            event.span_id if event.span_id is not None else event.id, {}
        )

    def notices(self) -> list[Notice]:
        """What is wrong or lost; complete once all events were read."""
        return [notice for process in self.processes for notice in process.closing_notices()]

    @property
    def realtime_offset_ns(self) -> int:
        """Unix time minus an event's ``monotonic_ns``."""
        return self.processes[0].decoder.clock.realtime_offset_ns if self.processes else 0


def find_processes(directory: Path) -> dict[str, _ProcessFiles]:
    """The files of each process in a trace directory, by the processes' names."""
    processes: dict[str, _ProcessFiles] = {}
    for path in directory.iterdir():
        if not RECORDS.fullmatch(path.name):
            continue
        name, _, kind = path.name.partition(".")
        if kind == "ring":
            processes.setdefault(name, _ProcessFiles()).ring = path
        else:
            processes.setdefault(name, _ProcessFiles()).segments.append(path)
    return processes
