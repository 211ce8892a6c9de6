"""A trace that still grows, read as it does."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from gpu_narration._errors import NotATraceError
from gpu_narration._marker import is_live, open_regular, read_marker
from gpu_narration._types import Kind
from gpu_narration.tracefile import format as fmt
from gpu_narration.tracefile.decoder import Fragment, ProcessDecoder
from gpu_narration.tracefile.events import Event, Note, Notice
from gpu_narration.tracefile.format import Value
from gpu_narration.tracefile.source import (
    FragmentRef,
    RingFile,
    block_at,
    next_fragment,
    parse_chunk_header,
)
from gpu_narration.tracefile.trace import ProcessTrace, find_processes

_READ_BYTES = 1 << 20
#: About as much of a trace is taken in at a time: all its events are in memory then.
_POLL_BYTES = 4 << 20
#: More than the largest fragment: what of a damaged piece is looked at again.
_OVERLAP = 128 << 10


@dataclass(slots=True)
class Batch:
    """What one look at the trace found."""

    events: list[Event] = field(default_factory=list)
    #: (when, how many): events of kinds that are skipped; the time is that of the last of them.
    skipped: list[tuple[int, int]] = field(default_factory=list)
    #: (process, event id) of events that were annotated.
    annotated: list[tuple[int, int]] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    #: Every process has ended and everything was read.
    ended: bool = False


@dataclass(frozen=True, slots=True)
class FollowedProcess:
    """One process of a trace that is followed.

    ended: it ended, well or not, and everything was read.  behind_bytes: what is written
    and not taken in yet.
    """

    index: int
    pid: int
    ended: bool
    dropped: int
    behind_bytes: int
    notes: list[Note]


class _Tail:
    """The segments of one process, read up to their ends as those move."""

    def __init__(self, index: int, name: str, directory: Path, skip: frozenset[Kind]) -> None:
        self.index = index
        self._name = name
        self._directory = directory
        self.decoder = ProcessDecoder(index, skip=skip)
        self.done = False
        self._segment = 0
        #: Where the next block of the segment begins.
        self._position = fmt.FILE_HEADER.size
        #: Where in the segment something was found that is no block.
        self._damages: set[int] = set()
        #: Read and not yet taken in.
        self._unread: list[Fragment] = []
        #: How far each chunk was read.
        self._written: dict[int, int] = {}

    @property
    def pid(self) -> int:
        return int(self._name.partition("-")[0])

    def behind_bytes(self) -> int:
        """How much is written and not taken in yet, without what is still in the ring."""
        left, segment, position = sum(map(_size, self._unread)), self._segment, self._position
        while (path := self._path(segment)).exists():
            left += max(0, path.stat().st_size - position)
            segment, position = segment + 1, fmt.FILE_HEADER.size
        return left

    def dropped(self) -> int:
        """Events that were dropped because the ring was full, as far as was told."""
        told = sum(self.decoder.dropped.values())
        for note in reversed(self.decoder.notes):
            if note.topic == "end":
                counted = note.fields.get("dropped")
                return max(told, counted) if isinstance(counted, int) else told
        return told

    def poll(self, batch: Batch, most_bytes: int) -> bool:
        """Reads what is new, about so much of it; whether there was anything."""
        ring = self._directory / f"{self._name}.ring"
        # Looked at first: what a process wrote before it ended is then read below.
        running = ring.exists() and is_live(ring)
        before = len(self._unread)
        while sum(map(_size, self._unread)) < most_bytes and (
            fragments := self._read(ended=not running)
        ):
            self._unread += fragments
        found = len(self._unread) > before
        # The rate of the ticks is known from the second clock point on, which comes soon.
        if running and len(self.decoder.clock.points) < 2:
            return found
        events: list[Iterable[Event]] = []
        # Annotations come last: their names may be defined in a block behind them.
        for fragment in sorted(self._unread, key=_is_annotation):
            self._take(fragment, events, batch)
        self._unread.clear()
        if not running and not found:
            self._finish(ring, events, batch)
        batch.skipped += self.decoder.skipped
        self.decoder.skipped.clear()
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
        if fragment.end <= self._written.get(fragment.serial, 0):
            return  # a segment that was read again from its start
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

    def _read(self, *, ended: bool) -> list[Fragment]:
        """The next whole blocks of the segments; empty where there is nothing new.

        ended: the process writes no more.
        """
        while True:
            final = ended or self._next_exists()
            data = self._data()
            fragments, read = self._blocks(data)
            self._position += read
            if fragments:
                return fragments
            if data and not read:
                if not self._past_damage(data, final=final):
                    return []
            elif not data:
                if not self._next_exists():
                    return []
                self._segment += 1
                self._position = fmt.FILE_HEADER.size
                self._damages.clear()

    def _data(self) -> bytes:
        """What the segment holds from the position on, a piece at a time."""
        try:
            with open_regular(self._path(self._segment)) as file:
                header = file.read(fmt.FILE_HEADER.size)
                if not _is_segment(header):
                    return b""
                if os.fstat(file.fileno()).st_size < self._position:
                    # The recorder took back what a full disk let it write by half.
                    self._position = fmt.FILE_HEADER.size
                file.seek(self._position)
                return file.read(_READ_BYTES)
        except OSError:
            return b""

    def _next_exists(self) -> bool:
        try:
            return self._path(self._segment + 1).stat().st_size > fmt.FILE_HEADER.size
        except OSError:
            return False

    def _blocks(self, data: bytes) -> tuple[list[Fragment], int]:
        """The fragments of the whole blocks that data begins with, and the blocks' size."""
        fragments, position = [], 0
        while (block := block_at(data, position, len(data))) is not None:
            size, found = block
            if isinstance(found, FragmentRef):
                fragments.append(found.load())
            else:
                self.decoder.clock.add(found)
            position += size
        return fragments, position

    def _past_damage(self, data: bytes, *, final: bool) -> bool:
        """Steps over what data begins with and is no whole block; False if it may become one."""
        more_follows = len(data) == _READ_BYTES
        no_header = (
            len(data) >= fmt.CHUNK_HEADER.size
            and block_at(data, 0, len(data)) is None
            and parse_chunk_header(data, 0) is None
        )
        if not (no_header or more_follows or final):
            return False
        if self._position not in (fmt.FILE_HEADER.size, *self._damages):
            # A block may have been taken back and others written over it: once more
            # from the start, where what was read already is known.
            self._damages.add(self._position)
            self._position = fmt.FILE_HEADER.size
            return True
        found = next_fragment(data, 0, len(data))
        if found is not None:
            self._position += found
        elif more_follows:
            self._position += len(data) - _OVERLAP
        elif final:
            self._position += len(data)
        else:
            return False
        return True

    def _path(self, segment: int) -> Path:
        return self._directory / f"{self._name}.{segment:03d}.seg"


