"""Marking kernel launches: each becomes an event with its shape and its GPU time."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from gpu_narration._core import emit
from gpu_narration._types import Kind, Level
from gpu_narration.cuda import session
from gpu_narration.cuda.backend import CudaError, Stream
from gpu_narration.cuda.mock_backend import MockBackend, MockKernel

ACTOR = "cuda"


class TracedKernel:
    """A kernel whose launches are recorded; called as CuPy's ``RawKernel`` is.

    ``every`` times one launch in so many by a pair of events (0: none).  Half of
    real kernels last no more than the pair costs, so hot loops want a sample.
    """

    def __init__(self, kernel: Any, name: str, every: int = 1) -> None:
        self.kernel = kernel
        self.name = name
        self.every = every
        self._count = 0

    def __call__(
        self,
        grid: Sequence[int],
        block: Sequence[int],
        args: Sequence[Any],
        *,
        shared_mem: int = 0,
        stream: object = None,
    ) -> None:
        """Launches on ``stream``, by default the current one.

        Raises what the launch raises; the failure is in the trace.
        """
        self._count += 1
        timed = self.every > 0 and (self._count - 1) % self.every == 0
        active = session.current()
        backend = active.backend if active is not None else None
        event_id = emit(
            Kind.LAUNCH,
            Level.TRACE,
            __name__,
            ACTOR,
            "launch",
            self.name,
            "",
            {
                "grid": _shape(grid),
                "block": _shape(block),
                "shared_bytes": shared_mem,
                **({"simulated": True} if backend is not None and backend.simulated else {}),
            },
        )
        interval = None
        if active is not None and event_id is not None:
            if timed:
                interval = active.open_interval(event_id, stream)
            else:
                active.explain(event_id, self._untimed(), stream)
        try:
            self._launch(tuple(grid), tuple(block), args, shared_mem, stream)
        except Exception as error:
            if active is not None and event_id is not None:
                active.annotate(event_id, {"error": f"{type(error).__name__}: {error}"})
            if active is not None and interval is not None:
                active.cancel_interval(interval, "the launch failed")
            raise
        if active is not None and interval is not None:
            active.close_interval(interval)

    def _untimed(self) -> str:
        if self.every > 0:
            return f"one launch in {self.every} is timed"
        return "launches of this kernel are not timed"

    def _launch(
        self,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: Sequence[Any],
        shared_mem: int,
        stream: object,
    ) -> None:
        if isinstance(self.kernel, MockKernel):
            _launch_mock(self.kernel, grid, block, args, stream)
            return
        with _on_stream(stream):
            self.kernel(grid, block, tuple(args), shared_mem=shared_mem)


def kernel(obj: Any, *, name: str | None = None, every: int = 1) -> TracedKernel:
    """Wraps a CuPy ``RawKernel`` (or a function of a ``RawModule``) or a ``MockKernel``.

    Raises TypeError for what cannot be launched with a grid and a block.
    """
    found = name or getattr(obj, "name", None)
    if found is None or not (callable(obj) or isinstance(obj, MockKernel)):
        raise TypeError(
            f"cuda.kernel() needs a kernel with a name, not {type(obj).__name__}; "
            "pass a cupy.RawKernel, or name=... beside a callable"
        )
    if isinstance(found, bytes):
        found = found.decode()
    # Interned, it is known for a constant at its first launch.
    return TracedKernel(obj, sys.intern(str(found)), every)


def _on_stream(stream: object) -> AbstractContextManager[object]:
    """Makes a stream the current one: a CuPy stream, a raw handle, or None for no change."""
    if stream is None:
        return nullcontext()
    if isinstance(stream, AbstractContextManager):
        return stream
    import cupy

    handle = stream.handle if isinstance(stream, Stream) else stream
    external: AbstractContextManager[object] = cupy.cuda.ExternalStream(handle)
    return external


def _launch_mock(
    mock: MockKernel,
    grid: tuple[int, ...],
    block: tuple[int, ...],
    args: Sequence[Any],
    stream: object,
) -> None:
    active = session.current()
    backend = active.backend if active is not None else None
    if not isinstance(backend, MockBackend):
        raise CudaError(35, "cudaErrorInsufficientDriver", "a MockKernel needs the mock backend")
    backend.gpu.launch(mock.name, mock.length_ns(grid, block, args), backend.stream_of(stream))


def _shape(sizes: Sequence[int]) -> int | str:
    """A launch dimension as people write it: 4096, or 64x64."""
    shown = [int(size) for size in sizes]
    while len(shown) > 1 and shown[-1] == 1:
        shown.pop()
    return shown[0] if len(shown) == 1 else "x".join(map(str, shown))
