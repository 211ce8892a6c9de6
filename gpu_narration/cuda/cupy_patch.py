"""``cuda.patch_cupy()``: CuPy's own names record, without a line of the program changed.

CuPy's kernels are types in C, which cannot be changed but can be subclassed: the
names in ``cupy`` come to mean subclasses that record.  Streams, events and arrays
are Python classes, whose methods are replaced.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

from gpu_narration._errors import BackendUnavailableError, internal_error
from gpu_narration.cuda import conventions, graphs
from gpu_narration.cuda.kernels import TracedGraph
from gpu_narration.cuda.launch import Launches, checked
from gpu_narration.cuda.patches import Patch, Patches, owner_of
from gpu_narration.cuda.waits import (
    MEMCPY_KINDS,
    Describe,
    Description,
    of_event,
    of_stream,
    stream_fields,
    waits,
)

_lock = threading.Lock()
_patches = Patches()
#: ``every`` of the patch that is in force; None: CuPy is as it was.
_every: int | None = None


def patch_cupy(*, every: int = 0) -> Patch:
    """Records what CuPy launches, copies and waits for, from now on.

    ``cupy.RawKernel``, ``RawModule``, ``ElementwiseKernel`` and ``ReductionKernel``
    come to mean subclasses whose kernels, functions of modules among them, record
    each launch as :func:`kernel` does; ``every=N`` times one launch in N of each
    kernel, 0 none.  Graphs that ``Stream.end_capture`` gives record their launches.
    ``Stream.synchronize``, ``Event.synchronize``, ``Device.synchronize``,
    ``ndarray.get`` and ``set`` (so also ``asnumpy``, ``item``, ``tolist`` and
    printing) and the copies and synchronisations of ``cupy.cuda.runtime`` become
    spans.  ``isinstance`` with any of these names stays true for what it was true
    for before.

    Call it before the program makes its kernels: a kernel made earlier, or through a
    name imported earlier with ``from cupy import RawKernel``, is not seen.  Never
    seen, as they do not pass through Python: built-in functions and operators
    (``a + b``, ``cupy.sum``), ``@cupy.fuse``, copies inside of them and inside
    ``cupy.asarray``, ``MemoryPointer``'s copies, and ``synchronize`` of a ``Device``
    that CuPy made itself (``array.device``).  A profiler on CUPTI shows these.

    Copies of a recording kernel record; a pickled one comes back as CuPy's own.
    Undone by :func:`unpatch_cupy`, or at the end of a ``with`` block.  Calling it
    again changes ``every`` only.  The program's errors come through unchanged.

    Raises :class:`~gpu_narration.BackendUnavailableError` where CuPy is not
    installed, :class:`~gpu_narration.OptionError` for an ``every`` that is no count.
    """
    global _every  # noqa: PLW0603 - one CuPy a process
    checked(every)
    try:
        import cupy
    except ModuleNotFoundError as error:
        raise BackendUnavailableError(
            "patch_cupy() finds no CuPy",
            meaning=str(error),
            next_step="pip install 'gpu-narration[cuda12]' (or cuda13)",
        ) from None
    with _lock:
        before = _every
        if before is None:
            _replace(cupy)
        _every = every
    return Patch(unpatch_cupy if before is None else functools.partial(patch_cupy, every=before))


def unpatch_cupy() -> None:
    """Puts everything back; kernels made meanwhile go on working, unrecorded.

    Names that the program bound elsewhere keep the recording classes, which record
    nothing now.  Does nothing where CuPy is not patched.
    """
    global _every  # noqa: PLW0603
    with _lock:
        _patches.undo()
        _every = None


def _replace(cupy: Any) -> None:
    for name, methods in _CLASSES.items():
        _patches.replace(cupy, name, _recording(getattr(cupy, name), methods))
    device = _recording(cupy.cuda.Device, _device_methods)
    _patches.replace(cupy.cuda, "Device", device)
    _patches.replace(cupy.cuda.device, "Device", device)
    stream, event, array = cupy.cuda.Stream, cupy.cuda.Event, cupy.ndarray
    for kind, name, replacement in (
        (stream, "synchronize", functools.partial(_waits, describe=of_stream)),
        (event, "synchronize", functools.partial(_waits, describe=of_event)),
        (stream, "begin_capture", _begins_capture),
        (stream, "end_capture", _ends_capture),
    ):
        owner = owner_of(kind, name)
        _patches.replace(owner, name, replacement(getattr(owner, name)))
    _patches.replace(array, "get", _waits(array.get, _get))
    _patches.replace(array, "set", _waits(array.set, _set))
    for name, describe in _RUNTIME.items():
        function = getattr(cupy.cuda.runtime, name, None)
        if function is not None:
            _patches.replace(cupy.cuda.runtime, name, _waits(function, describe))


# ---- classes ----


class _RecordingType(type):
    """The type of the recording classes: each stands for the class it records for."""

    def __instancecheck__(cls, instance: object) -> bool:
        base = vars(cls).get("_records_for")
        return type.__instancecheck__(cls, instance) if base is None else isinstance(instance, base)

    def __subclasscheck__(cls, subclass: type) -> bool:
        base = vars(cls).get("_records_for")
        return type.__subclasscheck__(cls, subclass) if base is None else issubclass(subclass, base)


@functools.cache
def _recording(base: Any, methods: Callable[[Any], dict[str, Any]]) -> Any:
    """The one recording subclass of a class of CuPy."""

    def reduce_ex(self: Any, protocol: Any) -> Any:
        # As the base: a pickle must not need this package where it is read.
        parts = base.__reduce_ex__(self, protocol)
        if type(self) is not recording or not isinstance(parts, tuple):
            return parts
        make, arguments, *state = parts
        if make.__name__ == "__newobj__":
            make = base.__new__  # pickle insists that the other makes the object's own class
        return make, tuple(base if part is recording else part for part in arguments), *state

    def copied(self: Any, *memo: object) -> Any:
        del memo  # what a kernel holds is immutable
        make, arguments, *state = base.__reduce_ex__(self, 4)
        copy = make(*arguments)
        if state and state[0] is not None:
            copy.__setstate__(state[0])
        return copy

    recording: Any = _RecordingType(
        base.__name__,
        (base,),
        {
            "__slots__": ("_launches",),
            "__module__": base.__module__,
            "__qualname__": base.__qualname__,
            "__doc__": base.__doc__,
            "__reduce_ex__": reduce_ex,
            "__copy__": copied,
            "__deepcopy__": copied,
            "_records_for": base,
            **methods(base),
        },
    )
    return recording


def _raw_methods(base: Any) -> dict[str, Any]:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Launches, and records it."""
        launches = _launches_of(self)
        if launches is None:
            return base.__call__(self, *args, **kwargs)
        plain = functools.partial(base.__call__, self)
        return launches.record(conventions.RAW, self, plain, args, kwargs)

    return {"__call__": call}


