"""The GPU side of a recording: what watches the events and the memory while it runs."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from gpu_narration import _core
from gpu_narration._errors import say
from gpu_narration.cuda import session as sessions
from gpu_narration.cuda.backend import Device
from gpu_narration.cuda.counters import counters_of
from gpu_narration.cuda.nvml import Nvml, NvmlUnavailable
from gpu_narration.cuda.scopes import ScopeHook
from gpu_narration.cuda.session import Session
from gpu_narration.cuda.vram import Read, Sampler
from gpu_narration.watcher import Watcher

#: How long the end waits for a driver, all in all; the half of it for a last reading.
_PATIENCE_S = 2.0


class GpuSide:
    """Owned by the recording, like the watcher, which ends with it.  Choosing a backend by name may raise before it begins."""

    def __init__(self, backend: str, watcher: Watcher) -> None:
        self._backend = backend
        self._watcher = watcher
        self._sampler: Sampler | None = None
        self._nvtx_domain: object = None
        #: It is known whether NVML can be read.
        self._contact = threading.Event()
        self._over = False
        self.session = Session(backend, self._wake)
        self._hook = ScopeHook(self.session)

    def begin(self, *, vram: bool, nvtx_domain: object = None) -> None:
        """Once the core records: spans and launches may ask for GPU time and memory.

        nvtx_domain: where an attached tool listens, if one does.
        """
        self._nvtx_domain = nvtx_domain
        self.session.announce()
        sessions.set_current(self.session)
        _core.set_hooks(scope_enter=self._hook.enter, scope_exit=self._hook.exit)
        if vram and self._backend not in ("none", "mock"):
            # In the watcher: making contact with a driver can take its time.
            self._watcher.add(self._watch_memory)
            return
        if not vram:
            self._hook.memory.refuse("VRAM is switched off", exact_too=True)
        elif self.session.simulated:
            self._watch_simulated_memory()
        else:
            self._hook.memory.refuse("backend none was asked for")

    def end(self) -> None:
        """While the core still records: answers what is open, and ends the watcher.

        The watcher is the one that asks the driver, to the last: a program's own
        thread never does.
        """
        patience_s = _PATIENCE_S
        if self._hook.memory.waits and not self._contact.wait(patience_s / 2):
            patience_s /= 2
        if self._sampler is not None and not self._sampler.finish(patience_s / 2):
            patience_s /= 2
        self._over = True
        timer = self.session.timer
        if timer is not None and timer.pending:
            self._wake()
        self.session.finish()
        if self._watcher.stop(patience_s):
            self.session.release()
        else:
            say("a GPU query hangs; it is left behind [watcher-hangs]")
        sessions.set_current(None)
        self._hook.memory.close()
        if self._sampler is not None:
            self._sampler.close()

    def _watch_simulated_memory(self) -> None:
        backend = self.session.backend
        assert backend is not None, "the simulator can always be had"
        sampler = self._make_sampler(backend.devices(), backend.memory_info, None)
        sampler.poll()  # costs nothing here, and the program may be short
        self._watcher.add(sampler.poll)

    def _watch_memory(self) -> float | None:
        """Finds out whether NVML can be read, and begins to sample it."""
        found: Nvml | NvmlUnavailable
        try:
            found = Nvml()
        except NvmlUnavailable as reason:
            found = reason
        if self._over:
            return None  # it took so long that the recording is over
        if isinstance(found, Nvml):
            sampler = self._make_sampler(found.devices, found.memory_info, found)
            self._watcher.add(sampler.poll)
        else:
            self._hook.memory.refuse(f"no NVML: {found}")
            _core.note("vram", {"source": None, "reason": str(found)})
        self._contact.set()
        return None

    def _make_sampler(self, devices: Sequence[Device], read: Read, nvml: Nvml | None) -> Sampler:
        sampler = Sampler(
            devices,
            read,
            nvml=nvml,
            counters=counters_of(self._nvtx_domain, simulated=nvml is None),
            wake=lambda: self._watcher.wake(sampler.poll),
        )
        sampler.describe()
        self._sampler = sampler
        self._hook.memory.attach(sampler)
        return sampler

    def _wake(self) -> None:
        self._watcher.add(self._poll_events)

    def _poll_events(self) -> float | None:
        timer = self.session.timer
        if timer is None:
            return None
        timer.poll()
        self.session.tell_new_devices()
        return timer.rest()
