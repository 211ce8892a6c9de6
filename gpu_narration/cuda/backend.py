"""What this package asks of a GPU: the few calls that everything else stands on.

A backend is a thin view of one CUDA API.  Everything that is clever (pools,
resolving, attribution) is built on these calls, so it runs the same on the
simulator as on a GPU.
"""

from __future__ import annotations

import enum
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from gpu_narration._environment import BACKEND_VARIABLE
from gpu_narration._errors import BackendUnavailableError, UnknownBackendError

BACKENDS = ("auto", "cupy", "driver", "mock", "none")

#: The handles that mean a default stream instead of naming a stream; numbers as in
#: cuda.h (CU_STREAM_LEGACY is 1, and 0 means the same to the calls made here).
LEGACY_HANDLE, PER_THREAD_HANDLE = 0, 2
LEGACY_ALIAS = 1

#: After one of these no call into the context can succeed again: cuda.h says of each
#: that the process is left inconsistent, or that the context or the driver is gone.
#: The runtime's cudaError has the same numbers.
FATAL = frozenset({
    4,    # deinitialized: the driver is shutting down
    46,   # device unavailable
    100,  # no device
    214,  # uncorrectable ECC error
    220,  # uncorrectable NVLink error
    226,  # contained hardware error
    700,  # illegal address
    702,  # launch timeout
    709,  # context is destroyed
    710,  # device-side assert
    714,  # hardware stack error
    715,  # illegal instruction
    716,  # misaligned address
    717,  # invalid address space
    718,  # invalid program counter
    719,  # launch failed
    810,  # MPS client terminated
    911,  # external device
})  # fmt: skip


class CudaError(Exception):
    """An error of the CUDA API: its number and its name, as the API gives them.

    ``requested_bytes``: of an allocation that failed, where that is known.
    """

    requested_bytes: int | None = None

    def __init__(self, code: int, name: str, meaning: str = "") -> None:
        self.code = code
        self.name = name
        self.meaning = meaning
        super().__init__(f"{name} ({code}){': ' + meaning if meaning else ''}")

    @property
    def fatal(self) -> bool:
        """Whether the context is gone for good: nothing in it may be touched again."""
        return self.code in FATAL


class NoContextError(CudaError):
    """The program has no CUDA context where one is needed; it may have one later.

    A recording never makes one for it.
    """

    def __init__(self, why: str = "the program has no CUDA context") -> None:
        super().__init__(201, "CUDA_ERROR_INVALID_CONTEXT", why)

    def __str__(self) -> str:
        return f"no GPU: {self.meaning}"


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU as the program sees it: ``index`` counts visible devices."""

    index: int
    uuid: str
    pci_bus_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream: its raw handle and its device.

    The handle of the legacy default stream is always :data:`LEGACY_HANDLE`, that of
    the per-thread default stream :data:`PER_THREAD_HANDLE`: another stream in each
    thread.
    """

    handle: int
    device: int


class CaptureStatus(enum.Enum):
    """What a stream does with the work it is given.  But for NONE, record nothing."""

    NONE = "none"
    #: The work goes into a graph; or it may not be given: a blocking stream beside
    #: the legacy default stream is capturing.
    ACTIVE = "active"
    INVALIDATED = "invalidated"
    #: The API cannot tell.
    UNKNOWN = "unknown"


