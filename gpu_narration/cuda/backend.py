"""What this package asks of a GPU, and how a backend is chosen.

A backend is a thin, stateless view of one CUDA API.  Everything that is clever
(pools, resolving, attribution) stands on these few calls, so it runs the same on
the simulator as on a GPU.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from gpu_narration._errors import BackendUnavailableError, UnknownBackendError

BACKENDS = ("auto", "cupy", "mock", "none")
VARIABLE = "GPU_NARRATION_BACKEND"


class CudaError(Exception):
    """An error of the CUDA API: its number and its name, as the API gives them."""

    def __init__(self, code: int, name: str, meaning: str = "") -> None:
        self.code = code
        self.name = name
        self.meaning = meaning
        super().__init__(f"{name} ({code}){': ' + meaning if meaning else ''}")


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU as the program sees it: ``index`` counts visible devices."""

    index: int
    uuid: str
    pci_bus_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream: its raw handle (0 is the legacy default stream) and its device."""

    handle: int
    device: int


@dataclass(frozen=True, slots=True)
class MemoryInfo:
    """Device memory.  ``source`` says what the numbers are good for.

    ``exact``: read from the driver in that moment.  ``sampled``: read by NVML
    now and then.  ``reserved_bytes`` is None where the source does not tell it.
    """

    total_bytes: int
    used_bytes: int
    free_bytes: int
    reserved_bytes: int | None
    source: Literal["exact", "sampled"]


#: A handle to an event of the backend that made it.
Event = int


class Backend(Protocol):
    """The calls; each may raise :class:`CudaError`, none may synchronise.

    ``elapsed_ns`` is what the event pair measures, *elapsed on stream*: the time
    between the two records on their stream, not the time of a kernel.
    """

    name: str
    #: True where no GPU is involved; everything recorded through it says so.
    simulated: bool

    def devices(self) -> Sequence[Device]: ...

    def stream_of(self, stream: object) -> Stream:
        """The stream behind an object of the program; None means the current one.

        Raises TypeError for what is no stream.
        """

    def is_capturing(self, stream: Stream) -> bool:
        """Whether any capture status but *none* holds: then nothing may be recorded."""

    def event_create(self, device: int) -> Event: ...

    def event_record(self, event: Event, stream: Stream) -> None: ...

    def event_query(self, event: Event) -> bool:
        """Whether all work before the record has finished."""

    def event_elapsed_ns(self, start: Event, stop: Event, device: int) -> int: ...

    def event_destroy(self, event: Event) -> None: ...

    def memory_info(self, device: int) -> MemoryInfo: ...


@dataclass(frozen=True, slots=True)
class NoBackend:
    """Why there is no GPU here."""

    reason: str


def check_name(name: str) -> None:
    """Raises :class:`UnknownBackendError` for a name that is none of :data:`BACKENDS`."""
    if name not in BACKENDS:
        raise UnknownBackendError(
            f"there is no backend {name!r}",
            meaning=f"known are {', '.join(BACKENDS)}",
            next_step=f"give one of them to start(backend=...) or {VARIABLE}",
        )


def choose(name: str) -> Backend | NoBackend:
    """Makes the backend of that name.

    ``auto`` takes CuPy where it finds a GPU and otherwise none, with the reason;
    never the simulator.  Raises :class:`BackendUnavailableError` where a backend
    asked for by name cannot work.
    """
    check_name(name)
    if name == "none":
        return NoBackend("backend none was asked for")
    if name == "mock":
        from gpu_narration.cuda.mock_backend import MockBackend

        return MockBackend()
    backend = _cupy()
    if isinstance(backend, NoBackend) and name == "cupy":
        raise BackendUnavailableError(
            f"the cupy backend cannot work here: {backend.reason}",
            next_step="install CuPy with pip install 'gpu-narration[cuda12]' (or cuda13) on a "
            "machine with an NVIDIA driver, or ask for mock to simulate",
        )
    return backend


def _cupy() -> Backend | NoBackend:
    if importlib.util.find_spec("cupy") is None:
        return NoBackend("CuPy is not installed")
    from gpu_narration.cuda.cupy_backend import CupyBackend

    try:
        return CupyBackend()
    except (CudaError, ImportError, OSError) as error:
        return NoBackend(f"CuPy finds no usable GPU: {error}")
