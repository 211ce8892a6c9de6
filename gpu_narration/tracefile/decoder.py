"""Records to events, for one process: definitions, state, and the passing of time.

Fragments go in, in the order of their chunks; events come out.  The same code
serves a whole trace, the remains in a ring file, and a trace that still grows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gpu_narration._types import SPAN_KINDS, Kind, Level, Outcome
from gpu_narration.tracefile import format as fmt
from gpu_narration.tracefile.clock import Clock
from gpu_narration.tracefile.events import (
    NO_CONTEXT,
    Argument,
    Event,
    Note,
    Parameter,
    Phase,
    Site,
    ThreadInfo,
)
from gpu_narration.tracefile.format import (
    CutText,
    MalformedRecord,
    StringRef,
    Summary,
    Value,
    Values,
)

Names = tuple[str | None, str | None, str | None, str | None]


class _OpenSpan(NamedTuple):
    """Where a span began: its end is told without it."""

    parent: int
    correlation: str | None
    context: Mapping[str, Value]
    names: Names


@dataclass(frozen=True, slots=True)
class Fragment:
    """A stretch of a chunk: whole records, and what held before the chunk's first."""

    thread: int
    serial: int
    first_seq: int
    base_tick: int
    span: int
    correlation: int
    dropped: int
    offset: int
    data: bytes

    @property
    def end(self) -> int:
        """Where in the chunk it ends."""
        return self.offset + len(self.data)


@dataclass(slots=True)  # not frozen: that would double the time to make one
class Record:
    """One record, undecoded."""

    seq: int
    tick: int
    site: int
    data: bytes
    start: int
    end: int

    def values(self) -> Values:
        return fmt.decode_values(self.data, self.start, self.end)


@dataclass(slots=True)
class _ThreadState:
    seq: int = 0
    tick: int = 0
    span: int = 0
    correlation: int = 0
    serial: int = 0
    offset: int = 0