def _array_methods(base: Any) -> dict[str, Any]:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Launches, and records it."""
        launches = _launches_of(self)
        if launches is None or _is_fusing():
            return base.__call__(self, *args, **kwargs)
        plain = functools.partial(base.__call__, self)
        return launches.record(conventions.CUPY, self, plain, args, kwargs)

    return {"__call__": call}


def _module_methods(base: Any) -> dict[str, Any]:
    def get_function(self: Any, name: Any) -> Any:
        """As RawModule's; the kernel records its launches."""
        function = base.get_function(self, name)
        return function if _every is None else _recording_copy(function, name)

    return {"get_function": functools.wraps(base.get_function)(get_function)}


def _device_methods(base: Any) -> dict[str, Any]:
    return {"synchronize": _waits(base.synchronize, _device_synchronize)}


_CLASSES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "RawKernel": _raw_methods,
    "RawModule": _module_methods,
    "ElementwiseKernel": _array_methods,
    "ReductionKernel": _array_methods,
}


def _launches_of(kernel: Any) -> Launches | None:
    """What records a kernel's launches now; None where nothing does."""
    every = _every
    if every is None:
        return None
    launches: Launches | None = getattr(kernel, "_launches", None)
    if launches is None or launches.every != every:
        name = launches.name if launches is not None else kernel.name
        if not isinstance(name, str):
            return None
        launches = kernel._launches = Launches(name, every)
    return launches


