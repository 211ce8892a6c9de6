"""The kernels of the demonstration: on a GPU where there is one, else simulated.

Both machines are given the same work: two streams that overlap, a graph, copies
and waits, memory that comes and goes, and one allocation that cannot be had.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from gpu_narration import cuda
from gpu_narration._types import Level
from gpu_narration.cuda.backend import Backend
from gpu_narration.kernels import KernelSpec, catalogue, source
from gpu_narration.narration import narrate
from gpu_narration.tracing import span, trace_fn

ELEMENTS = 1 << 20
ROWS = 1 << 10
SPIN_NS = 2_000_000
GIB = 1 << 30


class Machine(Protocol):
    """What the work needs of a GPU."""

    @property
    def streams(self) -> Sequence[Any]: ...

    def allocate(self, size_bytes: int) -> Any:
        """Device memory; raises :class:`MemoryError` if there is not enough."""

    def free(self, memory: Any) -> None: ...

    def upload(self, stream: Any) -> None:
        """Copies the first array to the device, and waits for the copy."""

    def launch(self, name: str, stream: Any) -> None: ...

    def begin_capture(self, stream: Any) -> None: ...

    def end_capture(self, stream: Any) -> Any:
        """The graph of what was launched since."""

    def wait(self, stream: Any) -> None:
        """Until the stream is done: for the end of the program, not for timing."""


@trace_fn(actor="demo")
def run(backend: Backend, rounds: int) -> None:
    """Allocates, launches on two streams that overlap, replays a graph, frees."""
    with _machine(backend) as machine:
        first, second = machine.streams
        with span("demo", "load_weights", vram=True):
            weights = machine.allocate(3 * GIB // 2)
        machine.upload(first)
        for _ in range(rounds):
            with span("demo", "step", vram=True):
                cache = machine.allocate(GIB // 4)
                _overlap(machine, first, second)
            with span("demo", "drop_cache", vram=True):
                machine.free(cache)
        _replay(machine, first)
        for stream in machine.streams:
            machine.wait(stream)
        _ask_for_too_much(machine)
        with span("demo", "unload", vram=True):
            machine.free(weights)


def _overlap(machine: Machine, first: Any, second: Any) -> None:
    """Some 2 ms of work on each of two streams, at the same time."""
    with cuda.range("prefill", stream=first), cuda.range("decode", stream=second):
        machine.launch("copy", first)
        machine.launch("spin", first)
        machine.launch("softmax", first)
        machine.launch("saxpy", second)
        machine.launch("spin", second)


def _replay(machine: Machine, stream: Any) -> None:
    """What is captured has no time; the graph has, as a whole."""
    machine.begin_capture(stream)
    with cuda.range("attention", stream=stream):
        machine.launch("softmax", stream)
    with cuda.range("mlp", stream=stream):
        machine.launch("saxpy", stream)
    graph = cuda.kernel(machine.end_capture(stream), name="layer", every=1, captured_on=stream)
    for _ in range(2):
        graph.launch(stream)


@contextmanager
def _machine(backend: Backend) -> Iterator[Machine]:
    if isinstance(backend, cuda.MockBackend):
        yield SimulatedMachine(backend)
        return
    with cuda.patch_cupy():
        yield CupyMachine()


def _ask_for_too_much(machine: Machine) -> None:
    try:
        machine.allocate(1 << 50)
    except MemoryError as error:
        narrate(
            "demo", "allocate", "1 PiB", f"The device refused the allocation, as it should: {error}",
            level=Level.WARN, cute="The card politely declined a petabyte",
        )  # fmt: skip


def _arguments(name: str, x: Any, y: Any) -> tuple[Any, ...]:
    return {
        "saxpy": (ELEMENTS, 2.0, x, y),
        "copy": (ELEMENTS, x, y),
        "softmax": (ROWS, ELEMENTS // ROWS, x, y),
        "spin": (SPIN_NS,),
    }[name]


class SimulatedMachine:
    """The simulator's streams and memory; kernels are their expected lengths."""

    def __init__(self, backend: cuda.MockBackend) -> None:
        self._gpu = backend.gpu
        self.streams = (self._gpu.stream(), self._gpu.stream())
        self._specs = catalogue()
        self._kernels = {name: self._kernel(name, spec) for name, spec in self._specs.items()}

    def allocate(self, size_bytes: int) -> int:
        try:
            return self._gpu.malloc(size_bytes)
        except cuda.CudaError as error:
            raise MemoryError(str(error)) from error

    def free(self, memory: int) -> None:
        self._gpu.free(memory)

    def launch(self, name: str, stream: Any) -> None:
        spec, arguments = self._specs[name], _arguments(name, None, None)
        block = (spec.threads_per_block,)
        self._kernels[name]((spec.blocks(arguments),), block, arguments, stream=stream)

    def upload(self, stream: Any) -> None:
        self._gpu.memcpy("h2d", 4 * ELEMENTS, stream)

    def begin_capture(self, stream: Any) -> None:
        self._gpu.begin_capture(stream)

    def end_capture(self, stream: Any) -> Any:
        return self._gpu.end_capture(stream)

    def wait(self, stream: Any) -> None:
        self._gpu.synchronize(stream)

    @staticmethod
    def _kernel(name: str, spec: KernelSpec) -> cuda.TracedKernel:
        mock = cuda.MockKernel(name, lambda _grid, _block, args: spec.simulated_ns(args))
        return cuda.kernel(mock, every=1)  # few launches, so all of them may be timed


class CupyMachine:
    """The real thing, through CuPy."""

    def __init__(self) -> None:
        import cupy

        self._cupy: Any = cupy
        self.streams = (cupy.cuda.Stream(non_blocking=True), cupy.cuda.Stream(non_blocking=True))
        self._x = cupy.ones(ELEMENTS, dtype=cupy.float32)
        self._y = cupy.ones(ELEMENTS, dtype=cupy.float32)
        self._specs = catalogue()
        self._kernels = {
            name: cuda.kernel(cupy.RawKernel(source(name), spec.function), name=name, every=1)
            for name, spec in self._specs.items()
        }

    def allocate(self, size_bytes: int) -> Any:
        # Straight from the driver: a caching pool would hide that memory comes and goes.
        try:
            return self._cupy.cuda.runtime.malloc(size_bytes)
        except self._cupy.cuda.runtime.CUDARuntimeError as error:
            raise MemoryError(str(error)) from error

    def free(self, memory: Any) -> None:
        self._cupy.cuda.runtime.free(memory)

    def launch(self, name: str, stream: Any) -> None:
        spec, arguments = self._specs[name], _arguments(name, self._x, self._y)
        typed = tuple(
            self._typed(value, parameter.type)
            for value, parameter in zip(arguments, spec.parameters, strict=True)
        )
        block = (spec.threads_per_block,)
        self._kernels[name]((spec.blocks(arguments),), block, typed, stream=stream)

    def upload(self, stream: Any) -> None:
        import numpy as np

        self._x.set(np.ones(ELEMENTS, dtype=np.float32), stream=stream)

    def begin_capture(self, stream: Any) -> None:
        stream.begin_capture()

    def end_capture(self, stream: Any) -> Any:
        return stream.end_capture()

    def wait(self, stream: Any) -> None:
        stream.synchronize()

    def _typed(self, value: Any, kind: str) -> Any:
        if kind == "unsigned long long":
            return self._cupy.uint64(value)
        return self._cupy.float32(value) if kind == "float" else value
