"""W3C Trace Context: what its headers may hold, after levels 1 and 2 of the recommendation.

https://www.w3.org/TR/trace-context/ and https://www.w3.org/TR/trace-context-2/

Pure functions.  A header that is not valid gives a :class:`Refusal`, never an exception.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple


class Refusal(Enum):
    """Why an incoming header was not taken over."""

    TRACEPARENT_DUPLICATE = "traceparent: more than one"
    TRACEPARENT_MALFORMED = "traceparent: malformed"
    TRACEPARENT_VERSION = "traceparent: version ff"
    TRACEPARENT_ZERO_TRACE = "traceparent: trace id of zeros"
    TRACEPARENT_ZERO_PARENT = "traceparent: parent id of zeros"
    TRACESTATE_ALONE = "tracestate: without a traceparent"
    TRACESTATE_MALFORMED = "tracestate: malformed"
    TRACESTATE_DUPLICATE = "tracestate: a key twice"
    TRACESTATE_MEMBERS = "tracestate: more than 32 members"
    TRACESTATE_CUT = "tracestate: cut to 512 characters"
    CORRELATION_DUPLICATE = "x-correlation-id: more than one"
    CORRELATION_MALFORMED = "x-correlation-id: malformed"
    CORRELATION_LONG = "x-correlation-id: longer than 128 characters"
    UNREADABLE = "headers: not readable"


class TraceParent(NamedTuple):
    """A valid ``traceparent``; flags that are not defined are cleared."""

    trace_id: str
    parent_id: str
    flags: int


MEMBERS_MAX = 32
#: What has to be passed on at least; more of it is cut, by whole members.
STATE_CHARACTERS_MAX = 512
#: Members longer than this go first.
LONG_MEMBER = 128
CORRELATION_CHARACTERS_MAX = 128
#: A value past this is not even looked at: no valid one is so long.
_HEADER_CHARACTERS_MAX = 32 * (256 + 1 + 256 + 3)

#: sampled and random; the others "must be set to zero".
KNOWN_FLAGS = 0b11

_OWS = " \t"
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_KEY = re.compile(r"[a-z0-9][a-z0-9_\-*/@]{0,255}")
_VALUE = re.compile(r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")
#: What can stand in a header, a log line and a URL without quoting.
_CORRELATION = re.compile(r"[A-Za-z0-9._:/+=@~-]+")


def parse_traceparent(value: str) -> TraceParent | Refusal:
    """Parses one header value.

    Of a version after 00 the known beginning counts, if what follows is set off by a dash.
    """
    if len(value) > _HEADER_CHARACTERS_MAX:
        return Refusal.TRACEPARENT_MALFORMED
    found = _PARENT.fullmatch(value.strip(_OWS))
    if found is None:
        return Refusal.TRACEPARENT_MALFORMED
    version, trace_id, parent_id, flags, rest = found.groups()
    if version == "ff":
        return Refusal.TRACEPARENT_VERSION
    if rest is not None and version == "00":
        return Refusal.TRACEPARENT_MALFORMED
    if not trace_id.strip("0"):
        return Refusal.TRACEPARENT_ZERO_TRACE
    if not parent_id.strip("0"):
        return Refusal.TRACEPARENT_ZERO_PARENT
    return TraceParent(trace_id, parent_id, int(flags, 16) & KNOWN_FLAGS)


def format_traceparent(trace_id: str, span_id: str, flags: int) -> str:
    return f"00-{trace_id}-{span_id}-{flags & KNOWN_FLAGS:02x}"


def parse_tracestate(values: list[str]) -> tuple[str | None, Refusal | None]:
    """Joins the values of all such headers; what is passed on, and why it is not all of it."""
    if sum(map(len, values)) > _HEADER_CHARACTERS_MAX:
        return None, Refusal.TRACESTATE_MEMBERS
    members = [
        member.strip(_OWS) for value in values for member in value.split(",") if member.strip(_OWS)
    ]
    if len(members) > MEMBERS_MAX:
        return None, Refusal.TRACESTATE_MEMBERS
    keys = set()
    for member in members:
        key, equals, value = member.partition("=")
        if not equals or not _KEY.fullmatch(key) or not _VALUE.fullmatch(value):
            return None, Refusal.TRACESTATE_MALFORMED
        if key in keys:
            return None, Refusal.TRACESTATE_DUPLICATE
        keys.add(key)
    if not members:
        return None, None
    kept = _cut(members)
    return ",".join(kept) or None, None if len(kept) == len(members) else Refusal.TRACESTATE_CUT


def _cut(members: list[str]) -> list[str]:
    """Whole members, long ones left out first, then those at the end."""
    kept = list(members)
    while kept and len(",".join(kept)) > STATE_CHARACTERS_MAX:
        long = [i for i, member in enumerate(kept) if len(member) > LONG_MEMBER]
        del kept[long[-1] if long else -1]
    return kept


def check_correlation_id(value: str) -> str | Refusal:
    """An ``X-Correlation-Id``: 1 to 128 of A-Z a-z 0-9 . _ : / + = @ ~ -"""
    value = value.strip(_OWS)
    if len(value) > CORRELATION_CHARACTERS_MAX:
        return Refusal.CORRELATION_LONG
    return value if _CORRELATION.fullmatch(value) else Refusal.CORRELATION_MALFORMED
