"""Events that are used again: the making of one costs more than its record."""

from __future__ import annotations

import threading

from gpu_narration.cuda.backend import Backend, CudaError, Event

#: Events per device; beyond this an interval is refused, not waited for.
POOL_LIMIT = 4096


class EventPool:
    """The events of one device.  Safe from any thread; taking a free one takes no lock.

    An event is in one hand at a time: a taker's, until it is given back.
    """

    __slots__ = ("_backend", "_device", "_free", "_limit", "_lock", "_made", "_open")

    def __init__(self, backend: Backend, device: int, limit: int = POOL_LIMIT) -> None:
        self._backend = backend
        self._device = device
        self._limit = limit
        self._free: list[Event] = []
        self._made = 0
        self._open = True
        self._lock = threading.RLock()

    @property
    def made(self) -> int:
        """How many events there are, in the pool and in hands."""
        return self._made

    @property
    def idle(self) -> int:
        """How many of them can be taken."""
        return len(self._free)

    def take(self) -> Event | None:
        """An event, or None if the pool is exhausted or closed.  Raises CudaError."""
        try:
            return self._free.pop()
        except IndexError:
            return self._make()

    def give_back(self, event: Event) -> None:
        """Only an event that was read, or whose record nobody waits for."""
        if self._open:
            self._free.append(event)
        else:
            self._destroy(event)

    def close(self) -> None:
        """Destroys the free events now, and those in hands when they are given back."""
        self._open = False
        while self._free:
            self._destroy(self._free.pop())

    def forget(self) -> None:
        """Lets go of all events without a call: their context is gone, and they with it."""
        with self._lock:
            self._open = False
            self._made = 0
        self._free.clear()

    def _make(self) -> Event | None:
        with self._lock:
            if not self._open or self._made >= self._limit:
                return None
            self._made += 1
        try:
            return self._backend.event_create(self._device)
        except CudaError:
            with self._lock:
                self._made -= 1
            raise

    def _destroy(self, event: Event) -> None:
        with self._lock:
            if self._made == 0:
                return  # forgotten
            self._made -= 1
        try:
            self._backend.event_destroy(event)
        except CudaError:
            # Nobody can use it any more, and the first refusal says what the rest would.
            self.forget()