@dataclass(slots=True)
class ProcessDecoder:
    """Everything needed to make sense of one process's records."""

    process: int
    clock: Clock = field(default_factory=Clock)
    strings: dict[int, str] = field(default_factory=dict)
    #: What comes with a correlation, by the id of its string.
    contexts: dict[int, Mapping[str, Value]] = field(default_factory=dict)
    sites: dict[int, Site] = field(default_factory=dict)
    threads: dict[int, ThreadInfo] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    annotations: dict[int, dict[str, Value]] = field(default_factory=dict)
    #: Of the spans that are open: what they are in, and for which request they work.
    open_spans: dict[int, _OpenSpan] = field(default_factory=dict)
    dropped: dict[int, int] = field(default_factory=dict)
    overwritten: dict[int, int] = field(default_factory=dict)
    malformed: dict[int, int] = field(default_factory=dict)
    undefined: int = 0
    #: Kinds of events that are counted only, and what was counted: (when, how many).
    skip: frozenset[Kind] = frozenset()
    skipped: list[tuple[int, int]] = field(default_factory=list)
    _states: dict[int, _ThreadState] = field(default_factory=dict)

    # ---- streams ----

    def define(self, fragment: Fragment) -> None:
        """Takes in a fragment of the definitions."""
        for record in self._records(fragment):
            self._define(record)

    def annotate(self, fragment: Fragment) -> list[int]:
        """Takes in a fragment of the annotations; the events they belong to."""
        touched = []
        for record in self._records(fragment):
            if record.site != fmt.SYS_ANNOTATE:
                continue
            try:
                values = record.values()
                event_id = _int(values.items[0])
                named = self._named(values, 1)
            except (MalformedRecord, IndexError, TypeError, ValueError):
                self._leave_out(fragment.thread, record.end - record.start)
                continue
            self.annotations.setdefault(event_id, {}).update(named)
            touched.append(event_id)
        return touched

    def begin_again(self) -> None:
        """Forgets what reading events has counted: they are read from their start."""
        for counts in (self.dropped, self.overwritten, self.malformed, self._states):
            for thread in [thread for thread in counts if thread >= fmt.FIRST_THREAD]:
                del counts[thread]
        self.undefined = 0

    @property
    def malformed_bytes(self) -> int:
        """Bytes that are no records, or that cannot be placed."""
        return sum(self.malformed.values())

    def events(self, fragment: Fragment) -> Iterator[Event]:
        """The events of a fragment of a thread."""
        state = self._states.setdefault(fragment.thread, _ThreadState())
        skipped = tick = 0
        for record in self._records(fragment):
            if self.skip:
                site = self.sites.get(record.site)
                if site is not None and site.kind in self.skip:
                    skipped, tick = skipped + 1, record.tick
                    continue
            try:
                event = self._event(record, fragment.thread, state)
            except (MalformedRecord, IndexError, TypeError, ValueError):
                self._leave_out(fragment.thread, record.end - record.start)
                continue
            if event is not None:
                yield event
        if skipped:
            self.skipped.append((self.clock.monotonic_ns(tick), skipped))

    # ---- records ----

    def _records(self, fragment: Fragment) -> Iterator[Record]:
        state = self._states.setdefault(fragment.thread, _ThreadState())
        if fragment.offset == 0:
            self._begin_chunk(fragment, state)
        elif fragment.serial != state.serial or fragment.offset != state.offset:
            # What came before it in the chunk is missing: nothing in it can be placed.
            self._leave_out(fragment.thread, len(fragment.data))
            return
        state.serial = fragment.serial
        state.offset = fragment.end
        data, position, total = fragment.data, 0, len(fragment.data)
        while position < total:
            if total - position < fmt.RECORD_HEAD.size:
                self._leave_out(fragment.thread, total - position)
                return
            delta, site, size = fmt.RECORD_HEAD.unpack_from(data, position)
            start, end = position + fmt.RECORD_HEAD.size, position + size
            if end > total or size < fmt.RECORD_HEAD.size:
                self._leave_out(fragment.thread, total - position)
                return
            if delta == fmt.DELTA_WIDE:
                tick = int.from_bytes(data[start : start + 8], "little")
                start += 8
                state.tick = max(state.tick, tick)
            else:
                state.tick += delta
            seq = state.seq
            if site != fmt.SYS_STATE:
                state.seq += 1
            yield Record(seq, state.tick, site, data, start, end)
            position = end

    def _leave_out(self, thread: int, count: int) -> None:
        self.malformed[thread] = self.malformed.get(thread, 0) + count

    def _begin_chunk(self, fragment: Fragment, state: _ThreadState) -> None:
        if fragment.dropped:
            self.dropped[fragment.thread] = self.dropped.get(fragment.thread, 0) + fragment.dropped
        missing = fragment.first_seq - state.seq
        if missing > 0:
            self.overwritten[fragment.thread] = self.overwritten.get(fragment.thread, 0) + missing
        state.seq = fragment.first_seq
        state.tick = fragment.base_tick
        state.span = fragment.span
        state.correlation = fragment.correlation

    # ---- definitions ----

    def _define(self, record: Record) -> None:
        try:
            values = record.values()
            items = values.items
            if record.site == fmt.SYS_STRING:
                number = _int(items[0])
                self.strings[number] = _text(items[1])
                if len(items) > 2:
                    self.contexts[number] = self._named(values, 2)
            elif record.site == fmt.SYS_SITE:
                site = self._site(items)
                self.sites[site.id] = site
            elif record.site == fmt.SYS_THREAD:
                name = _text(items[2]) if len(items) > 2 else None
                number = _int(items[0])
                self.threads[number] = ThreadInfo(number, _int(items[1]), name)
            elif record.site == fmt.SYS_NOTE:
                self.notes.append(
                    Note(
                        self.process,
                        _text(items[0]),
                        self._named(values, 1),
                        self.clock.monotonic_ns(record.tick),
                    )
                )
        except (MalformedRecord, IndexError, TypeError, ValueError):
            self._leave_out(fmt.STREAM_DEFINITIONS, record.end - record.start)

    def _site(self, items: list[Value | StringRef]) -> Site:
        number, kind, level, dynamic = (_int(item) for item in items[:4])
        module = self._string(items[4]) or ""
        names = [self._string(item) for item in items[5:9]]
        parameters = []
        for i in range(9, len(items) - 2, 3):
            default = items[i + 2]
            parameters.append(
                Parameter(
                    self._string(items[i]) or "?",
                    bool(_int(items[i + 1]) & fmt.KEYWORD_ONLY),
                    None if isinstance(default, StringRef) else default,
                )
            )
        return Site(
            number, Kind(kind), Level(level), dynamic, module,
            (names[0], names[1], names[2], names[3]), tuple(parameters),
        )  # fmt: skip

    def _string(self, item: Value | StringRef) -> str | None:
        if isinstance(item, StringRef):
            return self.strings.get(item.id, f"string#{item.id}")
        return None if item is None else _text(item)

    def _named(self, values: Values, first: int) -> dict[str, Value]:
        named: dict[str, Value] = {}
        for name, item in zip(values.names[first:], values.items[first:], strict=True):
            key = self._string(name) if isinstance(name, StringRef) else name
            named[str(key)] = self._plain(item)
        return named

    def _plain(self, item: Value | StringRef) -> Value:
        return self._string(item) if isinstance(item, StringRef) else item

    # ---- events ----

    def _event(self, record: Record, thread: int, state: _ThreadState) -> Event | None:
        if record.site == fmt.SYS_STATE:
            items = record.values().items
            state.span = _int(items[0])
            reference = items[1]
            state.correlation = reference.id if isinstance(reference, StringRef) else 0
            return None
        site_id = record.site & ~fmt.SITE_EXIT
        site = self.sites.get(site_id)
        if site is None:
            self.undefined += 1
            site = Site(
                site_id, Kind.TINY, Level.TRACE, 0, "", ("?", f"site#{site_id}", None, None)
            )
        event = Event(
            process=self.process,
            thread=thread,
            seq=record.seq,
            id=fmt.event_id(thread, record.seq),
            monotonic_ns=self.clock.monotonic_ns(record.tick),
            site=site,
            phase=Phase.INSTANT,
            names=site.names,
            span=state.span or None,
        )
        if state.correlation:
            # A context may have ids and no correlation: its text is empty.
            event.correlation = self.strings.get(state.correlation) or None
            event.context = self.contexts.get(state.correlation, NO_CONTEXT)
        values = record.values()
        event.left_out = values.left_out
        if record.site & fmt.SITE_EXIT:
            self._end(event, values, state)
            return event
        first = self._take_names(event, values) if site.dynamic else 0
        if site.kind is Kind.NARRATION:
            first = self._take_origin(event, values, first)
        self._take_values(event, values, first)
        if site.kind in SPAN_KINDS:
            event.phase = Phase.BEGIN
            self.open_spans[event.id] = _OpenSpan(
                state.span, event.correlation, event.context, event.names
            )
            state.span = event.id
        return event

    def _take_names(self, event: Event, values: Values) -> int:
        names: list[str | None] = list(event.names)
        taken = 0
        for i in range(4):
            if event.site.dynamic >> i & 1 and taken < len(values.items):
                names[i] = _text(values.items[taken])
                taken += 1
        event.names = (names[0], names[1], names[2], names[3])
        return taken

    def _take_origin(self, event: Event, values: Values, first: int) -> int:
        """Of a narration, two unnamed values: whose it is, and where it stands."""
        if state := self.open_spans.get(event.span or 0):
            event.parent_span = state[0] or None
        if self.clock.points:
            realtime_ns = event.monotonic_ns + self.clock.realtime_offset_ns
            event.emitted_at_ms = realtime_ns // 1_000_000
        origin = [
            self._string(item) or None
            for name, item in zip(
                values.names[first : first + 2], values.items[first : first + 2], strict=True
            )
            if name is None
        ]
        event.emitted_by, event.source_location = (*origin, None, None)[:2]
        return first + len(origin)

    def _take_values(self, event: Event, values: Values, first: int) -> None:
        parameters = event.site.parameters
        positional = [parameter for parameter in parameters if not parameter.keyword_only]
        position = 0
        for name, item in zip(values.names[first:], values.items[first:], strict=True):
            value = self._plain(item)
            if isinstance(name, StringRef):
                event.fields[self._string(name) or "?"] = value
                continue
            if isinstance(name, str) and event.kind is not Kind.FUNCTION:
                event.fields[name] = value  # of a name that is no constant
                continue
            shown: str | None
            if isinstance(name, int):
                shown = parameters[name].name if name < len(parameters) else f"arg{name}"
            elif name is not None:
                shown = name
            else:
                shown = positional[position].name if position < len(positional) else None
                position += 1
            event.arguments.append(Argument(shown, value))
        if event.site.kind is Kind.NARRATION and event.fields.get("correlation_id") is not None:
            event.correlation = _correlation(event.fields.pop("correlation_id"))
        if event.site.kind is Kind.CORRELATED and event.arguments:
            given = _correlation(event.arguments.pop(0).value)
            if given != event.correlation:
                event.correlation, event.context = given, NO_CONTEXT

    def _end(self, event: Event, values: Values, state: _ThreadState) -> None:
        outcome, span_id, ticks = (_int(item) for item in values.items[:3])
        event.phase = Phase.END
        event.outcome = Outcome(outcome)
        event.span_id = span_id
        event.elapsed_ns = self.clock.duration_ns(ticks)
        rest = values.items[3:]
        if rest and values.names[-1] is not None:  # named ones come last
            plain = values.names.count(None)
            event.fields = self._named(values, plain)
            rest = values.items[3:plain]
        if event.outcome in (Outcome.ERROR, Outcome.CANCELLED):
            event.error_type = _text(rest[0]) if rest else "?"
            event.error_text = _text(rest[1]) if len(rest) > 1 else None
        elif rest:
            event.arguments.append(Argument(None, self._plain(rest[0])))
        parent = 0
        begun = self.open_spans.pop(span_id, None)
        if begun is not None:
            parent, event.correlation, event.context, event.names = begun
        event.span = parent or None
        if state.span == span_id:
            state.span = parent


def _correlation(value: Value) -> str:
    """A correlation id that a call was given; whatever it is, it is shown."""
    if isinstance(value, CutText):
        return _text(value)
    return value.text if isinstance(value, Summary) else str(value)


def _int(item: object) -> int:
    if not isinstance(item, int):
        raise MalformedRecord("an integer belongs here")
    return item


def _text(item: object) -> str:
    if isinstance(item, str):
        return item
    if isinstance(item, CutText):
        return f"{item.text}…"
    raise MalformedRecord("a text belongs here")
