"""``cuda.patch_torch()``: PyTorch's synchronisations as spans, its graphs as launches."""

from __future__ import annotations

import functools
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

from gpu_narration._errors import BackendUnavailableError
from gpu_narration.cuda import conventions, graphs
from gpu_narration.cuda.launch import Launches, checked
from gpu_narration.cuda.patches import Patch, Patches, owner_of
from gpu_narration.cuda.waits import Describe, Description, of_event, of_stream, waits

_lock = threading.Lock()
_patches = Patches()
_every: int | None = None
#: What records the replays of each graph.
_launches: weakref.WeakKeyDictionary[Any, Launches] = weakref.WeakKeyDictionary()


def patch_torch(*, every: int = 0) -> Patch:
    """Records where PyTorch waits for the GPU, and the replays of its graphs.

    ``torch.cuda.synchronize``, ``torch.cuda.Stream.synchronize`` and
    ``torch.cuda.Event.synchronize`` become spans; ``CUDAGraph.replay`` becomes an
    event, timed once in ``every`` (0: never).  Not seen: PyTorch's kernels, and the
    waits inside ``item()``, ``cpu()`` and other calls that its C++ side answers.

    Undone by :func:`unpatch_torch`, or at the end of a ``with`` block.  Raises
    :class:`~gpu_narration.BackendUnavailableError` where the program has not
    imported ``torch``, :class:`~gpu_narration.OptionError` for an ``every`` that is
    no count.
    """
    global _every  # noqa: PLW0603 - one PyTorch a process
    checked(every)
    torch: Any = sys.modules.get("torch")
    if torch is None:
        raise BackendUnavailableError(
            "patch_torch() finds no PyTorch",
            meaning="the program has not imported torch",
            next_step="import torch first",
        )
    with _lock:
        before = _every
        if before is None:
            _replace(torch.cuda)
        _every = every
    return Patch(unpatch_torch if before is None else functools.partial(patch_torch, every=before))


def unpatch_torch() -> None:
    """Puts everything back.  Does nothing where PyTorch is not patched."""
    global _every  # noqa: PLW0603
    with _lock:
        _patches.undo()
        _every = None


def _replace(cuda: Any) -> None:
    _patches.replace(cuda, "synchronize", _waits(cuda.synchronize, _device_synchronize))
    graph = cuda.CUDAGraph
    for kind, name, replacement in (
        (cuda.Stream, "synchronize", functools.partial(_waits, describe=of_stream)),
        (cuda.Event, "synchronize", functools.partial(_waits, describe=of_event)),
        (graph, "capture_end", _ends_capture),
        (graph, "replay", _replays),
    ):
        owner = owner_of(kind, name)
        _patches.replace(owner, name, replacement(getattr(owner, name)))


def _waits(function: Callable[..., Any], describe: Describe) -> Callable[..., Any]:
    return waits(function, describe, lambda: _every is not None)


def _device_synchronize(device: Any = None) -> Description:
    index = getattr(device, "index", device)
    return "device_synchronize", "", {"device": index if isinstance(index, int) else None}


def _ends_capture(capture_end: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(capture_end)
    def end(self: Any, *args: Any, **kwargs: Any) -> Any:
        # The capture's stream is the current one until the capture's block ends.
        torch: Any = sys.modules["torch"]
        stream = torch.cuda.current_stream()
        result = capture_end(self, *args, **kwargs)
        graphs.keep(self, graphs.captured_on(stream))
        return result

    return end


def _replays(replay: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(replay)
    def traced(self: Any) -> Any:
        every = _every
        if every is None:
            return replay(self)
        launches = _launches.get(self)
        if launches is None or launches.every != every:
            launches = Launches("graph", every, graphs.fields_of(graphs.scopes_of(self)))
            _launches[self] = launches
        return launches.record(conventions.TORCH_GRAPH, self, replay, (self,), {}, ({}, None))

    records: Any = traced
    records._records_for = replay
    return traced
