"""Which of the scopes that look at memory lie inside which, and which only beside.

A scope inside another moves that one's memory too, which a reader takes off again.  Two
that overlap without being inside each other both see all that moves, and nobody can say
which of them moved it: they say so.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar
from dataclasses import dataclass, field

#: (actor, action) of a scope.
Name = tuple[str, str]

#: An event id is its thread and, in so many bits below, its place among the thread's events.
_SEQUENCE_BITS = 40


@dataclass(slots=True, eq=False)
class Place:
    """Where a scope stands among the others.  ``inner_bytes``: what those inside it took.

    ``threads``, ``tasks``: how many scopes lay beside it, of other threads and of its own.
    """

    event_id: int
    name: Name
    device: int
    outer: Place | None
    thread: int = field(default_factory=threading.get_ident)
    threads: int = 0
    tasks: int = 0
    inner_bytes: int = 0
    is_open: bool = True

    @property
    def shared(self) -> str:
        """What cannot be told apart, in words; empty where everything can."""
        told = []
        for count, whose in ((self.threads, "thread"), (self.tasks, "task")):
            if count == 1:
                told.append(f"1 scope of another {whose} was open")
            elif count:
                told.append(f"{count} scopes of other {whose}s were open")
        return "; ".join(told)

    def around(self) -> Place | None:
        """The nearest scope round it that looks at the same device."""
        place = self.outer
        while place is not None and place.device != self.device:
            place = place.outer
        return place


_innermost: ContextVar[Place | None] = ContextVar("gpu_narration_memory_scope", default=None)


class Nesting:
    """Knows the open scopes that look at memory.  Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._open: dict[int, Place] = {}

    def enter(self, event_id: int, name: Name, device: int, parent: int) -> Place:
        """At the beginning of a scope, in its thread; ``parent``: the span round it, or 0."""
        with self._lock:
            place = Place(event_id, name, device, self._outer(parent))
            around = _chain(place)
            for other in self._open.values():
                if other.device == device and other not in around:
                    _count(place, other)
                    _count(other, place)
            self._open[event_id] = place
        _innermost.set(place)
        return place

    def leave(self, place: Place) -> None:
        """At its end, in whatever thread that is."""
        with self._lock:
            self._open.pop(place.event_id, None)
            place.is_open = False
        # By value: a generator may be closed in another context than it began in.
        if _innermost.get() is place:
            _innermost.set(place.outer)

    def open_on(self, device: int) -> list[Place]:
        """The open scopes that look at a device, in the order they began."""
        with self._lock:
            return [place for place in self._open.values() if place.device == device]

    def _outer(self, parent: int) -> Place | None:
        """The nearest open scope round a span.

        Between them there may be spans that do not look at memory and are not known
        here, so the context tells.  It may also hold a suspended generator's scope,
        which is no ancestor if it began after the span.
        """
        if parent == 0:
            return None
        place = self._open.get(parent) or _innermost.get()
        while place is not None and not self._is_round(place, parent):
            place = place.outer
        return place

    def _is_round(self, place: Place, span: int) -> bool:
        """Whether it can be an ancestor; one of an earlier recording, or of a parent process, cannot."""
        return self._open.get(place.event_id) is place and _not_after(place.event_id, span)


def _chain(place: Place) -> list[Place]:
    chain = []
    outer = place.outer
    while outer is not None:
        chain.append(outer)
        outer = outer.outer
    return chain


def _count(place: Place, other: Place) -> None:
    if place.thread == other.thread:
        place.tasks += 1
    else:
        place.threads += 1


def _not_after(event_id: int, other: int) -> bool:
    """Whether an event is not known to be later than another."""
    return event_id >> _SEQUENCE_BITS != other >> _SEQUENCE_BITS or event_id <= other
