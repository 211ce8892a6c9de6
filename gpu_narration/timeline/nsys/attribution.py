"""Whose the CUDA calls are: the ranges that were open round them.

NVTX ranges that are pushed and popped are a thread's own and hold every call of the
thread between their edges; the innermost is the one that began last.  Start/end ranges
belong to a process.  They hold a call if the calling thread began or ended them; where
two of those overlap without nesting, which one the call belongs to cannot be known, and
neither holds it.  A call that nothing holds belongs to the start/end range of another
thread if that is the only one open in its process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

from gpu_narration.nsight import schema
from gpu_narration.nsight.rows import CallRow, Launch, RangeRow
from gpu_narration.timeline.nsys import reasons
from gpu_narration.timeline.nsys.paths import Paths

_NEVER = 1 << 63


class Identity(NamedTuple):
    """An event of ours: the index of its process in the trace, and its id."""

    process: int
    event: int


class Listener(Protocol):
    """Is told what passes by."""

    def range_seen(self, row: RangeRow, name: int, *, outermost: bool) -> None:
        """A range began; ``outermost`` if none of its name was open in its thread."""

    def call_seen(self, row: CallRow, path: int) -> None:
        """A call was made in a path."""


class Ours(Protocol):
    """What a trace of ours knows of ranges and events."""

    def identify(self, row: RangeRow) -> Identity | None:
        """The event that a range or mark stands for; None if it is none of ours."""

    def is_launch(self, mark: Identity) -> bool:
        """Whether a mark is that of a launch."""

    def parent(self, event: Identity) -> Identity | None:
        """The span that an event happened in."""

    def is_inside(self, inner: Identity, outer: Identity) -> bool:
        """Whether a span lies in another one."""


class _Open(NamedTuple):
    """A range that is open in the thread that is being looked at."""

    start_ns: int
    end_ns: int
    spanning: bool
    own: bool
    name: int
    identity: Identity | None


class _Owner(NamedTuple):
    """What holds calls at a moment."""

    path: int
    identity: Identity | None
    reason: str | None


class _Mark(NamedTuple):
    """A mark of ours, and the innermost span of ours when it was made."""

    mark: Identity
    inside: Identity | None


class Attribution:
    """Finds the owner of each call, in one pass over ranges and calls.

    ``label`` gives the name that ranges go by, ``call_name`` that of a call's string id.
    """

    def __init__(
        self,
        paths: Paths,
        listener: Listener,
        *,
        label: Callable[[RangeRow], str],
        call_name: Callable[[int], str | None],
        ours: Ours | None = None,
    ) -> None:
        self._paths = paths
        self._listener = listener
        self._label = label
        self._call_name = call_name
        self._ours = ours
        self._launching: dict[int, bool] = {}
        self._begin_thread()

    def launches(
        self, ranges: Iterable[RangeRow], calls: Iterable[CallRow]
    ) -> Iterator[Launch]:  # fmt: skip
        """The calls that have a correlation id; both inputs by thread and start."""
        coming = iter(ranges)
        row = next(coming, None)
        thread: int | None = None
        for call in calls:
            while row is not None and (row.global_tid, row.start_ns) <= call[:2]:
                if row.global_tid != thread:
                    thread = row.global_tid
                    self._begin_thread()
                self._begin(row)
                row = next(coming, None)
            if call.global_tid != thread:
                thread = call.global_tid
                self._begin_thread()
            yield from self._call(call)
        while row is not None:
            if row.global_tid != thread:
                thread = row.global_tid
                self._begin_thread()
            self._begin(row)
            row = next(coming, None)

    def _begin_thread(self) -> None:
        self._open: list[_Open] = []
        self._next_end_ns = _NEVER
        self._owner: _Owner | None = None
        self._note: _Mark | None = None
        self._launch: _Mark | None = None

    def _begin(self, row: RangeRow) -> None:
        self._close(row.start_ns)
        identity = self._ours.identify(row) if self._ours is not None else None
        if row.kind == schema.MARK:
            if identity is not None and self._ours is not None:
                mark = _Mark(identity, self._held().identity)
                if self._ours.is_launch(identity):
                    self._launch = mark
                else:
                    self._note = mark
            return
        name = self._paths.name(self._label(row))
        spanning = row.kind == schema.START_END
        if row.begun_on == row.global_tid:
            outermost = all(other.name != name or not other.own for other in self._open)
            self._listener.range_seen(row, name, outermost=outermost)
        own = not spanning or row.global_tid in (row.begun_on, row.end_tid)
        end_ns = _NEVER if row.end_ns is None else row.end_ns
        self._open.append(_Open(row.start_ns, end_ns, spanning, own, name, identity))
        self._next_end_ns = min(self._next_end_ns, end_ns)
        self._owner = None

    def _close(self, now_ns: int) -> None:
        """Forgets ranges that ended; a range is over at its end."""
        if now_ns < self._next_end_ns:
            return
        self._open = [one for one in self._open if one.end_ns > now_ns]
        self._next_end_ns = min((one.end_ns for one in self._open), default=_NEVER)
        self._owner = None

    def _call(self, call: CallRow) -> Iterator[Launch]:
        self._close(call.start_ns)
        owner = self._held()
        self._listener.call_seen(call, owner.path)
        launch = self._marked_launch(call, owner)
        if not isinstance(call.correlation, int):
            return
        identity, reason = owner.identity, owner.reason
        if launch is not None and self._ours is not None:
            # The launch's own record says where it happened.
            identity, reason = self._ours.parent(launch), None
        note = self._note
        yield Launch(
            call.correlation,
            call.global_tid & ~schema.TID_MASK,
            call.start_ns,
            call.end_ns,
            call.name,
            owner.path,
            (launch or identity or (None, None))[0],
            identity.event if identity is not None else None,
            launch.event if launch is not None else None,
            note.mark.event if note is not None and note.inside == owner.identity else None,
            reason,
        )

    def _marked_launch(self, call: CallRow, owner: _Owner) -> Identity | None:
        """The launch that was marked right before; a mark is good for one launching call."""
        marked = self._launch
        if marked is None or not self._launches_work(call.name):
            return None
        self._launch = None
        return marked.mark if marked.inside == owner.identity else None

    def _launches_work(self, name: int | None) -> bool:
        if name is None:
            return False
        known = self._launching.get(name)
        if known is None:
            known = self._launching[name] = "Launch" in (self._call_name(name) or "")
        return known

    def _held(self) -> _Owner:
        if self._owner is None:
            self._owner = self._find_owner()
        return self._owner

    def _find_owner(self) -> _Owner:
        pushed = [one for one in self._open if not one.spanning]
        spanning = [one for one in self._open if one.spanning and one.own]
        nested = self._nested(spanning)
        ambiguous = len(nested) < len(spanning)
        if not pushed and not spanning:
            foreign = [one for one in self._open if not one.own]
            nested = foreign if len(foreign) == 1 else []
            ambiguous = len(foreign) > 1
        holding = sorted([*pushed, *nested], key=lambda one: one.start_ns)
        if not holding:
            return _Owner(0, None, reasons.AMBIGUOUS if ambiguous else reasons.OUTSIDE)
        path, identity = 0, None
        for one in holding:
            path = self._paths.child(path, one.name)
            identity = one.identity or identity
        return _Owner(path, identity, None)

    def _nested(self, spanning: list[_Open]) -> list[_Open]:
        """Those that overlap no other one without nesting, by time and by what we know of them."""
        crossing: set[int] = set()
        for index, outer in enumerate(spanning):
            for later, inner in enumerate(spanning[index + 1 :], index + 1):
                if self._cross(outer, inner):
                    crossing |= {index, later}
        return [one for index, one in enumerate(spanning) if index not in crossing]

    def _cross(self, outer: _Open, inner: _Open) -> bool:
        if inner.end_ns > outer.end_ns and inner.start_ns > outer.start_ns:
            return True
        if self._ours is None or outer.identity is None or inner.identity is None:
            return False
        return not self._ours.is_inside(inner.identity, outer.identity)
