"""The files of a trace: finding the fragments in segments and in what is left of a ring."""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from gpu_narration._marker import open_regular
from gpu_narration.tracefile import format as fmt
from gpu_narration.tracefile.clock import ClockPoint, parse_clock_point
from gpu_narration.tracefile.decoder import Fragment
from gpu_narration.tracefile.events import Notice, Trouble

_CHUNK_MAGIC_BYTES = struct.pack("<I", fmt.CHUNK_MAGIC)
_MAX_CHUNK = 16 << 20
_MAX_ERRNO = 4095


@dataclass(frozen=True, slots=True)
class FragmentRef:
    """Where a fragment lies: its header's facts and its place in a file."""

    buffer: mmap.mmap | bytes
    position: int
    thread: int
    serial: int
    first_seq: int
    base_tick: int
    span: int
    correlation: int
    dropped: int
    offset: int
    end: int

    def __len__(self) -> int:
        return self.end - self.offset

    def load(self) -> Fragment:
        return Fragment(
            self.thread, self.serial, self.first_seq, self.base_tick, self.span, self.correlation,
            self.dropped, self.offset, bytes(self.buffer[self.position : self.position + len(self)]),
        )  # fmt: skip


def parse_chunk_header(buffer: mmap.mmap | bytes, position: int) -> FragmentRef | None:
    """The fragment whose header is at a position, or None if there is no header."""
    magic, thread, serial, first_seq, base_tick, span, correlation, dropped, end, offset = (
        fmt.CHUNK_HEADER.unpack_from(buffer, position)
    )
    if magic != fmt.CHUNK_MAGIC or offset > end or end > _MAX_CHUNK:
        return None
    return FragmentRef(
        buffer, position + fmt.CHUNK_HEADER.size, thread, serial, first_seq, base_tick, span,
        correlation, dropped, offset, end,
    )  # fmt: skip


def block_at(
    buffer: mmap.mmap | bytes, position: int, total: int
) -> tuple[int, ClockPoint | FragmentRef] | None:
    """The block of a segment at a position and its size, or None if no whole one is there."""
    left = total - position
    if left >= fmt.CLOCK_POINT.size:
        point = parse_clock_point(buffer, position)  # type: ignore[arg-type]
        if point is not None:
            return fmt.CLOCK_POINT.size, point
    if left < fmt.CHUNK_HEADER.size:
        return None
    fragment = parse_chunk_header(buffer, position)
    if fragment is None or fmt.CHUNK_HEADER.size + len(fragment) > left:
        return None
    return fmt.CHUNK_HEADER.size + len(fragment), fragment


def next_fragment(buffer: mmap.mmap | bytes, position: int, total: int) -> int | None:
    """Where behind a position the next whole fragment begins, None if none does."""
    search = position + 1
    while (found := buffer.find(_CHUNK_MAGIC_BYTES, search, total)) >= 0:
        if block_at(buffer, found, total) is not None:
            return found
        search = found + 1
    return None


