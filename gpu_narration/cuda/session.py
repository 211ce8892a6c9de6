"""The GPU side of one recording: its backend, its timer, and the hooks of spans.

The backend is chosen when it is first needed, so a program that never asks for
GPU work never touches a driver.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from gpu_narration import _core
from gpu_narration._errors import BackendUnavailableError
from gpu_narration.cuda.backend import Backend, CudaError, Device, NoBackend, choose
from gpu_narration.cuda.timing import Interval, Timer

if TYPE_CHECKING:
    from collections.abc import Callable

#: enum scope_flags in the core.
GPU, VRAM = 1, 2

_current: Session | None = None


class Session:
    """Owned by the recorder; one at a time.

    ``backend`` is a :class:`Backend`, or None with :attr:`no_backend` telling why.
    ``wake`` is called when there is something new for the watcher.
    """

    def __init__(self, backend_name: str, wake: Callable[[], None]) -> None:
        self._backend_name = backend_name
        self._wake = wake
        self._choice: Backend | NoBackend | None = None
        self._lock = threading.Lock()
        self._announced = False
        self.timer: Timer | None = None

    @property
    def simulated(self) -> bool:
        """Whether the simulator was asked for."""
        return self._backend_name == "mock"

    @property
    def chosen(self) -> bool:
        """Whether there is an answer already; asking for the backend gives one."""
        return self._choice is not None

    @property
    def backend(self) -> Backend | None:
        """The backend, chosen now if it was not; None, never an error, where there is none."""
        choice = self._choose_safely()
        return None if isinstance(choice, NoBackend) else choice

    @property
    def no_backend(self) -> str:
        """Why there is none."""
        choice = self._choose_safely()
        return choice.reason if isinstance(choice, NoBackend) else ""

    def _choose_safely(self) -> Backend | NoBackend:
        # A forked child chooses late, on the program's own path.
        try:
            return self.choose()
        except (BackendUnavailableError, CudaError) as error:
            self._choice = NoBackend(str(error))
            return self._choice

    def choose(self) -> Backend | NoBackend:
        """Chooses the backend once; raises as :func:`~gpu_narration.cuda.backend.choose`."""
        with self._lock:
            if self._choice is None:
                self._choice = choose(self._backend_name)
                if not isinstance(self._choice, NoBackend):
                    self.timer = Timer(self._choice, _core.annotate)
                self._announce()
            return self._choice

    def announce(self) -> None:
        """Notes in the trace what was chosen, if that was before the trace began."""
        with self._lock:
            self._announce()

    def open_interval(self, event_id: int, stream: object) -> Interval | None:
        """Begins timing; without a backend the event is answered with the reason."""
        if self.backend is None or self.timer is None:
            self.annotate(event_id, {"gpu_ns": None, "gpu_reason": f"no GPU: {self.no_backend}"})
            return None
        return self.timer.open(event_id, stream)

    def close_interval(self, interval: Interval) -> None:
        if self.timer is not None:
            self.timer.close(interval)
            self._wake()

    def cancel_interval(self, interval: Interval, reason: str) -> None:
        if self.timer is not None:
            self.timer.cancel(interval, reason)

    def explain(self, event_id: int, reason: str, stream: object) -> None:
        """Says of an event why it has no GPU time."""
        fields: dict[str, object] = {"gpu_ns": None, "gpu_reason": reason}
        backend = self.backend
        if backend is not None:
            try:
                target = backend.stream_of(stream)
            except (CudaError, TypeError):
                pass  # the launch itself will say what is wrong with the stream
            else:
                fields.update(stream=target.handle, device=target.device)
            if backend.simulated:
                fields["simulated"] = True
        self.annotate(event_id, fields)

    def annotate(self, event_id: int, fields: dict[str, object]) -> None:
        _core.annotate(event_id, fields)

    def finish(self, patience_s: float = 1.0) -> None:
        """Answers what the GPU finishes soon, and gives up on the rest; waits for no stream."""
        if self.timer is None:
            return
        give_up = time.monotonic() + patience_s
        while self.timer.poll() > 0 and time.monotonic() < give_up:
            time.sleep(0.001)
        self.timer.abandon("not finished when the recording ended")

    def _announce(self) -> None:
        choice = self._choice
        if choice is None or self._announced or _core.stats() is None:
            return
        self._announced = True
        if isinstance(choice, NoBackend):
            _core.note("backend", {"name": None, "reason": choice.reason})
            return
        _core.note("backend", {"name": choice.name, "simulated": choice.simulated})
        for device in choice.devices():
            note_device(device, simulated=choice.simulated)


def note_device(device: Device, *, simulated: bool) -> None:
    """Tells the trace which GPU an index means."""
    _core.note(
        "device",
        {
            "index": device.index, "uuid": device.uuid, "name": device.name,
            "pci_bus_id": device.pci_bus_id, "simulated": simulated,
        },
    )  # fmt: skip


def current() -> Session | None:
    """The session of the recording that runs."""
    return _current


def set_current(session: Session | None) -> None:
    global _current  # noqa: PLW0603 - one recording a process
    _current = session