def _recording_copy(function: Any, name: str) -> Any:
    """A kernel that records, of one that CuPy has made; that one itself if this fails."""
    base: Any = type(function)
    try:
        recording = _recording(base, _raw_methods)
        copy = recording.__new__(recording)
        copy.__setstate__(function.__getstate__())
        copy._launches = Launches(name, _every or 0)
        copy.kernel  # noqa: B018 - looks it up in the module, as get_function has
    except Exception as error:  # noqa: BLE001 - ours, not the program's
        internal_error("function of a RawModule", error)
        return function
    return copy


def _is_fusing() -> bool:
    """Whether ``cupy.fuse`` only looks at what a function does: then nothing is launched."""
    import cupy

    thread_local = getattr(cupy._core, "_fusion_thread_local", None)
    return thread_local is not None and bool(thread_local.is_fusing())


# ---- graphs ----


class _CapturedGraph(TracedGraph):
    """What ``end_capture`` gives while CuPy is patched: a graph of CuPy in every other way."""

    __slots__ = ()

    # Spelled so that it is no property to a type checker, which knows better.
    __class__: Any = property(lambda self: type(self.__wrapped__))

    def launch(self, *args: Any, **kwargs: Any) -> Any:
        if _every is None:
            return self.__wrapped__.launch(*args, **kwargs)
        return super().launch(*args, **kwargs)


def _begins_capture(begin_capture: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(begin_capture)
    def begin(self: Any, *args: Any, **kwargs: Any) -> Any:
        graphs.captured_on(self)  # what an earlier capture left behind is not this one's
        return begin_capture(self, *args, **kwargs)

    return begin


def _ends_capture(end_capture: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(end_capture)
    def end(self: Any, *args: Any, **kwargs: Any) -> Any:
        graph = end_capture(self, *args, **kwargs)
        if _every is None:
            return graph
        launches = Launches("graph", _every, graphs.fields_of(graphs.captured_on(self)))
        return _CapturedGraph(graph, launches, conventions.CUPY_GRAPH)

    return end


# ---- waits ----


def _waits(function: Callable[..., Any], describe: Describe) -> Callable[..., Any]:
    return waits(function, describe, lambda: _every is not None)


def _device_synchronize(device: Any) -> Description:
    return "device_synchronize", "", {"device": int(device.id)}


def _get(
    array: Any, stream: Any = None, order: Any = "C", out: Any = None, blocking: Any = True
) -> Description:
    del order, out
    action = "memcpy" if blocking else "memcpy_async"
    return action, "d2h", {"size_bytes": int(array.nbytes), **stream_fields(stream)}


def _set(array: Any, arr: Any, stream: Any = None) -> Description:
    del arr
    # From memory that is not pinned, as most is, CUDA copies before it returns.
    return "memcpy", "h2d", {"size_bytes": int(array.nbytes), **stream_fields(stream)}


def _memcpy(dst: int, src: int, size: int, kind: int) -> Description:
    del dst, src
    return "memcpy", MEMCPY_KINDS.get(kind, ""), {"size_bytes": int(size)}


def _memcpy_async(dst: int, src: int, size: int, kind: int, stream: int) -> Description:
    del dst, src
    fields: dict[str, object] = {"size_bytes": int(size), "stream": int(stream)}
    return "memcpy_async", MEMCPY_KINDS.get(kind, ""), fields


_RUNTIME: dict[str, Describe] = {
    "memcpy": _memcpy,
    "memcpyAsync": _memcpy_async,
    "streamSynchronize": lambda stream: ("stream_synchronize", "", {"stream": int(stream)}),
    "eventSynchronize": lambda event: ("event_synchronize", "", {}),  # noqa: ARG005
    "deviceSynchronize": lambda: ("device_synchronize", "", {}),
}