class SegmentFile:
    """A segment: fragments and clock points, one after the other."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fragments: list[FragmentRef] = []
        self.clock_points: list[ClockPoint] = []
        self.notices: list[Notice] = []
        buffer = _map(path)
        if len(buffer) < fmt.FILE_HEADER.size:
            if buffer:
                self._torn(len(buffer))
            return
        magic, version, *_ = fmt.FILE_HEADER.unpack_from(buffer, 0)
        if magic != fmt.SEGMENT_MAGIC:
            self.notices.append(
                Notice(Trouble.DAMAGED, f"{path.name} is no segment of a trace", len(buffer))
            )
            return
        if version > fmt.VERSION:
            self.notices.append(newer_format(path, version))
            return
        self._scan(buffer)

    def _scan(self, buffer: mmap.mmap | bytes) -> None:
        position, total = fmt.FILE_HEADER.size, len(buffer)
        while position < total:
            block = block_at(buffer, position, total)
            if block is None:
                position = self._resume(buffer, position, total)
                continue
            size, found = block
            if isinstance(found, FragmentRef):
                self.fragments.append(found)
            else:
                self.clock_points.append(found)
            position += size

    def _resume(self, buffer: mmap.mmap | bytes, position: int, total: int) -> int:
        """Past a block that is not whole: at the next fragment, else at the end."""
        found = next_fragment(buffer, position, total)
        if found is None:
            self._torn(total - position)
            return total
        count = found - position
        self.notices.append(
            Notice(
                Trouble.DAMAGED,
                f"{count} bytes at {position} of {self.path.name} are damaged",
                count,
            )
        )
        return found

    def _torn(self, count: int) -> None:
        self.notices.append(
            Notice(
                Trouble.TORN_TAIL,
                f"the last {count} bytes of {self.path.name} are cut short and were left out",
                count,
            )
        )


class RingFile:
    """The ring of a process that runs or died: what was committed and not yet in a segment.

    ``written`` tells, by chunk, how far the segments reach.
    """

    def __init__(self, path: Path, written: dict[int, int]) -> None:
        self.fragments: list[FragmentRef] = []
        self.clock_points: list[ClockPoint] = []
        self.notices: list[Notice] = []
        #: Events that its process lost so far, of all threads.
        self.dropped = 0
        #: Events that a flight recorder wrote over before they were in a segment.
        self.forgotten = 0
        self._path = path
        buffer = _map(path)
        if len(buffer) < fmt.PAGE:
            return  # died while it was being made: nothing was recorded yet
        magic, version, _, _, _, _, chunk_size, _ = fmt.FILE_HEADER.unpack_from(buffer, 0)
        whole = (
            magic == fmt.RING_MAGIC and 0 < chunk_size <= _MAX_CHUNK and not chunk_size % fmt.PAGE
        )
        if whole and version > fmt.VERSION:
            self.notices.append(newer_format(path, version))
            return
        if whole:
            self._read_header(buffer)
        else:
            chunk_size = fmt.CHUNK_SIZE
        for position in range(fmt.PAGE, len(buffer) - chunk_size + 1, chunk_size):
            self._take(buffer, position, chunk_size, written)
        # Without chunks it died while it was being made, and is as whole as it ever was.
        if self.fragments and not whole:
            self._damaged("its chunks were read all the same", fmt.FILE_HEADER.size)

    def _damaged(self, consequence: str, count: int) -> None:
        self.notices.append(
            Notice(
                Trouble.DAMAGED,
                f"the header of {self._path.name} is damaged; {consequence}",
                count,
            )
        )

    def _read_header(self, buffer: mmap.mmap | bytes) -> None:
        at = fmt.FILE_HEADER.size
        _, write_error, self.dropped = fmt.RING_COUNTS.unpack_from(buffer, at)
        if write_error > _MAX_ERRNO:
            self._damaged("whether all could be written is not known", 4)
        elif write_error:
            self.notices.append(
                Notice(
                    Trouble.WRITE_ERROR,
                    f"the recorder could not write: {os.strerror(write_error)}",
                    write_error,
                )
            )
        at += fmt.RING_COUNTS.size
        for position in (at, at + fmt.CLOCK_POINT.size):
            point = parse_clock_point(buffer, position)  # type: ignore[arg-type]
            if point is not None:
                self.clock_points.append(point)
        at += 2 * fmt.CLOCK_POINT.size
        (self.forgotten,) = fmt.RING_FORGOTTEN.unpack_from(buffer, at)

    def _take(
        self, buffer: mmap.mmap | bytes, position: int, chunk_size: int, written: dict[int, int]
    ) -> None:
        # A copy, since a living process may use the chunk again meanwhile.
        chunk = bytes(buffer[position : position + chunk_size])
        found = parse_chunk_header(chunk, 0)
        again = fmt.CHUNK_HEADER.unpack_from(buffer, position)
        if found is None or found.serial != again[2] or again[0] != fmt.CHUNK_MAGIC:
            return
        offset = written.get(found.serial, 0)
        end = min(found.end, chunk_size - fmt.CHUNK_HEADER.size)
        if offset >= end:
            return
        self.fragments.append(
            FragmentRef(
                chunk, fmt.CHUNK_HEADER.size + offset, found.thread, found.serial, found.first_seq,
                found.base_tick, found.span, found.correlation, found.dropped, offset, end,
            )
        )  # fmt: skip


def newer_format(path: Path, version: int) -> Notice:
    return Notice(
        Trouble.NEWER_FORMAT,
        f"{path.name} has format {version}; this version reads up to {fmt.VERSION}: "
        "upgrade gpu-narration",
        version,
    )


def _map(path: Path) -> mmap.mmap | bytes:
    """The file's bytes, as they are now."""
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size == 0:
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
