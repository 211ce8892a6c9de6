"""The GPU that is measured: a real one through CuPy, or the simulated one.

Work is done on a *lane*: one non-blocking stream, the ruler kernel ``spin`` on it,
bare and traced, and an event pair of the lane's own to check with.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from gpu_narration.kernels import catalogue, source

import gpu_narration as gn
from gpu_narration import cuda

#: Launches the ruler for so many ns.
Launch = Callable[[int], None]


class Lane(Protocol):
    """A stream to work on."""

    #: As ``span(stream=...)`` takes it.
    stream: Any

    def bare(self) -> Launch:
        """Launches without a trace of this package."""

    def traced(self, name: str, every: int) -> Launch:
        """Launches through ``cuda.kernel``; one in ``every`` is timed, none if it is 0."""

    def wait(self) -> None:
        """Until the stream is done: the program's own synchronising."""

    def elapsed_ns(self, work: Callable[[], None]) -> int:
        """The time on the stream between two events round ``work``; waits for it."""


class Machine(Protocol):
    simulated: bool
    #: The backend under test.
    backend: str

    def recording(self, path: Path) -> Any:
        """A context manager that records into ``path``."""

    def lane(self) -> Lane:
        """The lane of now; to be asked for again when a recording begins or ends."""

    def facts(self) -> dict[str, object]:
        """What it is, for the report."""


class CupyMachine:
    """A real GPU; the backend under test is ``backend``."""

    simulated = False

    def __init__(self, backend: str) -> None:
        self.backend = backend
        # The driver API has no current stream: there the stream goes with every launch.
        self._lane = CupyLane(name_stream=backend == "driver")

    @contextmanager
    def recording(self, path: Path) -> Iterator[None]:
        with gn.start(path, backend=self.backend, nvtx="off", children=False):
            yield

    def lane(self) -> Lane:
        return self._lane

    def facts(self) -> dict[str, object]:
        import cupy

        runtime = cupy.cuda.runtime
        properties = runtime.getDeviceProperties(runtime.getDevice())
        return {
            "name": _text(properties["name"]),
            "uuid": f"GPU-{uuid.UUID(bytes=bytes(properties['uuid']))}",
            "compute_capability": f"{properties['major']}.{properties['minor']}",
            "multiprocessors": properties["multiProcessorCount"],
            "memory_bytes": properties["totalGlobalMem"],
            "driver_supports_cuda": runtime.driverGetVersion(),
            "cuda_runtime": runtime.runtimeGetVersion(),
            "nvrtc": ".".join(map(str, cupy.cuda.nvrtc.getVersion())),
        }


class CupyLane:
    """The stream is the thread's current one, as in a program that says ``with stream:``."""

    def __init__(self, *, name_stream: bool) -> None:
        import cupy
        import numpy as np

        self._name_stream = name_stream
        self._cupy: Any = cupy
        self.stream: Any = cupy.cuda.Stream(non_blocking=True)
        self.stream.use()
        spec = catalogue()["spin"]
        self._kernel: Any = cupy.RawKernel(source("spin"), spec.function)
        self._arguments = _Arguments(np.uint64)
        self.bare()(0)  # compiled here, not in a measurement
        self.wait()

    def bare(self) -> Launch:
        kernel, arguments = self._kernel, self._arguments
        return lambda ns: kernel(_ONE, _ONE, arguments[ns])

    def traced(self, name: str, every: int) -> Launch:
        kernel: Any = cuda.kernel(self._kernel, name=name, every=every)
        arguments, stream = self._arguments, self.stream
        if self._name_stream:
            return lambda ns: kernel(_ONE, _ONE, arguments[ns], stream=stream)
        return lambda ns: kernel(_ONE, _ONE, arguments[ns])

    def wait(self) -> None:
        self.stream.synchronize()

    def elapsed_ns(self, work: Callable[[], None]) -> int:
        start, stop = self._cupy.cuda.Event(), self._cupy.cuda.Event()
        start.record(self.stream)
        work()
        stop.record(self.stream)
        self.wait()
        return round(float(self._cupy.cuda.get_elapsed_time(start, stop)) * 1e6)


class SimulatedMachine:
    """The simulator, to try the program; what it gives is no measurement of anything."""

    simulated = True
    backend = "mock"

    def __init__(self) -> None:
        self._own = cuda.MockGpu()

    @contextmanager
    def recording(self, path: Path) -> Iterator[None]:
        with gn.start(path, backend="mock", nvtx="off", children=False):
            yield

    def lane(self) -> Lane:
        session = cuda.current()
        backend = session.backend if session is not None else None
        return SimulatedLane(backend.gpu if isinstance(backend, cuda.MockBackend) else self._own)

    def facts(self) -> dict[str, object]:
        return {"name": "simulated"}


class SimulatedLane:
    def __init__(self, gpu: cuda.MockGpu) -> None:
        self._gpu = gpu
        self.stream: Any = gpu.stream()

    def bare(self) -> Launch:
        gpu, stream = self._gpu, self.stream

        def launch(ns: int) -> None:
            gpu.launch("spin", ns, stream)

        return launch

    def traced(self, name: str, every: int) -> Launch:
        gpu, stream = self._gpu, self.stream
        if cuda.current() is None:
            # A simulated kernel cannot be launched without a recording; a function can.
            def call(_grid: Any, _block: Any, args: Any, **_: Any) -> None:
                gpu.launch(name, args[0], stream)

            plain: Any = cuda.kernel(call, name=name, every=every)
            return lambda ns: plain(_ONE, _ONE, (ns,))
        kernel: Any = cuda.kernel(cuda.MockKernel(name, _first), every=every)
        return lambda ns: kernel(_ONE, _ONE, (ns,), stream=stream)

    def wait(self) -> None:
        self._gpu.synchronize(self.stream)

    def elapsed_ns(self, work: Callable[[], None]) -> int:
        backend = cuda.MockBackend(self._gpu)
        start, stop = backend.event_create(0), backend.event_create(0)
        backend.event_record(start, self.stream)
        work()
        backend.event_record(stop, self.stream)
        self.wait()
        return int(backend.event_elapsed_ns(start, stop, 0))


_ONE = (1,)


def _first(_grid: object, _block: object, args: Any) -> int:
    """The length of a simulated ruler: its argument."""
    return int(args[0])


class _Arguments(dict[int, tuple[Any, ...]]):
    """The kernel's arguments for a length, made once: a launch must not pay for them."""

    def __init__(self, word: Callable[[int], Any]) -> None:
        super().__init__()
        self._word = word

    def __missing__(self, ns: int) -> tuple[Any, ...]:
        made = self[ns] = (self._word(ns),)
        return made


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
