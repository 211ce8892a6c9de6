"""Where the files of a trace can be damaged."""

from __future__ import annotations

import struct
from pathlib import Path

from gpu_narration.tracefile import format as fmt


def segment_of(trace: Path) -> Path:
    """The only segment of a trace."""
    (segment,) = trace.glob("*.seg")
    return segment


def fragments_of(segment: Path) -> list[int]:
    """Where the fragments of events begin in an undamaged segment."""
    data = segment.read_bytes()
    found, position = [], fmt.FILE_HEADER.size
    while position < len(data):
        if struct.unpack_from("<I", data, position)[0] == fmt.CLOCK_MAGIC:
            position += fmt.CLOCK_POINT.size
            continue
        header = fmt.CHUNK_HEADER.unpack_from(data, position)
        if header[1] >= fmt.FIRST_THREAD:
            found.append(position)
        position += fmt.CHUNK_HEADER.size + header[8] - header[9]
    return found
