"""Waits for the GPU as spans: synchronisations and copies, so that waiting is seen as waiting.

A copy that blocks waits for the GPU too.  What waits inside another wait, as
``ndarray.get`` does in ``Stream.synchronize``, is one span: the outer.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from typing import Any

from gpu_narration._core import Span, annotate, span
from gpu_narration._errors import internal_error

ACTOR = "cuda"

#: Numbers as in CUDA's driver_types.h (cudaMemcpyKind).
MEMCPY_KINDS = {0: "h2h", 1: "h2d", 2: "d2h", 3: "d2d", 4: "default"}

_SENTENCES = {
    "memcpy": "Copying, and waiting for the copy",
    "memcpy_async": "Enqueueing a copy",
    "stream_synchronize": "Waiting for all work on a stream",
    "event_synchronize": "Waiting for an event",
    "device_synchronize": "Waiting for all work on a device",
}

_here = threading.local()


class Waiting:
    """A ``with`` block in which the program waits for the GPU: one span, if it is outermost.

    ``action`` is one of :data:`~gpu_narration._types.WAITS`, or ``memcpy_async`` for
    a copy that is only enqueued.  ``fields`` are what is known of it; None is left
    out.
    """

    __slots__ = ("_action", "_fields", "_outermost", "_span", "_target")

    def __init__(self, action: str, target: str, fields: Mapping[str, object]) -> None:
        self._action = action
        self._target = target
        self._fields = fields
        self._span: Span | None = None
        self._outermost = False

    def __enter__(self) -> None:
        if getattr(_here, "waiting", False):
            return
        self._outermost = _here.waiting = True
        try:
            self._span = span(ACTOR, self._action, self._target, _SENTENCES[self._action])
            self._span.__enter__()
            event_id = self._span.id
            if event_id is not None:
                known = {name: value for name, value in self._fields.items() if value is not None}
                if known:
                    annotate(event_id, known)
        except Exception as error:  # noqa: BLE001 - ours, not the program's
            internal_error("beginning of a wait", error)

    def __exit__(self, *exc_info: object) -> None:
        if not self._outermost:
            return
        self._outermost = _here.waiting = False
        if self._span is not None:
            self._span.__exit__(*exc_info)
            self._span = None


#: The arguments of :class:`Waiting`.
Description = tuple[str, str, dict[str, object]]
#: Describes a call, given its arguments.
Describe = Callable[..., Description]


def waits(
    function: Callable[..., Any], describe: Describe, in_force: Callable[[], bool]
) -> Callable[..., Any]:
    """``function``, whose calls are spans while ``in_force()``.

    ``describe`` is given the same arguments.
    """

    @functools.wraps(function)
    def waiting(*args: Any, **kwargs: Any) -> Any:
        if getattr(_here, "waiting", False) or not in_force():
            return function(*args, **kwargs)
        try:
            action, target, fields = describe(*args, **kwargs)
        except Exception:  # noqa: BLE001 - the call itself will say what is wrong
            return function(*args, **kwargs)
        with Waiting(action, target, fields):
            return function(*args, **kwargs)

    return waiting


def stream_fields(stream: Any) -> dict[str, object]:
    """Handle and device of a stream of CuPy or PyTorch, without asking a driver."""
    handle = getattr(stream, "ptr", None)
    if handle is None:
        handle = getattr(stream, "cuda_stream", None)
    device = getattr(stream, "device_id", None)
    if device is None:
        device = getattr(getattr(stream, "device", None), "index", None)
    known = {
        "stream": handle,
        "device": device if isinstance(device, int) and device >= 0 else None,
    }
    return {name: value for name, value in known.items() if isinstance(value, int)}


def of_stream(stream: Any) -> Description:
    """Describes ``Stream.synchronize`` of CuPy and PyTorch."""
    return "stream_synchronize", "", stream_fields(stream)


def of_event(event: Any) -> Description:
    """Describes ``Event.synchronize`` of CuPy and PyTorch."""
    del event
    return "event_synchronize", "", {}
