"""A small ``cupy`` with CuPy's layout of classes, whose kernels run on the simulated GPU.

It has what marking touches, shaped as CuPy 14 shapes it: who inherits from whom,
which method calls which, what is compiled when.  A raw kernel's source is the
number of ns that a launch of it takes.  To a recording it is a real GPU.
"""

from __future__ import annotations

import sys
import threading
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from gpu_narration.cuda import MockBackend
from gpu_narration.cuda.mock_errors import cuda_error
from tests.support.recording import ManualClock, simulated_gpu

if TYPE_CHECKING:
    import pytest

ELEMENTWISE_NS, REDUCTION_NS = 2_000, 3_000
#: What compiling a raw kernel takes on the CPU.
COMPILING_NS = 400_000_000

_current = threading.local()


class Backend(MockBackend):
    """What a backend on this library is to a recording: not a simulation."""

    name = "cupy"
    simulated = False


class CompileError(Exception):
    """Stands for cupy.cuda.compiler.CompileException."""


# ---- streams and events ----


class _BaseStream:
    def __init__(self, ptr: int, device_id: int) -> None:
        self.ptr = ptr
        self.device_id = device_id

    def __enter__(self) -> Any:
        _current.stack = [*getattr(_current, "stack", []), self]
        return self

    def __exit__(self, *exc_info: object) -> None:
        _current.stack = _current.stack[:-1]

    def synchronize(self) -> None:
        """Waits, in C."""

    def begin_capture(self, mode: int | None = None) -> None:
        simulated_gpu().begin_capture(_target(self))

    def end_capture(self) -> Any:
        return Graph(simulated_gpu().end_capture(_target(self)))


class Stream(_BaseStream):
    def __init__(self, non_blocking: bool = False) -> None:
        made = simulated_gpu().stream(blocking=not non_blocking)
        super().__init__(made.handle, made.device)


class ExternalStream(_BaseStream):
    def __init__(self, ptr: int, device_id: int = -1) -> None:
        super().__init__(ptr, device_id)


class Event:
    def synchronize(self) -> None:
        """Waits, in C."""


class Graph:
    def __init__(self, graph: Any) -> None:
        self._graph = graph

    def launch(self, stream: Any = None) -> None:
        self._graph.launch(_target(stream or _get_current_stream()))


def _get_current_stream() -> Any:
    stack = getattr(_current, "stack", [])
    return stack[-1] if stack else ExternalStream(0, 0)


def _target(stream: Any) -> Any:
    return simulated_gpu().find_stream(stream.ptr)


# ---- kernels ----


class Function:
    def __init__(self, name: str, length_ns: int) -> None:
        self._name = name
        self._length_ns = length_ns

    def __call__(
        self, grid: Any, block: Any, args: Any, shared_mem: int = 0, stream: Any = None
    ) -> None:
        if not isinstance(grid, tuple) or not isinstance(block, tuple):
            raise TypeError("Argument 'grid' has incorrect type (expected tuple)")
        target = _target(_get_current_stream() if stream is None else stream)
        simulated_gpu().launch(self._name, self._length_ns, target)


class RawKernel:
    """User-defined custom kernel."""

    def __init__(self, code: str, name: str, options: tuple[str, ...] = ()) -> None:
        self.code = code
        self.name = name
        self.options = options
        self.max_dynamic_shared_size_bytes = 49152
        self._compiled: Function | None = None

    def __call__(self, grid: Any, block: Any, args: Any, **kwargs: Any) -> None:
        self.kernel(grid, block, args, **kwargs)

    @property
    def kernel(self) -> Function:
        if self._compiled is None:
            compilations.append(self.name)
            if not self.code.lstrip("-").isdigit():
                raise CompileError(f"{self.name}: no number")
            clock = simulated_gpu()._clock
            if isinstance(clock, ManualClock):
                clock.step(COMPILING_NS)
            self._compiled = Function(self.name, int(self.code))
        return self._compiled

    @property
    def attributes(self) -> dict[str, int]:
        return {"num_regs": 16}

    def __getstate__(self) -> dict[str, Any]:
        return {"code": self.code, "name": self.name, "options": self.options}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


class RawModule:
    def __init__(self, *, code: str) -> None:
        self.code = code

    def get_function(self, name: str) -> RawKernel:
        """Retrieves a kernel by its name."""
        if name == "missing":
            raise cuda_error(400)
        kernel = RawKernel(self.code, name)
        kernel.kernel  # noqa: B018
        return kernel


