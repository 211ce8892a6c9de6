"""When the time of a scope on a default stream is not the time of its work.

A scope that asks for GPU time and names no stream is timed on the current one.  Where
that is a default stream, the pair of events brackets only what that stream waits for
(CUDA driver API, "Stream synchronization behavior"):

- The *legacy* default stream and every *blocking* stream of its device wait for each
  other, so a pair on the legacy one brackets their work too.
- It does not wait for *non-blocking* streams.  Work on one of them inside the scope lies
  outside the pair, which then reads next to nothing: the scope abstains.
- The *per-thread* default stream and the legacy one wait for each other.  Work on both
  inside one scope makes its number hold the waits of other threads: the scope abstains.
- The per-thread default stream waits for no other stream.  The scope abstains beside
  work on a non-blocking stream.
- Beside work on a stream of which the kind cannot be told, the scope abstains.

*Inside* means: while the scope was open, on its device, seen by an interval or a launch
of ours, whichever thread made it; or a library that makes its own streams was called, of
which the core counts the calls (``ffi.trace_library``) or a wrapper tells.

Everything else keeps its number, for it is right about what it says, the time elapsed
on that stream: a scope with an explicit stream, a launch, a scope on a default stream
with no such work inside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpu_narration import _core
from gpu_narration.cuda import reasons
from gpu_narration.cuda.backend import (
    LEGACY_HANDLE,
    PER_THREAD_HANDLE,
    Backend,
    CudaError,
    Stream,
    StreamKind,
)

if TYPE_CHECKING:
    from gpu_narration.cuda.intervals import Interval

DEFAULT_KINDS = {LEGACY_HANDLE: StreamKind.LEGACY, PER_THREAD_HANDLE: StreamKind.PER_THREAD}

_SPOILS = {
    (StreamKind.LEGACY, StreamKind.NON_BLOCKING): reasons.LEGACY_BESIDE_NON_BLOCKING,
    (StreamKind.LEGACY, StreamKind.PER_THREAD): reasons.PER_THREAD_BESIDE_LEGACY,
    (StreamKind.LEGACY, StreamKind.UNKNOWN): reasons.UNKNOWN_STREAM,
    (StreamKind.PER_THREAD, StreamKind.LEGACY): reasons.PER_THREAD_BESIDE_LEGACY,
    (StreamKind.PER_THREAD, StreamKind.NON_BLOCKING): reasons.PER_THREAD_BESIDE_NON_BLOCKING,
    (StreamKind.PER_THREAD, StreamKind.UNKNOWN): reasons.UNKNOWN_STREAM,
}


class DefaultScopes:
    """The open scopes on default streams, and what was seen beside them.

    Nothing is asked of the driver while there is none.  Safe from any thread.
    """

    __slots__ = ("_backend", "_foreign", "open")

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        #: Each with the kind of its stream.  While it is empty there is nothing to see.
        self.open: dict[Interval, StreamKind] = {}
        #: Each with the count of foreign calls when it began.
        self._foreign: dict[Interval, int] = {}

    def enter(self, scope: Interval) -> None:
        """A scope without an explicit stream has begun; only default streams matter."""
        kind = DEFAULT_KINDS.get(scope.stream.handle)
        if kind is not None:
            self._foreign[scope] = _core.foreign_streams()
            self.open[scope] = kind

    def leave(self, scope: Interval) -> None:
        kind = self.open.pop(scope, None)
        if kind is not None and self._foreign.pop(scope) != _core.foreign_streams():
            scope.spoiled = scope.spoiled or _SPOILS[kind, StreamKind.NON_BLOCKING]

    def saw(self, stream: Stream) -> None:
        """Work on this stream, now: spoils the scopes that do not bracket it."""
        kind = self._kind(stream)
        for scope, own in list(self.open.items()):
            if scope.stream.device == stream.device:
                scope.spoiled = scope.spoiled or _SPOILS.get((own, kind), "")

    def saw_foreign(self) -> None:
        """A library was called that puts its work on non-blocking streams of its own."""
        for scope, own in list(self.open.items()):
            scope.spoiled = scope.spoiled or _SPOILS[own, StreamKind.NON_BLOCKING]

    def _kind(self, stream: Stream) -> StreamKind:
        try:
            return DEFAULT_KINDS.get(stream.handle) or self._backend.stream_flags(stream)
        except CudaError:
            return StreamKind.UNKNOWN
