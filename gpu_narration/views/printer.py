"""Printing traces: whole ones, and ones that still grow."""

from __future__ import annotations

import collections
import heapq
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TextIO

from gpu_narration._types import VOICES, Kind, Level
from gpu_narration.nsight.sidecar import Joined, joined
from gpu_narration.timeline.nsys.beside import fields_of, has_work
from gpu_narration.tracefile import Event, Note, Notice, Phase, Trace, Trouble
from gpu_narration.tracefile.follow import Follower
from gpu_narration.tracefile.format import Value
from gpu_narration.views import jsonl, logfmt, pretty, text
from gpu_narration.views.escape import to_json

_COLORS = {
    Level.TRACE: "\x1b[2m",
    Level.DEBUG: "\x1b[36m",
    Level.INFO: "\x1b[32m",
    Level.WARN: "\x1b[33m",
    Level.ERROR: "\x1b[31m",
    Level.FATAL: "\x1b[1;31m",
}
_RESET = "\x1b[0m"

_DAMAGE = {Trouble.TORN_TAIL, Trouble.DAMAGED, Trouble.UNDEFINED, Trouble.NEWER_FORMAT}

#: How long a launch whose GPU time is not known yet is held back.
_PATIENCE_S = 1.0


#: Kinds whose action is their third name, as enum gn_kind in record.h has it.
_NAMED_BY_TARGET = (Kind.ENTER, Kind.EXIT, Kind.STATE)


class Thresholds(Protocol):
    """A filter of what is shown."""

    def threshold(self, module: str, actor: str, action: str, /) -> int:
        """The lowest level that is shown."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which events to show."""

    level: Level = Level.TRACE
    actors: frozenset[str] = frozenset()
    correlation: str | None = None

    def takes(self, event: Event) -> bool:
        return (
            event.level >= self.level
            and (not self.actors or event.names[0] in self.actors)
            and (self.correlation is None or event.correlation == self.correlation)
        )

    def takes_note(self) -> bool:
        """Whether to show what happened to the recording itself."""
        return (
            self.level <= Level.INFO
            and (not self.actors or "gpu_narration" in self.actors)
            and self.correlation is None
        )


