"""The ids of a context: one immutable object, and how new ids are made."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any, Self

from gpu_narration._core import correlation_variable, set_hooks

#: Fields that say where in a distributed trace the work stands; the rest are ids of ours.
TRACE_FIELDS = ("trace_id", "parent_span_id", "trace_flags", "tracestate", "refused")

#: Flags of W3C Trace Context: recorded, and the right half of the trace id is random.
SAMPLED, RANDOM = 1, 2


class Ids(str):
    """What the work of a context belongs to.

    As text it is the correlation id, "" where there is none.  The core knows this type
    by its identity: ``fields`` is written into a trace once, when the first event of the
    context is, and joined to all its events by the reader.  Two contexts are two objects,
    so neither takes the other's fields, whatever their texts are.  Never changed once made.
    """

    __slots__ = ("fields", "outer_span")

    #: By name: trace_id, parent_span_id, trace_flags, tracestate, session_id, job_id, …
    fields: dict[str, object]
    #: Event id of the span that was open when this trace was entered here; 0 for none.
    outer_span: int

    def __new__(
        cls,
        correlation_id: str = "",
        fields: Mapping[str, object] | None = None,
        outer_span: int = 0,
    ) -> Self:
        made = super().__new__(cls, correlation_id)
        made.fields = {} if fields is None else dict(fields)
        made.outer_span = outer_span
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        # In another process our event ids mean nothing.
        return Ids, (str(self), self.fields)

    @property
    def correlation_id(self) -> str | None:
        return str(self) or None

    @property
    def trace_id(self) -> str | None:
        """32 hex digits, as in ``traceparent``."""
        return self._text("trace_id")

    @property
    def parent_span_id(self) -> str | None:
        """16 hex digits: the caller's span, in another process; None where the trace began here."""
        return self._text("parent_span_id")

    @property
    def tracestate(self) -> str | None:
        return self._text("tracestate")

    @property
    def trace_flags(self) -> int:
        flags = self.fields.get("trace_flags")
        return flags if isinstance(flags, int) else 0

    @property
    def refused(self) -> str | None:
        """Why incoming headers were not taken over, by reason; None if they were."""
        return self._text("refused")

    @property
    def others(self) -> dict[str, object]:
        """The ids beside correlation and trace: job_id, session_id, …"""
        return {name: value for name, value in self.fields.items() if name not in TRACE_FIELDS}

    def _text(self, name: str) -> str | None:
        value = self.fields.get(name)
        return value if isinstance(value, str) else None


set_hooks(ids=Ids)


def current_ids() -> Ids | None:
    """What is set here; None outside of all contexts.

    Not to be asked for its truth: ids without a correlation are an empty text.
    """
    value = correlation_variable.get(None)
    if value is None or type(value) is Ids:
        return value
    return Ids(value)  # set past us


def ids_here() -> Ids:
    """What is set here, without anything in it outside of all contexts."""
    ids = current_ids()
    return Ids() if ids is None else ids


def new_id() -> str:
    """A UUIDv7: 48 bits of Unix time in ms, 12 of its fraction, 62 random ones.

    RFC 9562, 5.7; the fraction is its method 3, so that ids sort by time within a ms.
    """
    ms, rest = divmod(time.time_ns(), 1_000_000)
    tail = int.from_bytes(os.urandom(8), "big")
    number = (ms & (1 << 48) - 1) << 80 | 7 << 76 | (rest * 4096 // 1_000_000) << 64
    digits = f"{number | 2 << 62 | tail >> 2:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def new_trace(correlation_id: str) -> dict[str, object]:
    """The fields of a trace that begins here.

    A UUIDv7 of ours is the trace id as well: its right half is random, as W3C Trace
    Context, level 2, asks of an id with the flag for that.
    """
    digits = correlation_id.replace("-", "") if _is_new_id(correlation_id) else None
    return {"trace_id": digits or os.urandom(16).hex(), "trace_flags": SAMPLED | RANDOM}


def _is_new_id(text: str) -> bool:
    return len(text) == 36 and text[14] == "7" and text[8::5][:4] == "----" and _is_hex(text)


def _is_hex(text: str) -> bool:
    return set(text) <= set("0123456789abcdef-")
