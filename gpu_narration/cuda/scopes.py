"""What spans with ``gpu=True`` or ``vram=True`` do at their edges."""

from __future__ import annotations

import contextlib
import sys
import threading

from gpu_narration.cuda.backend import Backend, CudaError, MemoryInfo, NoContextError
from gpu_narration.cuda.intervals import Interval
from gpu_narration.cuda.nvml import NvmlUnavailable
from gpu_narration.cuda.session import GPU, VRAM, Session
from gpu_narration.cuda.vram import Read, Sampler

#: How long the first span that needs NVML waits for it, all in all.
CONTACT_PATIENCE_S = 1.0


class Token:
    """What an open span that looks at memory keeps until its end."""

    __slots__ = ("before", "device", "hook", "interval")

    def __init__(self, hook: ScopeHook, interval: Interval | None) -> None:
        self.hook = hook
        self.interval = interval
        self.device = 0
        self.before: MemoryInfo | None = None


class ScopeHook:
    """The core calls ``enter`` and ``exit``; an exception here is contained there.

    ``sampled`` and ``sampler`` are set by the recorder once NVML can be read, and
    ``contact`` once it is known whether it can.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.sampled: Read | None = None
        self.no_memory = "NVML has not answered"
        #: False: memory was not to be looked at.
        self.may_read = True
        self.sampler: Sampler | None = None
        self.contact = threading.Event()
        self._patience_s = CONTACT_PATIENCE_S

    def enter(self, event_id: int, flags: int, stream: object) -> Interval | Token | None:
        interval = None
        if flags & GPU:
            interval = self._session.open_interval(event_id, stream, scope=True)
        if not flags & VRAM:
            return interval
        token = Token(self, interval)
        try:
            token.device = self._device(interval, stream)
        except (CudaError, TypeError) as error:
            self._unknown(event_id, error)
        else:
            token.before = self._memory(event_id, token.device)
        return token

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
        if token.hook is not self or token.before is None:
            return
        after = self._memory(event_id, token.device)
        if after is None:
            return
        fields: dict[str, object] = {
            "vram_before_bytes": token.before.used_bytes,
            "vram_after_bytes": after.used_bytes,
            "vram_delta_bytes": after.used_bytes - token.before.used_bytes,
            "vram_source": after.source,
            "vram_device": token.device,
        }
        if self._session.simulated:
            fields["simulated"] = True
        self._session.annotate(event_id, fields)

    def _memory(self, event_id: int, device: int) -> MemoryInfo | None:
        try:
            info = self._read(device)
        except (CudaError, NvmlUnavailable) as error:
            self._unknown(event_id, error)
            return None
        if self.sampler is not None:
            self.sampler.observe(device, info)
        return info

    def _unknown(self, event_id: int, reason: Exception) -> None:
        fields: dict[str, object] = {"vram_delta_bytes": None, "vram_reason": str(reason)}
        if self._session.simulated:
            fields["simulated"] = True
        self._session.annotate(event_id, fields)

    def _device(self, interval: Interval | None, stream: object) -> int:
        """The device of the span's stream; the first where nothing can tell."""
        if interval is not None:
            return interval.stream.device
        backend = self._backend()
        if backend is not None:
            with contextlib.suppress(NoContextError):
                return backend.stream_of(stream).device
        return 0

    def _backend(self) -> Backend | None:
        """The backend if the program uses a GPU; asking must not be its first contact."""
        if self._session.simulated or self._session.chosen or "cupy" in sys.modules:
            return self._session.backend
        return None

    def _read(self, device: int) -> MemoryInfo:
        """From the driver, exactly, where the program has a backend; else from NVML."""
        backend = self._backend() if self.may_read else None
        if backend is not None:
            with contextlib.suppress(NoContextError):  # a driver tells only within one
                return backend.memory_info(device)
        if not self.contact.is_set():
            # The first span often loads the model: it is worth a wait, but only once.
            patience_s, self._patience_s = self._patience_s, 0.0
            self.contact.wait(patience_s)
        if self.sampled is None:
            raise NvmlUnavailable(self.no_memory)
        return self.sampled(device)
