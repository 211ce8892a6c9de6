"""The bytes of a trace: the Python twin of ``_core/record.h``.

docs/format.md describes the same for readers in other languages.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gpu_narration._marker import FORMAT_VERSION

VERSION: Final = FORMAT_VERSION
RING_MAGIC: Final = b"GNTRING1"
SEGMENT_MAGIC: Final = b"GNTSEGM1"
CHUNK_MAGIC: Final = 0x43544E47
CLOCK_MAGIC: Final = 0x4B544E47

PAGE: Final = 4096
#: Of a chunk of the ring, where its own header does not say otherwise.
CHUNK_SIZE: Final = 65536
DELTA_WIDE: Final = 0xFFFFFFFF
SITE_EXIT: Final = 0x80000000

STREAM_DEFINITIONS: Final = 0
STREAM_ANNOTATIONS: Final = 1
FIRST_THREAD: Final = 2

SYS_STATE: Final = 0x7FFFFF01
SYS_STRING: Final = 0x7FFFFF02
SYS_SITE: Final = 0x7FFFFF03
SYS_THREAD: Final = 0x7FFFFF04
SYS_NOTE: Final = 0x7FFFFF05
SYS_ANNOTATE: Final = 0x7FFFFF06

#: magic, version, clock_source, pid, mode, start_realtime_ns, chunk_size, segment
FILE_HEADER: Final = struct.Struct("<8s4IQ2I24x")
#: magic, thread, serial, first_seq, base_tick, span, correlation, dropped, committed, offset
CHUNK_HEADER: Final = struct.Struct("<2I4Q4I8x")
#: magic, spread, tick, monotonic_ns, realtime_ns
CLOCK_POINT: Final = struct.Struct("<2I3Q")
#: chunks, write_error, dropped: behind the file header on page 0 of a ring
RING_COUNTS: Final = struct.Struct("<2IQ")
#: events forgotten: behind the two clock points that follow the counts
RING_FORGOTTEN: Final = struct.Struct("<Q")
#: delta, site, size
RECORD_HEAD: Final = struct.Struct("<2IH")

#: Beside the rule of a parameter that only a keyword reaches.
KEYWORD_ONLY: Final = 4


def event_id(thread: int, seq: int) -> int:
    """The id of a thread's n-th event, counted from 0; unique within its process."""
    return thread << 40 | seq


