"""Where a narration comes from, beside what it was given."""

from __future__ import annotations

from gpu_narration.tracefile import Event
from gpu_narration.tracefile.format import Value


def provenance(event: Event) -> dict[str, Value]:
    """What is known of a narration without having been given to it.

    ``emitted_at_ms`` counts since 1970; the ids are those of the spans that it happened
    in.  What is not known is left out.
    """
    known: dict[str, Value] = {
        "emitted_by": event.emitted_by,
        "emitted_at_ms": event.emitted_at_ms,
        "source_location": event.source_location,
        "span_id": event.span,
        "parent_span_id": event.parent_span,
    }
    return {name: value for name, value in known.items() if value is not None}