class Printer:
    """Writes lines to a stream, in one of FORMATS.

    Without a voice it is the one that the recording was begun with.
    """

    def __init__(
        self,
        out: TextIO,
        *,
        voice: str | None = "human",
        color: bool = False,
        show_time: bool = False,
        show_ids: bool = False,
        form: str = "text",
        selection: Selection | None = None,
        console: Callable[[str], Thresholds | None] | None = None,
    ) -> None:
        """``console`` finds in a recording's filter what of it the console shows."""
        self._out = out
        self._voice = voice
        self._color = color
        self._show_time = show_time
        self._show_ids = show_ids
        self._form = form
        self._selection = selection or Selection()
        self._start_ns: int | None = None
        self._console = console
        #: Of each process, by the filter that was in force last.
        self._thresholds: dict[int, Thresholds | None] = {}

    def show(self, path: Path) -> bool:
        """Prints a whole trace; True if it is damaged."""
        trace = Trace(path)
        notes = [note for process in trace.processes for note in process.notes]
        both: Iterator[Event | Note] = heapq.merge(
            trace.events(), sorted(notes, key=_when), key=_when
        )
        names = [process.name for process in trace.processes]
        with joined(path, trace.trace_id, names) as join:
            for item in both:
                if isinstance(item, Note):
                    self._note(item)
                else:
                    self._event(item, _with_work(item, trace.annotations(item), join))
        return self._notices(trace.notices())

    def follow(self, path: Path) -> bool:
        """Prints a trace as it grows, until its processes have ended; True if it is damaged."""
        follower = Follower(path)
        held: dict[tuple[int, int], tuple[float, Event]] = {}
        while True:
            batch = follower.poll()
            now = time.monotonic()
            notes = collections.deque(sorted(batch.notes, key=_when))
            for event in batch.events:
                while notes and notes[0].monotonic_ns <= event.monotonic_ns:
                    self._note(notes.popleft())
                annotations = follower.annotations(event)
                if _awaits_gpu(event) and "gpu_ns" not in annotations:
                    held[event.process, event.span_id or event.id] = now, event
                else:
                    self._event(event, annotations)
            for note in notes:
                self._note(note)
            for key in batch.annotated:
                _, waiting = held.pop(key, (0.0, None))
                if waiting is not None:
                    self._event(waiting, follower.annotations(waiting))
            for key in [key for key, (since, _) in held.items() if now - since > _PATIENCE_S]:
                _, waiting = held.pop(key)
                self._event(waiting, follower.annotations(waiting))
            self._out.flush()
            if batch.ended:
                break
            time.sleep(follower.pause_s)
        for _, waiting in held.values():
            self._event(waiting, follower.annotations(waiting))
        damaged = self._notices(follower.notices())
        self._out.flush()
        return damaged

    def _event(self, event: Event, annotations: Mapping[str, Value]) -> None:
        if not self._selection.takes(event) or not self._console_takes(event):
            return
        voice = self._voice or "human"
        match self._form:
            case "json":
                self._json(jsonl.event_object(event, annotations, voice))
            case "logfmt":
                record = jsonl.event_object(event, annotations, voice)
                print(logfmt.line(record), file=self._out)
            case "pretty":
                head, *more = pretty.lines(event, annotations, voice)
                time_of = self._time(event.monotonic_ns, always=True)
                print(time_of + self._colored(head, event.level), *more, sep="\n", file=self._out)
            case _:
                line = text.line(event, annotations, voice)
                print(self._prefix(event) + self._colored(line, event.level), file=self._out)

    def _json(self, record: dict[str, object]) -> None:
        print(to_json(record), file=self._out)

    def _console_takes(self, event: Event) -> bool:
        thresholds = self._thresholds.get(event.process)
        if thresholds is None:
            return True
        action = event.names[2 if event.kind in _NAMED_BY_TARGET else 1]
        needed = thresholds.threshold(event.site.module, event.names[0] or "", action or "")
        return event.level >= needed

    def _note(self, note: Note) -> None:
        """Among the events only what happened to the recording while it ran."""
        if self._voice is None and note.topic == "process":
            self._voice = _voice_of(note)
        if self._console is not None and note.topic in ("process", "filter"):
            self._thresholds[note.process] = self._console(str(note.fields.get("filter", "")))
        if note.topic not in text.NOTES_SHOWN or not self._selection.takes_note():
            return
        if self._form == "json":
            self._json(jsonl.note_object(note))
            return
        if self._form == "logfmt":
            print(logfmt.line(jsonl.note_object(note)), file=self._out)
            return
        prefix = self._time(note.monotonic_ns)
        if self._show_ids:
            prefix += f"p{note.process} "
        print(prefix + self._colored(text.note_line(note), Level.INFO), file=self._out)

    def _time(self, monotonic_ns: int, *, always: bool = False) -> str:
        if self._start_ns is None:
            self._start_ns = monotonic_ns
        return (
            f"{(monotonic_ns - self._start_ns) / 1e9:12.6f} " if self._show_time or always else ""
        )

    def _prefix(self, event: Event) -> str:
        prefix = self._time(event.monotonic_ns)
        if self._show_ids:
            inside = f" in {event.span}" if event.span is not None else ""
            prefix += f"p{event.process} t{event.thread} #{event.span_id or event.id}{inside} "
        return prefix

    def _colored(self, line: str, level: Level) -> str:
        if not self._color:
            return line
        return f"{_COLORS.get(level, '')}{line}{_RESET}"

    def _notices(self, notices: list[Notice]) -> bool:
        for notice in notices:
            if self._form == "json":
                self._json(jsonl.notice_object(notice))
            elif self._form == "logfmt":
                print(logfmt.line(jsonl.notice_object(notice)), file=self._out)
            else:
                print(self._colored(text.notice_line(notice), Level.WARN), file=self._out)
        return is_damaged(notices)


def is_damaged(notices: Iterable[Notice]) -> bool:
    """Whether a trace is damaged, by what it tells of itself."""
    return any(notice.trouble in _DAMAGE for notice in notices)


def _with_work(
    event: Event, annotations: Mapping[str, Value], join: Joined | None
) -> Mapping[str, Value]:
    """What was learned of an event, with what Nsight Systems knows of its GPU work."""
    if join is None or not has_work(event):
        return annotations
    work = join.of(event.process, event.span_id or event.id)
    if work is None:
        return annotations
    gpu_ns = annotations.get("gpu_ns", event.fields.get("gpu_ns"))
    return {**annotations, **fields_of(work, gpu_ns)}


def _voice_of(note: Note) -> str:
    voice = note.fields.get("voice")
    return voice if isinstance(voice, str) and voice in VOICES else "human"


def _when(item: Event | Note) -> int:
    return item.monotonic_ns


def _awaits_gpu(event: Event) -> bool:
    """Whether an answer is to come; an event that has one in itself is not timed."""
    return (
        event.kind is Kind.LAUNCH and event.phase is Phase.INSTANT and "gpu_ns" not in event.fields
    )
