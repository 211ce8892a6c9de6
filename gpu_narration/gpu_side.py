"""The GPU side of a recording: what watches the events and the memory while it runs."""

from __future__ import annotations

from gpu_narration import _core
from gpu_narration._errors import say
from gpu_narration.cuda import session as sessions
from gpu_narration.cuda.nvml import Nvml, NvmlUnavailable
from gpu_narration.cuda.scopes import ScopeHook
from gpu_narration.cuda.session import Session, note_device
from gpu_narration.cuda.vram import Sampler
from gpu_narration.watcher import Watcher


class GpuSide:
    """Owned by the recording, like the watcher, which ends with it.  Choosing a backend by name may raise before it begins."""

    def __init__(self, backend: str, watcher: Watcher) -> None:
        self._backend = backend
        self._watcher = watcher
        self._sampler: Sampler | None = None
        self._ended = False
        self.session = Session(backend, self._wake)
        self._hook = ScopeHook(self.session)

    def begin(self, *, vram: bool) -> None:
        """Once the core records: spans and launches may ask for GPU time and memory."""
        self.session.announce()
        sessions.set_current(self.session)
        _core.set_hooks(scope_enter=self._hook.enter, scope_exit=self._hook.exit)
        if vram and self._backend not in ("none", "mock"):
            # In the watcher: making contact with a driver can take its time.
            self._watcher.add(self._watch_memory)
            return
        self._hook.contact.set()
        if not vram:
            self._hook.no_memory = "VRAM is switched off"
            self._hook.may_read = False
        elif self.session.simulated:
            self._watch_simulated_memory()
        else:
            self._hook.no_memory = "backend none was asked for"

    def end(self) -> None:
        """While the core still records: answers what is open, and ends the watcher.

        The watcher is the one that asks the driver, to the last: a program's own
        thread never does.
        """
        self._ended = True
        timer = self.session.timer
        if timer is not None and timer.pending:
            self._wake()
        self.session.finish()
        if self._watcher.stop():
            self.session.release()
        else:
            say("a GPU query hangs; it is left behind [watcher-hangs]")
        sessions.set_current(None)
        if self._sampler is not None:
            self._sampler.close()
            _core.note(
                "vram_cost",
                {"samples": self._sampler.samples, "cost_ns": self._sampler.cost_ns},
            )

    def _watch_simulated_memory(self) -> None:
        backend = self.session.backend
        assert backend is not None, "the simulator can always be had"
        _core.note("vram", {"source": "simulated"})
        sampler = Sampler(backend.devices(), backend.memory_info, simulated=True)
        sampler.poll()  # costs nothing here, and the program may be short
        self._sample(sampler)

    def _watch_memory(self) -> float | None:
        """Finds out whether NVML can be read, and begins to sample it."""
        hook = self._hook
        try:
            nvml = Nvml()
            hook.sampled = nvml.memory_info
        except NvmlUnavailable as reason:
            hook.no_memory = f"no NVML: {reason}"
            _core.note("vram", {"source": None, "reason": str(reason)})
            return None
        finally:
            hook.contact.set()
        if self._ended:
            return None  # it took so long that the recording is over
        _core.note("vram", {"source": "NVML", "memory_version": nvml.memory_version})
        for device in nvml.devices:
            note_device(device, simulated=False)
        self._sample(Sampler(nvml.devices, nvml.memory_info))
        return None

    def _sample(self, sampler: Sampler) -> None:
        self._sampler = self._hook.sampler = sampler
        self._watcher.add(sampler.poll)

    def _wake(self) -> None:
        self._watcher.add(self._poll_events)

    def _poll_events(self) -> float | None:
        timer = self.session.timer
        if timer is None:
            return None
        timer.poll()
        self.session.tell_new_devices()
        return timer.rest()
