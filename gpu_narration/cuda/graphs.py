"""Captured graphs and the scopes whose work they repeat.

The session keeps what was seen while a stream captured; here it is handed over to
the graph, so that the graph's launches can name it.
"""

from __future__ import annotations

import contextlib
import weakref

from gpu_narration import _core
from gpu_narration.cuda import session as sessions
from gpu_narration.cuda.backend import CudaError, Stream

#: Names shown of one graph; of more, the number left out.
SCOPES_MAX = 32
NO_SCOPES = "no scope was seen at its capture"

#: Where an event id keeps its thread: gn_event_id in the core.
_THREAD_BITS = 40

_scopes: weakref.WeakKeyDictionary[object, tuple[str, ...]] = weakref.WeakKeyDictionary()


def scope_round(event_id: int) -> tuple[str, ...]:
    """The name of the innermost scope round an event, if there is one."""
    for thread, _, _, action, *_ in _core.scopes():
        if thread == event_id >> _THREAD_BITS and action is not None:
            return (action,)
    return ()


def captured_on(stream: object) -> tuple[str, ...]:
    """The scopes seen in the capture that has ended on a stream; handed out once."""
    session = sessions.current()
    backend = session.backend if session is not None else None
    if session is None or backend is None:
        return ()
    try:
        target: Stream = backend.stream_of(stream)
    except (CudaError, TypeError):
        return ()
    return session.capture_ended(target).names


def keep(graph: object, scopes: tuple[str, ...]) -> None:
    """Remembers the scopes of a graph, for as long as it lives."""
    with contextlib.suppress(TypeError):  # a type in C may refuse weak references
        _scopes[graph] = scopes


def scopes_of(graph: object) -> tuple[str, ...]:
    """The scopes of a graph, as far as they were kept."""
    try:
        return _scopes.get(graph, ())
    except TypeError:
        return ()


def fields_of(scopes: tuple[str, ...]) -> dict[str, object]:
    """What a graph's launches say of the scopes whose work they repeat."""
    if not scopes:
        return {"scopes": None, "scopes_reason": NO_SCOPES}
    more = len(scopes) - SCOPES_MAX
    text = ", ".join(scopes[:SCOPES_MAX])
    return {"scopes": f"{text} and {more} more" if more > 0 else text}
