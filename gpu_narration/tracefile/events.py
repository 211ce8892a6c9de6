"""Events as a reader meets them: names resolved, times in nanoseconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from gpu_narration._types import Kind, Level, Outcome
from gpu_narration.tracefile.format import Value

#: Of an event outside of all contexts.
NO_CONTEXT: Final[Mapping[str, Value]] = {}


class Phase(Enum):
    """Which part of its story an event is."""

    INSTANT = "instant"
    BEGIN = "begin"
    END = "end"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a traced function, as it was declared."""

    name: str
    keyword_only: bool
    default: Value


@dataclass(frozen=True, slots=True)
class Site:
    """A call site: what all its events share.

    ``names`` are actor, action, target and human as ``enum gn_kind`` in record.h
    lays them out for the kind; None where unused or where they come with each
    record (bit set in ``dynamic``).
    """

    id: int
    kind: Kind
    level: Level
    dynamic: int
    module: str
    names: tuple[str | None, str | None, str | None, str | None]
    parameters: tuple[Parameter, ...] = ()


@dataclass(frozen=True, slots=True)
class Argument:
    """A recorded argument; ``name`` is None where only its position is known."""

    name: str | None
    value: Value


@dataclass(slots=True)
class Event:
    """One event of a trace.

    id: unique within the process (``thread << 40 | seq``).
    monotonic_ns: when, on the machine's CLOCK_MONOTONIC.
    span: id of the span it happened in, None outside all.
    correlation: the request it belongs to.
    context: what else it belongs to, by name: trace_id, parent_span_id, tracestate,
        session_id, job_id and the like.  One mapping for all events of a context.
    For spans: a BEGIN, and an END whose ``span_id`` is the BEGIN's id.
    ``fields`` are named values; annotations made later are not in here, see
    :meth:`~gpu_narration.tracefile.trace.Trace.annotations`.
    """

    process: int
    thread: int
    seq: int
    id: int
    monotonic_ns: int
    site: Site
    phase: Phase
    names: tuple[str | None, str | None, str | None, str | None]
    arguments: list[Argument] = field(default_factory=list)
    fields: dict[str, Value] = field(default_factory=dict)
    left_out: int = 0
    span: int | None = None
    correlation: str | None = None
    context: Mapping[str, Value] = field(default_factory=lambda: NO_CONTEXT)
    # Of a NARRATION: the package that told it, and the line of its call.
    emitted_by: str | None = None
    source_location: str | None = None
    #: Of a NARRATION: ms since 1970, None where the clock is not known.
    emitted_at_ms: int | None = None
    #: Of a NARRATION: the span that its span is in.
    parent_span: int | None = None
    # Of an END.
    span_id: int | None = None
    elapsed_ns: int | None = None
    outcome: Outcome | None = None
    error_type: str | None = None
    error_text: str | None = None

    @property
    def kind(self) -> Kind:
        return self.site.kind

    @property
    def level(self) -> Level:
        return self.site.level


class Trouble(Enum):
    """What can be wrong with a trace, or was with the recording."""

    TORN_TAIL = "torn_tail"
    DAMAGED = "damaged"
    DROPPED = "dropped"
    OVERWRITTEN = "overwritten"
    UNDEFINED = "undefined"
    DIED = "died"
    RING_KEPT = "ring_kept"
    RUNNING = "running"
    NEWER_FORMAT = "newer_format"
    WRITE_ERROR = "write_error"


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a reader must be told: what, where, how much, in words."""

    trouble: Trouble
    text: str
    count: int = 0


@dataclass(slots=True)
class ThreadInfo:
    """A thread that recorded."""

    number: int
    native_id: int | None = None
    name: str | None = None


@dataclass(slots=True)
class Note:
    """Something the recorder noted about itself or the machine."""

    process: int
    topic: str
    fields: dict[str, Value]
    monotonic_ns: int