class StreamKind(enum.Enum):
    """How a stream orders with the default streams."""

    LEGACY = "legacy"
    PER_THREAD = "per-thread"
    #: Waits for the legacy default stream and is waited for by it.
    BLOCKING = "blocking"
    NON_BLOCKING = "non-blocking"
    UNKNOWN = "unknown"


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

    Each finds the device's context current or makes it so, and leaves what was
    current before.  None disturbs a capture that the program has under way.
    """

    name: str
    #: True where no GPU is involved; everything recorded through it says so.
    simulated: bool

    def devices(self) -> Sequence[Device]: ...

    def stream_of(self, stream: object) -> Stream:
        """The stream behind an object of the program; None means the current one.

        Taken are :class:`Stream`, a raw handle, the streams of CuPy, PyTorch and
        Numba, and anything with ``__cuda_stream__()``.  Raises TypeError for what
        is no stream.
        """

    def capture_status(self, stream: Stream) -> CaptureStatus: ...

    def stream_flags(self, stream: Stream) -> StreamKind: ...

    def stream_create(self, device: int) -> Stream:
        """A non-blocking stream that belongs to the caller."""

    def stream_destroy(self, stream: Stream) -> None:
        """Of a stream made by :meth:`stream_create`; nothing if its context is gone."""

    def event_create(self, device: int) -> Event: ...

    def event_record(self, event: Event, stream: Stream) -> None: ...

    def event_query(self, event: Event) -> bool:
        """Whether all work before the record has finished.

        Raises where the device is lost or the context gone, and the error of work
        that failed.
        """

    def event_elapsed_ns(self, start: Event, stop: Event, device: int) -> int:
        """What the pair measures, *elapsed on stream*.

        The time between the two records on their stream, not the time of a kernel.
        """

    def event_destroy(self, event: Event) -> None:
        """Nothing if the event's context is gone: the event went with it."""

    def memory_info(self, device: int) -> MemoryInfo: ...


@dataclass(frozen=True, slots=True)
class NoBackend:
    """Why there is no GPU here, and what to do about it."""

    reason: str
    next_step: str = ""


def check_name(name: str) -> None:
    """Raises :class:`UnknownBackendError` for a name that is none of :data:`BACKENDS`."""
    if name not in BACKENDS:
        raise UnknownBackendError(
            f"there is no backend {name!r}",
            meaning=f"known are {', '.join(BACKENDS)}",
            next_step=f"give one of them to start(backend=...) or {BACKEND_VARIABLE}",
        )


_CHECK_DRIVER = "check the NVIDIA driver with nvidia-smi"
_INSTALL_CUPY = (
    "install CuPy with pip install 'gpu-narration[cuda12]' (or cuda13) on a machine with "
    "an NVIDIA driver"
)


def choose(name: str) -> Backend | NoBackend:
    """Makes the backend of that name.

    ``auto`` takes CuPy if the program has loaded it and it finds a GPU, else the
    driver, else none with the reason of each; never the simulator.  It does not
    load CuPy: where the driver cannot be used CuPy cannot either.  Raises
    :class:`BackendUnavailableError` where a backend asked for by name cannot work.
    """
    check_name(name)
    if name == "none":
        return NoBackend("backend none was asked for")
    if name == "mock":
        from gpu_narration.cuda.mock_backend import MockBackend

        return MockBackend()
    if name == "auto":
        return auto(cupy_loaded="cupy" in sys.modules)
    backend = _cupy() if name == "cupy" else _driver()
    if isinstance(backend, NoBackend):
        raise BackendUnavailableError(
            f"the {name} backend cannot work here: {backend.reason}",
            next_step=f"{backend.next_step}, or ask for mock to simulate",
        )
    return backend


def auto(*, cupy_loaded: bool, initialise: bool = False) -> Backend | NoBackend:
    """What ``auto`` takes in a program that has loaded CuPy, or has not.

    initialise: initialise CUDA to find out; else a driver is taken on trust until the
    program initialises it, for that breaks what the program forks afterwards.
    """
    cupy = _cupy() if cupy_loaded else NoBackend("the program has not loaded CuPy")
    if not isinstance(cupy, NoBackend):
        return cupy
    driver = _driver(initialise=initialise)
    if isinstance(driver, NoBackend):
        return NoBackend(f"{driver.reason}; {cupy.reason}", driver.next_step)
    return driver


def _cupy() -> Backend | NoBackend:
    if "cupy" not in sys.modules and importlib.util.find_spec("cupy") is None:
        return NoBackend("CuPy is not installed", _INSTALL_CUPY)
    from gpu_narration.cuda.cupy_backend import CupyBackend

    try:
        return CupyBackend()
    except (CudaError, ImportError, OSError) as error:
        return NoBackend(f"CuPy finds no usable GPU: {error}", _CHECK_DRIVER)


def _driver(*, initialise: bool = False) -> Backend | NoBackend:
    from gpu_narration.cuda.driver_backend import DriverBackend
    from gpu_narration.cuda.libcuda import DriverUnavailableError

    try:
        return DriverBackend(initialise=initialise)
    except (CudaError, DriverUnavailableError) as error:
        return NoBackend(str(error), getattr(error, "next_step", _CHECK_DRIVER))