class ElementwiseKernel:
    _length_ns = ELEMENTWISE_NS

    def __init__(self, in_params: str, out_params: str, operation: str, name: str = "kernel"):
        self.name = name
        self.operation = operation
        self._cached_codes: dict[Any, str] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if fusing.on:
            return "a step of a fusion"
        if any(arg is None for arg in args):
            raise TypeError("Unsupported type <class 'NoneType'>")
        self._cached_codes.setdefault(tuple(map(type, args)), "compiled")
        simulated_gpu().launch(self.name, self._length_ns, _target(_get_current_stream()))
        return args[0]


class _AbstractReductionKernel:
    pass


class ReductionKernel(_AbstractReductionKernel):
    def __init__(self, *params: str, name: str = "reduce_kernel") -> None:
        self.name = name
        self._cached_codes: dict[Any, str] = {}

    def __call__(self, *args: Any, stream: Any = None, **kwargs: Any) -> Any:
        target = _target(_get_current_stream() if stream is None else stream)
        simulated_gpu().launch(self.name, REDUCTION_NS, target)
        return args[0]


# ---- arrays, devices, the runtime ----


class _ndarray_base:  # noqa: N801 - as CuPy has it
    nbytes = 4096

    def get(
        self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True
    ) -> Any:
        (stream or _get_current_stream()).synchronize()
        return [7]

    def set(self, arr: Any, stream: Any = None) -> None:
        if arr is None:
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")

    def item(self) -> Any:
        return self.get()[0]


class ndarray(_ndarray_base):  # noqa: N801
    pass


class Device:
    def __init__(self, device: int = 0) -> None:
        self.id = device

    def synchronize(self) -> None:
        """Waits, in C."""


class _Fusing:
    on = False

    def is_fusing(self) -> bool:
        return self.on


fusing = _Fusing()
#: Names of raw kernels, once for each time they were compiled.
compilations: list[str] = []

_MODULES = {
    "cupy._core.raw": (RawKernel, RawModule),
    "cupy._core._kernel": (ElementwiseKernel,),
    "cupy._core._reduction": (ReductionKernel, _AbstractReductionKernel),
    "cupy.cuda.stream": (_BaseStream, Stream, ExternalStream, Event),
    "cupy.cuda.graph": (Graph,),
    "cupy.cuda.device": (Device,),
    "cupy.cuda.function": (Function,),
    "cupy._core.core": (_ndarray_base,),
}


def _runtime() -> ModuleType:
    module = ModuleType("cupy_backends.cuda.api.runtime")
    calls: list[tuple[Any, ...]] = []
    for name in (
        "memcpy", "memcpyAsync", "streamSynchronize", "eventSynchronize", "deviceSynchronize",
    ):  # fmt: skip
        setattr(module, name, lambda *args, name=name: calls.append((name, *args)))
    module.calls = calls  # type: ignore[attr-defined]
    return module


def install(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes ``import cupy``, and recordings with ``backend="cupy"``, find this; the module."""
    monkeypatch.setattr("gpu_narration.cuda.session.choose", lambda name: Backend())
    fusing.on = False
    compilations.clear()
    cupy: Any = ModuleType("cupy")
    modules = {"cupy": cupy, "cupy.cuda": ModuleType("cupy.cuda")}
    for path, classes in _MODULES.items():
        modules[path] = ModuleType(path)
        for kind in classes:
            kind.__module__ = path
            setattr(modules[path], kind.__name__, kind)
    ndarray.__module__ = "cupy"
    cupy.ndarray = ndarray
    for kind in (RawKernel, RawModule, ElementwiseKernel, ReductionKernel):
        setattr(cupy, kind.__name__, kind)
    cupy.cuda = modules["cupy.cuda"]
    for kind in (Stream, ExternalStream, Event, Device, Graph):
        setattr(cupy.cuda, kind.__name__, kind)
    cupy.cuda.device = modules["cupy.cuda.device"]
    cupy.cuda.runtime = _runtime()
    cupy.cuda.get_current_stream = _get_current_stream
    cupy.asnumpy = lambda array: array.get()
    cupy._core = SimpleNamespace(_fusion_thread_local=fusing)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return cupy
