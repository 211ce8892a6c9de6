"""The text view: one event, one line.

::

    LEVEL actor action target key=value … "sentence"

String values are quoted and escaped, numbers are bare, times are in ms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gpu_narration._types import VOICES, Kind, Outcome
from gpu_narration.tracefile import Event, Note, Notice, Phase
from gpu_narration.tracefile.format import (
    Absent,
    CutBytes,
    CutText,
    Masked,
    Pointer,
    Summary,
    Value,
)
from gpu_narration.views.escape import bare, quoted, safe
from gpu_narration.views.sentences import (
    is_out_of_memory,
    loop_position,
    sentence,
    target_of,
    values_of,
)
from gpu_narration.views.templates import MASK, fill
from gpu_narration.views.units import milliseconds, size

#: Fields that the sentence says, or that are of no use to a reader of lines.
_SAID = {"cute", "story", "before_bytes", "used_bytes", "total_bytes", "free_bytes",
         "reserved_bytes", "in_scope", "in_span", "vram_device", "shared_bytes",
         "gpu_start_ns", "gpu_end_ns", "gpu_place_error_ns", "gpu_place_reason",
         "by_others", "process_bytes", "process_reason"}  # fmt: skip
#: Of a context: for programs, which find it in JSON.
_PLACE = {"trace_id", "parent_span_id", "trace_flags", "tracestate", "refused", "capture_id"}
#: Notes that stand among the events, and what they say.
NOTES_SHOWN = {
    "filter": "The filter was changed",
    "dump": "The flight recorder wrote out what it held",
    "sampled_out": "Left out by the filter's sampling after the last event that tells of it",
    "strip": "Trace calls are taken out of these modules when they are imported",
}
#: What was learned of an event later goes in this order.
_LATER = ("gpu_ns", "gpu_reason", "stream", "device", "vram_before_bytes", "vram_after_bytes",
          "vram_delta_bytes", "vram_before_late_ns", "vram_source", "vram_reason",
          "vram_peak_bytes", "vram_peak_source", "vram_peak_reason", "vram_live_delta_bytes",
          "vram_cached_delta_bytes", "vram_pool", "vram_pool_reason", "vram_shared", "error",
          "simulated")  # fmt: skip


def line(event: Event, annotations: Mapping[str, Value], voice: str = "human") -> str:
    """The line of an event."""
    head = [event.level.name, *words(event)]
    told = [f"{key}={shown}" for key, shown in pairs(event, annotations)]
    return " ".join([*head, *told, quoted(sentence(event, annotations, voice))])


def note_line(note: Note) -> str:
    """The line of a note: what happened to the recording while it ran."""
    pairs = "".join(f" {bare(key)}={value_text(value)}" for key, value in note.fields.items())
    return f"INFO gpu_narration {note.topic}{pairs} {quoted(NOTES_SHOWN[note.topic])}"


def notice_line(notice: Notice) -> str:
    """The line of something that is wrong or lost."""
    return f"WARN gpu_narration {notice.trouble.value} count={notice.count} {quoted(notice.text)}"


def words(event: Event) -> list[str]:
    """Actor, action and target, as they stand in a line."""
    actor, action = bare(event.names[0] or "?"), bare(event.names[1] or "?")
    match event.kind:
        case Kind.ENTER:
            return [actor, "enter", bare(event.names[2] or "?")]
        case Kind.EXIT:
            return [actor, "exit", bare(event.names[2] or "?")]
        case Kind.LOOP:
            return [actor, action, bare("iter_{}/{}".format(*loop_position(event)))]
        case Kind.STATE:
            return [actor, "state_change", bare(target_of(event) or "?")]
        case Kind.FUNCTION | Kind.FOREIGN:
            return [actor, action]
    target = target_of(event)
    return [actor, action, bare(target)] if target else [actor, action]


def pairs(event: Event, annotations: Mapping[str, Value]) -> Iterator[tuple[str, str]]:
    """What an event was given, what was learned of it and whose it is, as keys and shown values."""
    said = set()
    for key, shown in _own(event, annotations):
        said.add(key)
        yield key, shown
    yield from (pair for pair in _belonging(event) if pair[0] not in said)


def _own(event: Event, annotations: Mapping[str, Value]) -> Iterator[tuple[str, str]]:
    if event.kind is Kind.STATE:
        yield "transition", quoted(fill(event.names[1] or "", values_of(event)))
    if event.kind is Kind.VRAM:
        yield "transition", quoted(_transition(event))
    if event.kind in (Kind.FUNCTION, Kind.FOREIGN) and event.phase is Phase.BEGIN:
        yield from _arguments(event)
    if event.phase is Phase.END:
        yield from _ending(event)
    for name, value in event.fields.items():
        if event.kind is Kind.NARRATION and not is_out_of_memory(event):
            if name not in VOICES:  # the program's own names stand as they were given
                yield bare(name), value_text(value)
            continue
        told = event.kind is Kind.VRAM or is_out_of_memory(event)
        shown = not told or name in ("failed", "open_scopes", "simulated")
        if shown and name not in _SAID and name not in annotations:
            yield _pair(name, value)
    if event.phase is not Phase.BEGIN:
        yield from _learned(annotations)
    if event.left_out:
        yield "left_out", str(event.left_out)


def _belonging(event: Event) -> Iterator[tuple[str, str]]:
    for name, value in event.context.items():
        if name not in _PLACE:
            yield bare(name), value_text(value)
    if event.correlation is not None:
        yield "correlation_id", quoted(event.correlation)


def _arguments(event: Event) -> Iterator[tuple[str, str]]:
    given = set()
    for position, argument in enumerate(event.arguments):
        given.add(argument.name)
        yield _pair(argument.name or f"arg{position}", argument.value)
    for parameter in event.site.parameters:
        if parameter.name not in given and not isinstance(parameter.default, Absent):
            yield _pair(parameter.name, parameter.default)


def _ending(event: Event) -> Iterator[tuple[str, str]]:
    if event.outcome is Outcome.OK and event.arguments:
        yield _pair("result", event.arguments[0].value)
    elif event.error_type is not None:
        text = f": {event.error_text}" if event.error_text else ""
        yield "error", quoted(f"{event.error_type}{text}")
    if event.elapsed_ns is not None:
        yield "elapsed_ms", milliseconds(event.elapsed_ns)


def _learned(annotations: Mapping[str, Value]) -> Iterator[tuple[str, str]]:
    for name in _LATER:
        if name in annotations:
            yield _pair(name, annotations[name])
            if name == "gpu_ns" and annotations[name] is None and "gpu_reason" not in annotations:
                yield _pair("gpu_reason", "no reason was recorded")
    for name, value in annotations.items():
        if name not in _LATER and name not in _SAID:
            yield _pair(name, value)


def _pair(name: str, value: Value) -> tuple[str, str]:
    """Durations are shown in ms and sizes with a unit, under a name that says so."""
    if name.endswith("_ns"):
        shown = milliseconds(value) if isinstance(value, int) else value_text(value)
        return safe(f"{name[:-3]}_ms"), shown
    if name.endswith("_bytes") and isinstance(value, int) and name.startswith("vram_"):
        sign = "+" if name.endswith("delta_bytes") and value > 0 else ""
        return name[: -len("_bytes")], quoted(sign + size(value))
    return bare(name), value_text(value)


def value_text(value: Value) -> str:
    """A value as it stands behind ``key=``."""
    match value:
        case None:
            return "None"
        case bool():
            return "true" if value else "false"
        case float():
            return repr(value)
        case int():
            return str(value)
        case str():
            return quoted(value)
        case bytes():
            return quoted(repr(value))
        case CutText():
            return f"{quoted(value.text)}…({value.length} characters)"
        case CutBytes():
            return f"{quoted(repr(value.data))}…({value.length} bytes)"
        case Pointer():
            return hex(value.address)
        case Summary():
            return quoted(value.text)
        case Masked():
            return MASK
        case Absent():
            return "?"


def _transition(event: Event) -> str:
    before, used = event.fields.get("before_bytes"), event.fields.get("used_bytes")
    first = size(before) if isinstance(before, int) else "?"
    return f"{first} → {size(used) if isinstance(used, int) else '?'}"
