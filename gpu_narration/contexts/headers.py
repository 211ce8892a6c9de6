"""Ids in the headers of requests: taken over from those that come, given to those that go."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from hashlib import blake2b

from gpu_narration._core import current_span
from gpu_narration.contexts.ids import Ids, new_id, new_trace
from gpu_narration.contexts.w3c import (
    Refusal,
    check_correlation_id,
    format_traceparent,
    parse_traceparent,
    parse_tracestate,
)

Text = str | bytes
Headers = Mapping[str, str | None] | Mapping[bytes, bytes | None] | Iterable[tuple[Text, Text]]

TRACEPARENT, TRACESTATE, CORRELATION = "traceparent", "tracestate", "x-correlation-id"
#: As others write it; names of headers have no case.
CORRELATION_HEADER = "X-Correlation-Id"

_refused: dict[str, int] = {}
_lock = threading.Lock()
#: Which recording and process our event ids are of; "" while nothing records.
_recording = ""


def incoming(headers: Headers) -> Ids:
    """Ids of a request by its headers, new ones where it has none; never raises."""
    refusals: list[Refusal] = []
    try:
        found = _found(headers)
    except Exception:  # noqa: BLE001 - of whatever a framework calls its headers
        found = {}
        refusals.append(Refusal.UNREADABLE)
    fields = _trace(found, refusals)
    correlation_id = _correlation(found, refusals)
    if correlation_id is None:
        trace_id = fields.get("trace_id")
        correlation_id = new_id() if trace_id is None else str(trace_id)
    if not fields:
        fields = new_trace(correlation_id)
    if refusals:
        fields["refused"] = "; ".join(refusal.value for refusal in refusals)
        with _lock:
            for refusal in refusals:
                _refused[refusal.value] = _refused.get(refusal.value, 0) + 1
    return Ids(correlation_id, fields)


def outgoing(ids: Ids | None) -> dict[str, str]:
    """Headers for a request to another service."""
    if ids is None or ids.correlation_id is None or ids.trace_id is None:
        return {}
    headers = {TRACEPARENT: format_traceparent(ids.trace_id, _span_id(ids), ids.trace_flags)}
    if ids.tracestate is not None:
        headers[TRACESTATE] = ids.tracestate
    if isinstance(check_correlation_id(ids.correlation_id), str):
        headers[CORRELATION_HEADER] = ids.correlation_id
    return headers


def refused() -> dict[str, int]:
    """How often what came was not taken over, by reason."""
    with _lock:
        return dict(_refused)


def span_id_of(recording: str, event_id: int) -> str:
    """The id that a span of a recording has for other services: 16 hex digits.

    The same for whoever asks: the program that calls another service, and the reader
    that exports its trace.  ``recording`` is the trace's id and the process's name in it.
    """
    digest = blake2b(f"{recording}/{event_id}".encode(), digest_size=8).hexdigest()
    return digest if digest.strip("0") else "1".zfill(16)


def set_recording(trace_id: str, process: str) -> None:
    """Whose event ids :func:`outgoing` meets from now on; both empty: nobody's."""
    global _recording  # noqa: PLW0603 - one recording a process
    _recording = f"{trace_id}/{process}" if trace_id else ""


def _span_id(ids: Ids) -> str:
    """The innermost span of the trace that is open here; where there is none, the caller's.

    Who begins a trace and records no span has to name some id all the same.
    """
    span = current_span()
    if _recording and span not in (0, ids.outer_span):
        return span_id_of(_recording, span)
    return ids.parent_span_id or os.urandom(8).hex()


def _found(headers: Headers) -> dict[str, list[str]]:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        key = _text(name).lower()
        # None is what a mapping's get() gave for a header that is not there.
        if key in (TRACEPARENT, TRACESTATE, CORRELATION) and value is not None:
            found.setdefault(key, []).append(_text(value))
    return found


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, str):
        return value
    raise TypeError("a header is text")


def _trace(found: dict[str, list[str]], refusals: list[Refusal]) -> dict[str, object]:
    parents = found.get(TRACEPARENT, [])
    states = found.get(TRACESTATE, [])
    if not parents:
        if states:
            refusals.append(Refusal.TRACESTATE_ALONE)
        return {}
    parent = (
        parse_traceparent(parents[0]) if len(parents) == 1 else Refusal.TRACEPARENT_DUPLICATE
    )  # fmt: skip
    if isinstance(parent, Refusal):
        refusals.append(parent)
        return {}
    fields: dict[str, object] = {
        "trace_id": parent.trace_id,
        "parent_span_id": parent.parent_id,
        "trace_flags": parent.flags,
    }
    if states:
        state, refusal = parse_tracestate(states)
        if state is not None:
            fields["tracestate"] = state
        if refusal is not None:
            refusals.append(refusal)
    return fields


def _correlation(found: dict[str, list[str]], refusals: list[Refusal]) -> str | None:
    values = found.get(CORRELATION, [])
    if not values:
        return None
    value = check_correlation_id(values[0]) if len(values) == 1 else Refusal.CORRELATION_DUPLICATE
    if isinstance(value, Refusal):
        refusals.append(value)
        return None
    return value