def _size(fragment: Fragment) -> int:
    return len(fragment.data)


def _is_annotation(fragment: Fragment) -> bool:
    return fragment.thread == fmt.STREAM_ANNOTATIONS


def _is_segment(header: bytes) -> bool:
    if len(header) < fmt.FILE_HEADER.size:
        return False
    magic, version, *_ = fmt.FILE_HEADER.unpack(header)
    return bool(magic == fmt.SEGMENT_MAGIC and version <= fmt.VERSION)


class Follower:
    """Follows a trace directory; raises NotATraceError if it is none.

    Events of the kinds in ``skip`` are counted and not given, which is several times faster.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, skip: frozenset[Kind] = frozenset()
    ) -> None:
        self.path = Path(path)
        if read_marker(self.path) is None:
            raise NotATraceError(
                f"{self.path} is no trace of gpu_narration", next_step="check the path"
            )
        self._skip = skip
        self._tails: dict[str, _Tail] = {}
        self.pause_s = 0.02

    def poll(self, most_bytes: int = _POLL_BYTES) -> Batch:
        """What has come since the last look, of each process about ``most_bytes``."""
        batch = Batch()
        for name in sorted(find_processes(self.path)):
            if name not in self._tails:
                self._tails[name] = _Tail(len(self._tails), name, self.path, self._skip)
        found = [tail.poll(batch, most_bytes) for tail in self._tails.values()]
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

    def forget(self, process: int, event_id: int) -> dict[str, Value]:
        """What is known by now of an event beyond its record, for the last time.

        Who follows for hours and has no more use for it would keep it all.
        """
        for tail in self._tails.values():
            if tail.index == process:
                return tail.decoder.annotations.pop(event_id, {})
        return {}

    def processes(self) -> list[FollowedProcess]:
        """The processes that took part so far."""
        return [
            FollowedProcess(
                tail.index, tail.pid, tail.done, tail.dropped(), tail.behind_bytes(),
                tail.decoder.notes,
            )
            for tail in self._tails.values()
        ]  # fmt: skip

    def notices(self) -> list[Notice]:
        """What is wrong or lost; read from the files once the trace has ended."""
        notices: list[Notice] = []
        for index, (name, files) in enumerate(sorted(find_processes(self.path).items())):
            process = ProcessTrace(index, name, files)
            for _ in process.events():
                pass
            notices += process.closing_notices()
        return notices
