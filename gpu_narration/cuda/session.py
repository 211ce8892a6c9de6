"""The GPU side of one recording: its backend, its timer, and the hooks of spans.

The backend is chosen when it is first needed, so a program that never asks for
GPU work never touches a driver.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING

from gpu_narration import _core
from gpu_narration._errors import BackendUnavailableError
from gpu_narration.cuda import reasons
from gpu_narration.cuda.backend import Backend, CudaError, Device, NoBackend, Stream, choose
from gpu_narration.cuda.captured import Captured
from gpu_narration.cuda.intervals import Interval
from gpu_narration.cuda.timing import Timer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: enum scope_flags in the core.
GPU, VRAM = 1, 2

#: How long the end of a recording waits for work on the GPU, in seconds.
FINISH_PATIENCE_S = 1.0

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
        # As all locks here: a finaliser or a signal handler may time a span in the midst of it.
        self._lock = threading.RLock()
        self._announced = False
        #: Indices of the devices that the trace knows.
        self._told: set[int] = set()
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
        if self._choice is not None:
            return self._choice
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
                    self.timer = Timer(
                        self._choice,
                        _core.annotate,
                        clock=getattr(self._choice, "host_clock_ns", time.monotonic_ns),
                        wake=self._wake,
                        name_of=scope_name,
                    )
                self._announce()
            return self._choice

    def announce(self) -> None:
        """Notes in the trace what was chosen, if that was before the trace began."""
        with self._lock:
            self._announce()

    # ---- intervals ----

    def open_interval(
        self, event_id: int, stream: object, *, scope: bool = False
    ) -> Interval | None:
        """Begins timing; None if the event was answered with a reason instead.

        ``scope``: of a stretch of the program, not of one launch; see
        :meth:`Timer.open`.
        """
        timer = self.timer or self._timer()
        if timer is None:
            self.annotate(event_id, {"gpu_ns": None, "gpu_reason": reasons.no_gpu(self.no_backend)})
            return None
        return timer.open(event_id, stream, scope=scope)

    def close_interval(self, interval: Interval) -> None:
        """The interval may be of an earlier recording: then nothing is told."""
        interval.home.timer.close(interval)

    def cancel_interval(self, interval: Interval, reason: str) -> None:
        interval.home.timer.cancel(interval, reason)

    def saw_work(self, stream: Stream) -> None:
        """Work that is not timed was put on this stream."""
        if self.timer is not None:
            self.timer.saw(stream)

    def saw_foreign_work(self) -> None:
        """A library was called that puts its work on non-blocking streams of its own.

        Open scopes on a default stream then have no number; :mod:`default_streams`
        says why.
        """
        if self.timer is not None:
            self.timer.saw_foreign()

    def annotate(self, event_id: int, fields: dict[str, object]) -> None:
        _core.annotate(event_id, fields)

    # ---- captures ----

    def capture_seen(self, stream: Stream, event_id: int, names: Iterable[str] = ()) -> None:
        """An event has no time because its work went into the capture on this stream.

        Intervals refused for it are kept by themselves; telling of one again gives it
        its names.
        """
        if self.timer is not None:
            self.timer.captures.seen(stream, event_id, names)

    def capture_ended(self, stream: Stream) -> Captured:
        """What the capture that began on this stream has left untimed; handed out once."""
        if self.timer is None:
            return Captured((), (), 0)
        return self.timer.captures.ended(stream)

    # ---- the end ----

    def finish(self) -> None:
        """Waits a little for what the watcher still answers, and gives up on the rest.

        It waits for no stream, and asks the driver nothing.
        """
        timer = self.timer
        if timer is None:
            return
        give_up = time.monotonic() + FINISH_PATIENCE_S
        while timer.pending and time.monotonic() < give_up:
            time.sleep(0.001)
        timer.abandon(reasons.NOT_FINISHED)

    def release(self) -> None:
        """After :meth:`finish`: destroys the events and streams that were made."""
        if self.timer is not None:
            self.timer.release()

    def disown(self) -> None:
        """In a forked child: what there is belongs to the parent."""
        if self.timer is not None:
            self.timer.disown()

    # ---- within ----

    def _timer(self) -> Timer | None:
        self._choose_safely()
        return self.timer

    def _announce(self) -> None:
        choice = self._choice
        if choice is None or self._announced or _core.stats() is None:
            return
        self._announced = True
        if isinstance(choice, NoBackend):
            _core.note("backend", {"name": None, "reason": choice.reason})
            return
        _core.note("backend", {"name": choice.name, "simulated": choice.simulated})
        self._tell_devices(choice)

    def tell_new_devices(self) -> None:
        """Notes devices in the trace that could not be known when the backend was chosen.

        For the watcher: a program may initialise CUDA long after the recording began.
        """
        choice, timer = self._choice, self.timer
        if timer is None or choice is None or isinstance(choice, NoBackend):
            return
        if not self._told.issuperset(timer.devices()):
            with contextlib.suppress(CudaError), self._lock:  # its intervals say what is wrong
                self._tell_devices(choice)

    def _tell_devices(self, backend: Backend) -> None:
        for device in backend.devices():
            if device.index not in self._told:
                self._told.add(device.index)
                note_device(device, simulated=backend.simulated)


def scope_name(event_id: int) -> str | None:
    """The name of a span, if it is the innermost open one of its thread."""
    for _, span_id, _, name, *_ in _core.scopes():
        if span_id == event_id:
            return name
    return None


def note_device(device: Device, *, simulated: bool) -> None:
    """Tells the trace which GPU an index means."""
    _core.note(
        "device",
        {
            "index": device.index, "uuid": device.uuid, "name": device.name,
            "pci_bus_id": device.pci_bus_id, "simulated": simulated,
        },
    )  # fmt: skip


def _after_fork_in_child() -> None:
    if _current is not None:
        _current.disown()


os.register_at_fork(after_in_child=_after_fork_in_child)


def current() -> Session | None:
    """The session of the recording that runs."""
    return _current


def set_current(session: Session | None) -> None:
    global _current  # noqa: PLW0603 - one recording a process
    _current = session
