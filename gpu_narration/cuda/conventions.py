"""How each library launches: what its kernels are told by, their shape, their stream.

Libraries are recognised by the names and modules of types, never imported: a
program that has a kernel of a library has the library.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from gpu_narration.cuda.backend import Stream
from gpu_narration.cuda.launch import Convention, Told, shape_fields

#: Threads in a warp, on every NVIDIA GPU so far (CUDA C++ Programming Guide, 7.1).
WARP = 32


def is_a(obj: object, library: str, *names: str) -> bool:
    """Whether an object's type, or a base of it, is one of these of a library."""
    return any(
        base.__name__ in names and base.__module__.partition(".")[0] == library
        for base in type(obj).__mro__
    )


class CupyConvention(Convention):
    """CuPy launches on the stream it is given, else on its own current one."""

    real = True

    def describe(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Told:
        del args  # CuPy chooses the shape
        return {}, kwargs.get("stream")

    def stream(self, given: object) -> object:
        if given is not None:
            return given
        cupy: Any = sys.modules["cupy"]
        return cupy.cuda.get_current_stream()

    def variants(self, kernel: Any) -> int:
        return len(getattr(kernel, "_cached_codes", ()))


class RawConvention(CupyConvention):
    """``kernel(grid, block, args, *, shared_mem=0, stream=None)``."""

    def prepare(self, kernel: Any) -> None:
        # The property compiles on first use; a driver function is compiled already.
        if hasattr(type(kernel), "kernel"):
            kernel.kernel  # noqa: B018

    def describe(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Told:
        return described_as_raw(args, kwargs)


class MockConvention(Convention):
    """The simulator's kernels are called as CuPy's raw ones are."""

    def describe(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Told:
        return described_as_raw(args, kwargs)


def described_as_raw(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Told:
    """Grid and block come first, then the arguments, shared memory and stream."""
    try:
        return _raw(*args, **kwargs)
    except TypeError:
        return {}, None  # the launch itself will say what is wrong with its arguments


def _raw(
    grid: object = None,
    block: object = None,
    args: object = None,
    shared_mem: object = 0,
    stream: object = None,
    *more: object,
    **others: object,
) -> Told:
    del args, more, others
    return shape_fields(grid, block, shared_mem), stream


class NumbaConvention(Convention):
    """``kernel[grid, block, stream, shared](*args)``; 0 is the default stream."""

    real = True

    def stream(self, given: object) -> object:
        return 0 if given is None else given

    def variants(self, kernel: Any) -> int:
        return len(kernel.overloads)


class TritonConvention(Convention):
    """``kernel[grid](*args)``, always on the current stream of Triton's driver."""

    learns = True
    real = True

    def stream(self, given: object) -> object:
        del given
        active: Any = sys.modules["triton.runtime.driver"].driver.active
        device = active.get_current_device()
        return Stream(int(active.get_current_stream(device)), int(device))

    def variants(self, kernel: Any) -> int:
        """The compiled kernels of all devices, of the function below any tuners."""
        caches = getattr(innermost(kernel), "device_caches", None)
        if not isinstance(caches, Mapping):
            return 0
        return sum(len(cache[0]) for cache in caches.values())

    def learned(self, result: Any) -> dict[str, object]:
        """The compiled kernel that a launch returns knows its warps and its shared memory."""
        metadata = getattr(result, "metadata", None)
        warps, shared = getattr(metadata, "num_warps", None), getattr(metadata, "shared", None)
        fields: dict[str, object] = {}
        if isinstance(warps, int):
            fields["block"] = warps * WARP
        if isinstance(shared, int):
            fields["shared_bytes"] = shared
        return fields


class GraphConvention(Convention):
    """A graph is launched as a whole and timed as a whole."""

    action = "graph_launch"

    def describe(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Told:
        return {}, args[0] if args else kwargs.get("stream")

    def stream(self, given: object) -> object:
        if given is not None:
            return given
        # CuPy's graphs and PyTorch's go to the current stream of their library.
        return self._current()

    @staticmethod
    def _current() -> object:
        return None


class CupyGraphConvention(GraphConvention):
    real = True

    @staticmethod
    def _current() -> object:
        cupy: Any = sys.modules["cupy"]
        return cupy.cuda.get_current_stream()


class TorchGraphConvention(GraphConvention):
    real = True

    @staticmethod
    def _current() -> object:
        torch: Any = sys.modules["torch"]
        return torch.cuda.current_stream()


CALLABLE = Convention()
CUPY = CupyConvention()
RAW = RawConvention()
MOCK = MockConvention()
NUMBA = NumbaConvention()
TRITON = TritonConvention()


def graph_convention(graph: object) -> GraphConvention:
    """Of a graph object, by its library."""
    library = type(graph).__module__.partition(".")[0]
    known = {"cupy": CUPY_GRAPH, "torch": TORCH_GRAPH}
    return known.get(library, GRAPH)


GRAPH = GraphConvention()
CUPY_GRAPH = CupyGraphConvention()
TORCH_GRAPH = TorchGraphConvention()


def innermost(kernel: Any) -> Any:
    """The Triton JIT function below autotuners and heuristics."""
    below = getattr(kernel, "fn", None)
    while below is not None and hasattr(below, "run"):
        kernel, below = below, getattr(below, "fn", None)
    return kernel
