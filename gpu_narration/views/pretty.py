"""The pretty view: an event over several lines, with all it has.

::

       0.001234 INFO  queue admit job-7
                      Admitted job-7 at position 3
                      position=3 correlation_id="req-1"
                      at app.py:12, queue@1.4, in span 1099511627776, 2026-05-01T07:30:00.125+00:00
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from gpu_narration._types import Kind
from gpu_narration.tracefile import Event
from gpu_narration.tracefile.format import Value
from gpu_narration.views import text
from gpu_narration.views.escape import safe
from gpu_narration.views.sentences import sentence

#: Below the words of the head: behind the time and the level.
_INDENT = " " * 19


def lines(event: Event, annotations: Mapping[str, Value], voice: str = "human") -> list[str]:
    """The lines of an event; the first one without its time."""
    shown = [" ".join([f"{event.level.name:<5}", *text.words(event)])]
    said = sentence(event, annotations, voice)
    if said:
        shown.append(_INDENT + safe(said))
    pairs = " ".join(f"{key}={value}" for key, value in text.pairs(event, annotations))
    if pairs:
        shown.append(_INDENT + pairs)
    if event.kind is Kind.NARRATION:
        shown += [f"{_INDENT}{other}: {safe(words)}" for other, words in _others(event, said)]
        shown.append(_INDENT + _origin(event))
    return shown


def _others(event: Event, said: str) -> list[tuple[str, str]]:
    """What the event says in the voices that are not shown."""
    told = {"human": event.names[3] or ""}
    told |= {
        voice: str(event.fields[voice]) for voice in ("cute", "story") if voice in event.fields
    }
    return [(voice, words) for voice, words in told.items() if words not in ("", said)]


def _origin(event: Event) -> str:
    parts = []
    if event.source_location is not None:
        parts.append(f"at {event.source_location}")
    if event.emitted_by is not None:
        parts.append(event.emitted_by)
    if event.span is not None:
        parts.append(f"in span {event.span}")
    if event.parent_span is not None:
        parts.append(f"of {event.parent_span}")
    if event.emitted_at_ms is not None:
        moment = datetime.fromtimestamp(event.emitted_at_ms / 1000, UTC)
        parts.append(moment.isoformat(timespec="milliseconds"))
    return safe(", ".join(parts))
