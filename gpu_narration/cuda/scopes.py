"""What spans with ``gpu=True`` or ``vram=True`` do at their edges."""

from __future__ import annotations

import sys

from gpu_narration.cuda.backend import Backend, CudaError, NoContextError
from gpu_narration.cuda.intervals import Interval
from gpu_narration.cuda.oom import PostMortem
from gpu_narration.cuda.pools import Pools
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
        self._pools: Pools | None = None
        self.memory = ScopeMemory(session, self.pools)
        self._post_mortem = PostMortem(self.memory, simulated=session.simulated)

    def enter(
        self, event_id: int, flags: int, stream: object, parent: int, actor: str, action: str
    ) -> Interval | Token | None:
        """``parent``: the event id of the span round it, 0 if there is none."""
        interval = None
        if flags & GPU:
            interval = self._session.open_interval(event_id, stream, scope=True)
        if not flags & VRAM:
            return interval
        memory = self._memory(event_id, interval, stream, parent, (actor, action))
        return Token(self, interval, memory)

    def exit(self, token: Interval | Token | None, event_id: int, failure: object = None) -> None:
        """``token`` may be of an earlier recording's hook: what it opened is closed there.

        failure: an exception that may tell of memory that ran out, or the name of a
        function that returned NULL.
        """
        # The event first: what is done afterwards must not count as GPU time.
        interval = token.interval if isinstance(token, Token) else token
        if interval is not None:
            self._session.close_interval(interval)
        edge = token.memory if isinstance(token, Token) and token.hook is self else None
        try:
            if failure is not None:
                device = None if edge is None else edge.device
                self._post_mortem.tell(event_id, failure, device, self._backend(), self.pools())
        finally:
            if edge is not None:
                self.memory.end(event_id, edge)

    def pools(self) -> Pools:
        """The caching pools that the program has."""
        if self._pools is None:
            backend = self._session.backend if self._session.simulated else None
            self._pools = Pools(getattr(backend, "gpu", None))
        return self._pools

    def _memory(
        self, event_id: int, interval: Interval | None, stream: object, parent: int,
        name: tuple[str, str],
    ) -> Edge | None:  # fmt: skip
        backend = self._backend()
        try:
            device = _device(backend, interval, stream)
        except NoContextError:
            return self.memory.begin(event_id, None, 0, parent, name)
        except (CudaError, TypeError) as error:
            self.memory.unknown(event_id, str(error))
            return None
        return self.memory.begin(event_id, backend, device, parent, name)

    def _backend(self) -> Backend | None:
        """The backend if the program uses a GPU; asking must not be its first contact."""
        session = self._session
        if session.simulated or session.chosen or "cupy" in sys.modules or _torch_uses_a_gpu():
            return session.backend
        return None


def _torch_uses_a_gpu() -> bool:
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    return cuda is not None and bool(cuda.is_initialized())


def _device(backend: Backend | None, interval: Interval | None, stream: object) -> int:
    """The device of the span's stream; the first where nothing can tell."""
    if interval is not None:
        return interval.stream.device
    return 0 if backend is None else backend.stream_of(stream).device
