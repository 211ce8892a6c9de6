"""Which span of this process a change of memory is said to be in.

The innermost open one: of the spans that are open now, one a thread, the one whose
thread recorded something last.  That is where, not why: with several threads another
one may have moved the memory (``open_scopes`` counts them), and a reading every now
and then may find what happened before the span began (``newer``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gpu_narration import _core

#: An event id is its thread and, in so many bits below, its place among the thread's events.
_SEQUENCE_BITS = 40

#: Of threads with open spans: the sequence number that the next event gets.
Sequences = Mapping[int, int]


@dataclass(frozen=True, slots=True)
class OpenScope:
    """An open span.  ``name`` is None where only its id is known.

    ``newer``: it began after the moment whose sequences were given.
    ``correlation``: as :func:`_core.emit` takes it.
    """

    span: int
    name: str | None
    correlation: int
    newer: bool
    open_scopes: int


def sequences() -> Sequences:
    """What marks this moment, to be compared with later ones."""
    return {thread: sequence for thread, _, _, _, _, _, sequence in _core.scopes()}


def innermost(since: Sequences, span: int | None = None) -> OpenScope | None:
    """The innermost open span, or the one with this event id; None if there is none."""
    scopes = _core.scopes()
    chosen = [scope for scope in scopes if span is None or scope[1] == span]
    if not chosen:
        return None
    _, span_id, _, name, _, correlation, _ = max(chosen, key=lambda scope: scope[4])
    # A task may run in a span that another thread has begun.
    thread, sequence = span_id >> _SEQUENCE_BITS, span_id & ((1 << _SEQUENCE_BITS) - 1)
    newer = sequence >= since.get(thread, 0)
    return OpenScope(span_id, name, correlation, newer, len({scope[1] for scope in scopes}))
