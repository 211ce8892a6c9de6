"""What spans with ``gpu=True`` or ``vram=True`` do at their edges."""

from __future__ import annotations

import sys

from gpu_narration.cuda.backend import Backend, CudaError, NoContextError
from gpu_narration.cuda.intervals import Interval
from gpu_narration.cuda.scope_memory import Edge, ScopeMemory
from gpu_narration.cuda.session import GPU, VRAM, Session


class Token:
    """What an open span that looks at memory keeps until its end."""

    __slots__ = ("hook", "interval", "memory")

    def __init__(self, hook: ScopeHook, interval: Interval | None, memory: Edge | None) -> None:
        self.hook = hook
        self.interval = interval
        self.memory = memory


class ScopeHook:
    """The core calls ``enter`` and ``exit``; an exception here is contained there."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.memory = ScopeMemory(session)

    def enter(self, event_id: int, flags: int, stream: object) -> Interval | Token | None:
        interval = None
        if flags & GPU:
            interval = self._session.open_interval(event_id, stream, scope=True)
        if not flags & VRAM:
            return interval
        return Token(self, interval, self._memory(event_id, interval, stream))

    def exit(self, token: Interval | Token | None, event_id: int) -> None:
        """``token`` may be of an earlier recording's hook: what it opened is closed there."""
        if token is None:
            return
        if isinstance(token, Interval):
            self._session.close_interval(token)
            return
        # The event first: what is read afterwards must not count as GPU time.
        if token.interval is not None:
            self._session.close_interval(token.interval)
        if token.hook is self and token.memory is not None:
            self.memory.end(event_id, token.memory)

    def _memory(self, event_id: int, interval: Interval | None, stream: object) -> Edge | None:
        backend = self._backend()
        try:
            device = _device(backend, interval, stream)
        except NoContextError:
            return self.memory.begin(event_id, None, 0)
        except (CudaError, TypeError) as error:
            self.memory.unknown(event_id, str(error))
            return None
        return self.memory.begin(event_id, backend, device)

    def _backend(self) -> Backend | None:
        """The backend if the program uses a GPU; asking must not be its first contact."""
        if self._session.simulated or self._session.chosen or "cupy" in sys.modules:
            return self._session.backend
        return None


def _device(backend: Backend | None, interval: Interval | None, stream: object) -> int:
    """The device of the span's stream; the first where nothing can tell."""
    if interval is not None:
        return interval.stream.device
    return 0 if backend is None else backend.stream_of(stream).device
