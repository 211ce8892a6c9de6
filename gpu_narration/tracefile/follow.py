"""A trace that still grows, read as it does."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from gpu_narration._errors import NotATraceError
from gpu_narration._marker import is_live, read_marker
from gpu_narration.tracefile import format as fmt
from gpu_narration.tracefile.clock import parse_clock_point
from gpu_narration.tracefile.decoder import Fragment, ProcessDecoder
from gpu_narration.tracefile.events import Event, Note, Notice
from gpu_narration.tracefile.format import Value
from gpu_narration.tracefile.source import RingFile, parse_chunk_header
from gpu_narration.tracefile.trace import ProcessTrace, find_processes

_READ_BYTES = 4 << 20


@dataclass(slots=True)
class Batch:
    """What one look at the trace found."""

    events: list[Event] = field(default_factory=list)
    #: (process, event id) of events that were annotated.
    annotated: list[tuple[int, int]] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    #: Every process has ended and everything was read.
    ended: bool = False


class _Tail:
    """The segments of one process, read up to their ends as those move."""

    def __init__(self, index: int, name: str, directory: Path) -> None:
        self.index = index
        self._name = name
        self._directory = directory
        self.decoder = ProcessDecoder(index)
        self.done = False
        self._segment = 0
        self._position = fmt.FILE_HEADER.size
        self._rest = b""
        self._written: dict[int, int] = {}

    def poll(self, batch: Batch) -> bool:
        """Reads what is new; whether there was anything."""
        ring = self._directory / f"{self._name}.ring"
        # Looked at first: what a process wrote before it ended is then read below.
        running = ring.exists() and is_live(ring)
        found = False
        events: list[Iterable[Event]] = []
        late: list[Fragment] = []
        while fragments := self._read():
            found = True
            for fragment in fragments:
                if fragment.thread == fmt.STREAM_ANNOTATIONS:
                    late.append(fragment)
                else:
                    self._take(fragment, events, batch)
        # Their names may be defined in a block behind them.
        for fragment in late:
            self._take(fragment, events, batch)
        if not running and not found:
            self._finish(ring, events, batch)
        batch.events += heapq.merge(*events, key=lambda event: event.monotonic_ns)
        return found

    def _finish(self, ring: Path, events: list[Iterable[Event]], batch: Batch) -> None:
        """After the end of the process: what is left in its ring."""
        if self.done:
            return
        self.done = True
        if not ring.exists():
            return
        left = [reference.load() for reference in RingFile(ring, self._written).fragments]
        left.sort(key=lambda fragment: (fragment.thread, fragment.serial, fragment.offset))
        for fragment in left:
            self._take(fragment, events, batch)

    def _take(self, fragment: Fragment, events: list[Iterable[Event]], batch: Batch) -> None:
        self._written[fragment.serial] = fragment.end
        if fragment.thread == fmt.STREAM_DEFINITIONS:
            known = len(self.decoder.notes)
            self.decoder.define(fragment)
            batch.notes += self.decoder.notes[known:]
        elif fragment.thread == fmt.STREAM_ANNOTATIONS:
            batch.annotated += [
                (self.index, event_id) for event_id in self.decoder.annotate(fragment)
            ]
        else:
            events.append(list(self.decoder.events(fragment)))

    def _path(self, segment: int) -> Path:
        return self._directory / f"{self._name}.{segment:03d}.seg"

    def _read(self) -> list[Fragment]:
        """The next whole blocks of the segments."""
        path = self._path(self._segment)
        try:
            with path.open("rb") as file:
                file.seek(self._position)
                data = self._rest + file.read(_READ_BYTES)
                self._position = file.tell()
        except OSError:
            return []
        fragments, position = [], 0
        while True:
            size, fragment = self._block(data, position)
            if size == 0:
                break
            if fragment is not None:
                fragments.append(fragment)
            position += size
        self._rest = data[position:]
        if fragments:
            return fragments
        if position == 0:
            if self._rest or not self._next_exists():
                return []
            self._segment += 1
            self._position = fmt.FILE_HEADER.size
        return self._read()  # in the next segment, or behind a clock point

    def _next_exists(self) -> bool:
        following = self._path(self._segment + 1)
        return following.exists() and following.stat().st_size > fmt.FILE_HEADER.size

    def _block(self, data: bytes, position: int) -> tuple[int, Fragment | None]:
        left = len(data) - position
        if left >= fmt.CLOCK_POINT.size:
            point = parse_clock_point(data, position)
            if point is not None:
                self.decoder.clock.add(point)
                return fmt.CLOCK_POINT.size, None
        if left < fmt.CHUNK_HEADER.size:
            return 0, None
        reference = parse_chunk_header(data, position)
        if reference is None or fmt.CHUNK_HEADER.size + len(reference) > left:
            return 0, None
        return fmt.CHUNK_HEADER.size + len(reference), reference.load()


class Follower:
    """Follows a trace directory; raises NotATraceError if it is none."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if read_marker(self.path) is None:
            raise NotATraceError(
                f"{self.path} is no trace of gpu_narration", next_step="check the path"
            )
        self._tails: dict[str, _Tail] = {}
        self.pause_s = 0.02

    def poll(self) -> Batch:
        """Everything that has come since the last look."""
        batch = Batch()
        for name in sorted(find_processes(self.path)):
            if name not in self._tails:
                self._tails[name] = _Tail(len(self._tails), name, self.path)
        found = [tail.poll(batch) for tail in self._tails.values()]
        self.pause_s = 0.02 if any(found) else min(0.2, self.pause_s * 1.5)
        batch.events.sort(key=lambda event: event.monotonic_ns)
        batch.ended = bool(self._tails) and all(tail.done for tail in self._tails.values())
        return batch

    def annotations(self, event: Event) -> dict[str, Value]:
        """What is known by now about an event beyond its record."""
        for tail in self._tails.values():
            if tail.index == event.process:
                return tail.decoder.annotations.get(event.span_id or event.id, {})
        return {}

    def notices(self) -> list[Notice]:
        """What is wrong or lost; read from the files once the trace has ended."""
        notices: list[Notice] = []
        for index, (name, files) in enumerate(sorted(find_processes(self.path).items())):
            process = ProcessTrace(index, name, files)
            for _ in process.events():
                pass
            notices += process.closing_notices()
        return notices
