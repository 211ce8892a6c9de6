"""Events as JSON objects, for programs."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping

from gpu_narration._types import Kind
from gpu_narration.tracefile import Event, Note, Notice
from gpu_narration.tracefile.format import (
    Absent,
    CutBytes,
    CutText,
    Masked,
    Pointer,
    Summary,
    Value,
)
from gpu_narration.views.escape import safe
from gpu_narration.views.provenance import provenance
from gpu_narration.views.sentences import sentence, target_of

_MAX_SAFE_INTEGER = (1 << 53) - 1


def event_object(
    event: Event, annotations: Mapping[str, Value], voice: str = "human"
) -> dict[str, object]:
    """An event with all it has; values that JSON lacks become strings or small objects."""
    record: dict[str, object] = {
        "monotonic_ns": event.monotonic_ns,
        "level": event.level.name,
        "kind": event.kind.name.lower(),
        "phase": event.phase.value,
        "actor": event.names[0],
        "action": event.names[1],
        "target": target_of(event) or None,
        "text": safe(sentence(event, annotations, voice)),
        "id": event.id,
        "process": event.process,
        "thread": event.thread,
        "module": event.site.module or None,
        "span": event.span,
        "correlation_id": event.correlation,
    }
    if event.context:
        record["context"] = {name: json_value(value) for name, value in event.context.items()}
    if event.span_id is not None and event.outcome is not None:
        record["span_id"] = event.span_id
        record["elapsed_ns"] = event.elapsed_ns
        record["outcome"] = event.outcome.name.lower()
    if event.error_type is not None:
        record["error_type"], record["error_text"] = event.error_type, event.error_text
    if event.arguments:
        record["arguments"] = [
            {"name": argument.name, "value": json_value(argument.value)}
            for argument in event.arguments
        ]
    fields = {**event.fields, **annotations}
    if event.kind is Kind.NARRATION:
        # Its text is in one voice: the human one is not lost.
        record["human"] = safe(sentence(event, annotations))
        fields = {**provenance(event), **fields}
    if fields:
        record["fields"] = {name: json_value(value) for name, value in fields.items()}
    if event.left_out:
        record["left_out"] = event.left_out
    return record


def note_object(note: Note) -> dict[str, object]:
    return {
        "note": note.topic,
        "monotonic_ns": note.monotonic_ns,
        "process": note.process,
        "fields": {name: json_value(value) for name, value in note.fields.items()},
    }


def notice_object(notice: Notice) -> dict[str, object]:
    return {"notice": notice.trouble.value, "count": notice.count, "text": notice.text}


def json_value(value: Value) -> object:
    """A value as JSON has it."""
    match value:
        case bool() | None | str():
            return value
        case int():
            return value if abs(value) <= _MAX_SAFE_INTEGER else str(value)
        case float():
            return value if math.isfinite(value) else str(value)
        case bytes():
            return {"base64": base64.b64encode(value).decode()}
        case Pointer():
            return hex(value.address)
        case Summary():
            return {"summary": value.text}
        case CutText():
            return {"text": value.text, "length": value.length}
        case CutBytes():
            return {"base64": base64.b64encode(value.data).decode(), "length": value.length}
        case Masked():
            return {"masked": True}
        case Absent():
            return None
