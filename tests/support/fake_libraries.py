"""Kernels of Numba, Triton and PyTorch as far as marking touches them.

Shaped by the documented interfaces: a Numba dispatcher is indexed with grid, block,
stream and shared memory and gives a configured kernel; a Triton JIT function is
indexed with a grid, asks a callable grid for its shape with the bound arguments, and
returns the compiled kernel, whose metadata knows warps and shared memory; a PyTorch
graph is captured on the current stream and replayed on it.  What they launch runs on
the simulated GPU.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

from tests.support.recording import simulated_gpu

LENGTH_NS = 4_000
#: The handle of the first stream that a test makes on the simulated GPU.
FIRST = 7


def _work(name: str, stream: int) -> None:
    gpu = simulated_gpu()
    gpu.launch(name, LENGTH_NS, gpu.find_stream(stream))


# ---- Numba ----


class NumbaStream:
    def __init__(self, handle: int) -> None:
        self.handle = ctypes.c_void_p(handle)


class LaunchConfiguration:
    def __init__(self, dispatcher: Any, griddim: Any, blockdim: Any, stream: Any, sharedmem: int):
        self.dispatcher = dispatcher
        self.griddim = _three(griddim)
        self.blockdim = _three(blockdim)
        self.stream = stream
        self.sharedmem = sharedmem

    def __call__(self, *args: Any) -> None:
        return self.dispatcher.call(args, self)


class ForAll:
    """Knows its shape only once it is called."""

    def __init__(self, dispatcher: Any, configuration: tuple[Any, ...]) -> None:
        self.dispatcher = dispatcher
        self.configuration = configuration

    def __call__(self, *args: Any) -> None:
        self.dispatcher[self.configuration](*args)


class Dispatcher:
    """What ``numba.cuda.jit`` makes."""

    def __init__(self, py_func: Any) -> None:
        self.py_func = py_func
        self.overloads: dict[Any, str] = {}
        functools.update_wrapper(self, py_func)

    @functools.lru_cache(maxsize=128)  # noqa: B019 - as Numba has it
    def configure(self, griddim: Any, blockdim: Any, stream: Any = 0, sharedmem: int = 0) -> Any:
        return LaunchConfiguration(self, griddim, blockdim, stream, sharedmem)

    def __getitem__(self, args: Any) -> Any:
        if len(args) not in (2, 3, 4):
            raise ValueError("must specify at least the griddim and blockdim")
        return self.configure(*args)

    def forall(self, ntasks: int, tpb: int = 0, stream: Any = 0, sharedmem: int = 0) -> Any:
        config = (-(-ntasks // (tpb or 64)), tpb or 64, stream, sharedmem)
        return ForAll(self, config)

    def specialize(self, *args: Any) -> Any:
        return Dispatcher(self.py_func)

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        raise ValueError("Kernel launch configuration was not specified.")

    def call(self, args: Any, configuration: Any) -> None:
        self.py_func(*args)  # here it raises what a bad argument raises
        self.overloads.setdefault(tuple(map(type, args)), "compiled")
        stream = configuration.stream
        handle = stream.handle.value if isinstance(stream, NumbaStream) else stream
        _work(self.py_func.__name__, handle)

    def inspect_asm(self) -> str:
        return "asm"


def _three(sizes: Any) -> tuple[int, int, int]:
    sizes = (sizes,) if isinstance(sizes, int) else tuple(sizes)
    return (*sizes, 1, 1)[:3]


# ---- Triton ----


class KernelInterface:
    def __getitem__(self, grid: Any) -> Any:
        return lambda *args, **kwargs: self.run(*args, grid=grid, warmup=False, **kwargs)

    def run(self, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> Any:
        raise NotImplementedError


class JITFunction(KernelInterface):
    """What ``triton.jit`` makes."""

    def __init__(self, fn: Any) -> None:
        self.fn = fn
        self.arg_names = fn.__code__.co_varnames[: fn.__code__.co_argcount]
        self.device_caches: dict[int, tuple[dict[Any, Any]]] = {0: ({},)}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("Cannot call @triton.jit'd outside of the scope of a kernel")

    def run(self, *args: Any, grid: Any, warmup: bool, num_warps: int = 4, **kwargs: Any) -> Any:
        bound = {**dict(zip(self.arg_names, args, strict=False)), **kwargs}
        cache = self.device_caches[0][0]
        key = tuple(map(type, bound.values()))
        if key not in cache:
            metadata = SimpleNamespace(num_warps=num_warps, shared=1024)
            cache[key] = SimpleNamespace(metadata=metadata)
        if not warmup:
            shape = grid(bound) if callable(grid) else grid
            len(shape)
            _work(self.fn.__name__, triton_stream())
        return cache[key]


class Autotuner(KernelInterface):
    """Tries each of its configurations, then runs the best: the last one here."""

    def __init__(self, fn: JITFunction, blocks: list[int]) -> None:
        self.fn = fn
        self.blocks = blocks

    def run(self, *args: Any, **kwargs: Any) -> Any:
        for block in self.blocks:
            result = self.fn.run(*args, BLOCK=block, **kwargs)
        return result


def triton_stream() -> int:
    return int(sys.modules["triton.runtime.driver"].driver.active.get_current_stream(0))


def install(monkeypatch: Any, *, stream: int) -> Any:
    """Triton's driver and PyTorch, whose current stream has this handle; the module torch."""
    for library, kinds in (("numba.cuda.dispatcher", (Dispatcher, LaunchConfiguration)),
                           ("triton.runtime.jit", (JITFunction,)),
                           ("triton.runtime.autotuner", (Autotuner,))):  # fmt: skip
        for kind in kinds:
            kind.__module__ = library
    driver: Any = ModuleType("triton.runtime.driver")
    active = SimpleNamespace(get_current_device=lambda: 0, get_current_stream=lambda _: stream)
    driver.driver = SimpleNamespace(active=active)
    monkeypatch.setitem(sys.modules, "triton.runtime.driver", driver)
    torch: Any = ModuleType("torch")
    torch.cuda = _torch_cuda(stream)
    monkeypatch.setitem(sys.modules, "torch", torch)
    return torch


# ---- PyTorch ----


def _torch_cuda(handle: int) -> Any:
    class Base:
        def synchronize(self) -> None:
            """In C++."""

    class Stream(Base):
        cuda_stream = handle
        device = SimpleNamespace(index=0)

        def synchronize(self) -> None:
            super().synchronize()

    class Event(Base):
        def synchronize(self) -> None:
            super().synchronize()

    class CUDAGraph:
        def capture_begin(self) -> None:
            gpu = simulated_gpu()
            gpu.begin_capture(gpu.find_stream(handle))

        def capture_end(self) -> None:
            gpu = simulated_gpu()
            self.captured = gpu.end_capture(gpu.find_stream(handle))

        def replay(self) -> None:
            gpu = simulated_gpu()
            gpu.graph_launch(self.captured, gpu.find_stream(handle))

    CUDAGraph.__module__ = "torch.cuda.graphs"
    cuda: Any = ModuleType("torch.cuda")
    cuda.Stream, cuda.Event, cuda.CUDAGraph = Stream, Event, CUDAGraph
    cuda.synchronize = lambda device=None: ("synchronized", device)
    cuda.current_stream = Stream
    return cuda