@dataclass(frozen=True, slots=True)
class Pointer:
    """An address."""

    address: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What was noted of an object that is no plain value."""

    text: str


@dataclass(frozen=True, slots=True)
class CutText:
    """The beginning of a text that was too long; ``length`` counts its characters."""

    text: str
    length: int


@dataclass(frozen=True, slots=True)
class CutBytes:
    """The beginning of bytes that were too long."""

    data: bytes
    length: int


class Masked:
    """A value that is not shown."""

    __slots__ = ()


class Absent:
    """No value."""

    __slots__ = ()


MASKED: Final = Masked()
ABSENT: Final = Absent()

Value = (
    None
    | bool
    | int
    | float
    | str
    | bytes
    | Pointer
    | Summary
    | CutText
    | CutBytes
    | Masked
    | Absent
)


@dataclass(frozen=True, slots=True)
class StringRef:
    """A string by its id, where it stands for itself."""

    id: int


@dataclass(slots=True)
class Values:
    """The values of one record, in order.

    ``names[i]`` names ``items[i]``: a str, an int (index of a parameter), or None.
    ``left_out`` counts values that did not fit the record.
    """

    items: list[Value | StringRef]
    names: list[str | int | StringRef | None]
    left_out: int = 0


class MalformedRecord(ValueError):  # noqa: N818 - a finding about data, handled by its finder
    """Bytes that are no record of this format."""


_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_I16 = struct.Struct("<h")
_I32 = struct.Struct("<i")
_I64 = struct.Struct("<q")
_F64 = struct.Struct("<d")
_I8 = struct.Struct("<b")
_CUT = struct.Struct("<HQ")

_CONSTANTS: dict[int, Value] = {0: None, 1: False, 2: True, 0x16: MASKED, 0x18: ABSENT}
_SCALARS = {3: _I8, 4: _I16, 5: _I32, 6: _I64, 7: _U64, 9: _F64}


def decode_values(data: bytes, position: int, end: int) -> Values:
    """Decodes the values between two positions.

    Raises :class:`MalformedRecord` where they are none.
    """
    values = Values([], [])
    name: str | int | StringRef | None = None
    try:
        while position < end:
            tag = data[position]
            position += 1
            scalar = _SCALARS.get(tag)
            if scalar is not None:
                values.items.append(scalar.unpack_from(data, position)[0])
                position += scalar.size
            elif tag in _CONSTANTS:
                values.items.append(_CONSTANTS[tag])
            elif tag in _NAMES:
                name, position = _NAMES[tag](data, position)
                continue
            elif tag == _TAG_CUT:
                values.left_out = _U16.unpack_from(data, position)[0]
                position += 2
                continue
            else:
                value, position = _READERS[tag](data, position)
                values.items.append(value)
            values.names.append(name)
            name = None
    except (struct.error, KeyError, IndexError) as error:
        raise MalformedRecord(f"no value at byte {position}") from error
    if position != end:
        raise MalformedRecord("a value reaches past its record")
    return values


def _short(data: bytes, position: int) -> tuple[bytes, int]:
    end = position + 1 + data[position]
    return data[position + 1 : end], end


def _long(data: bytes, position: int) -> tuple[bytes, int]:
    end = position + 2 + _U16.unpack_from(data, position)[0]
    return data[position + 2 : end], end


def _read_str8(data: bytes, position: int) -> tuple[Value, int]:
    raw, position = _short(data, position)
    return _text(raw), position


def _read_str16(data: bytes, position: int) -> tuple[Value, int]:
    raw, position = _long(data, position)
    return _text(raw), position


def _read_strcut(data: bytes, position: int) -> tuple[Value, int]:
    kept, length = _CUT.unpack_from(data, position)
    position += _CUT.size
    return CutText(_text(data[position : position + kept]), length), position + kept


def _read_bytes(data: bytes, position: int) -> tuple[Value, int]:
    return _long(data, position)


def _read_bytescut(data: bytes, position: int) -> tuple[Value, int]:
    kept, length = _CUT.unpack_from(data, position)
    position += _CUT.size
    return CutBytes(data[position : position + kept], length), position + kept


def _read_object(data: bytes, position: int) -> tuple[Value, int]:
    raw, position = _short(data, position)
    return Summary(_text(raw)), position


def _read_bigint(data: bytes, position: int) -> tuple[Value, int]:
    raw, position = _short(data, position)
    return int.from_bytes(raw, "little", signed=True), position


def _read_pointer(data: bytes, position: int) -> tuple[Value, int]:
    return Pointer(_U64.unpack_from(data, position)[0]), position + 8


def _read_ref(data: bytes, position: int) -> tuple[StringRef, int]:
    return StringRef(_U32.unpack_from(data, position)[0]), position + 4


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        try:
            return raw.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return raw.decode("utf-8", "replace")


_READERS = {
    0x08: _read_pointer,
    0x0A: _read_bigint,
    0x10: _read_str8,
    0x11: _read_str16,
    0x12: _read_strcut,
    0x13: _read_bytes,
    0x14: _read_bytescut,
    0x15: _read_object,
    0x17: _read_ref,
}


def _name_short(data: bytes, position: int) -> tuple[str, int]:
    raw, position = _short(data, position)
    return _text(raw), position


def _name_index(data: bytes, position: int) -> tuple[int, int]:
    return data[position], position + 1


_TAG_CUT: Final = 0x2F
_NAMES: dict[int, Callable[[bytes, int], tuple[str | int | StringRef, int]]] = {
    0x20: _read_ref,
    0x21: _name_index,
    0x22: _name_short,
}
