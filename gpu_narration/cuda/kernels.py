"""``cuda.kernel()``: a kernel that is launched as before and whose launches are recorded."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any, overload

from gpu_narration.cuda import conventions, graphs
from gpu_narration.cuda import session as sessions
from gpu_narration.cuda.backend import CudaError
from gpu_narration.cuda.conventions import innermost, is_a
from gpu_narration.cuda.launch import Convention, Launches, checked, shape_fields, shape_text
from gpu_narration.cuda.mock_backend import MockBackend, MockKernel

_RAW = ("RawKernel", "Function", "_JitRawKernel")
_ARRAY = ("ElementwiseKernel", "ReductionKernel")
#: Of functions that do not run when they are called.
_DEFERRED = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
_OWN = ("__wrapped__", "_call", "_how", "_launches")


class TracedKernel:
    """A kernel whose launches are recorded; otherwise it is what it wraps.

    It is called, indexed, read and written as the kernel is; ``__wrapped__`` is the
    kernel itself.  Made by :func:`kernel`.
    """

    __slots__ = ("__weakref__", "__wrapped__", "_call", "_how", "_launches")

    def __init__(self, wrapped: Any, launches: Launches, how: Convention) -> None:
        call = self._unrecorded(wrapped)
        for name, value in zip(_OWN, (wrapped, call, how, launches), strict=True):
            object.__setattr__(self, name, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Launches; returns and raises what the kernel does."""
        return self._launches.record(self._how, self.__wrapped__, self._call, args, kwargs)

    @staticmethod
    def _unrecorded(wrapped: Any) -> Callable[..., Any]:
        """What launches the kernel without an event of its own, where its class makes one."""
        plain = vars(type(wrapped)).get("_records_for")
        launch: Callable[..., Any] = wrapped if plain is None else plain.__call__.__get__(wrapped)
        return launch

    def __getattr__(self, name: str) -> Any:
        if name in _OWN:
            raise AttributeError(name)  # of an object that is being made
        return getattr(self.__wrapped__, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self.__wrapped__, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self.__wrapped__, name)

    def __dir__(self) -> list[str]:
        return dir(self.__wrapped__)

    def __repr__(self) -> str:
        return f"<traced {self._launches.name}: {type(self.__wrapped__).__name__}>"

    def __reduce__(self) -> tuple[Any, ...]:
        launches = self._launches
        return _again, (self.__wrapped__, launches.name, launches.every, launches.fields)


class _Function(TracedKernel):
    """A function of the program's; in a class it is a method, as it was."""

    __slots__ = ()

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else MethodType(self, instance)


class _RawKernel(TracedKernel):
    """Called with grid, block and arguments."""

    __slots__ = ()

    def __getitem__(self, configuration: Any) -> Callable[..., Any]:
        configured = self.__wrapped__[configuration]  # cupyx.jit: kernel[grid, block]
        grid, block = (*configuration, None, None)[:2]
        return lambda *args: self._launches.record(
            self._how, self.__wrapped__, configured, args, {}, (shape_fields(grid, block, 0), None)
        )


class _MockKernel(TracedKernel):
    """The simulator's; called as CuPy's raw kernels are."""

    __slots__ = ()

    @staticmethod
    def _unrecorded(wrapped: Any) -> Callable[..., Any]:
        return functools.partial(_launch_mock, wrapped)


class _NumbaKernel(TracedKernel):
    """Configured with grid, block, stream and shared memory, then called."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Without a configuration this is no launch: the kernel says so."""
        return self.__wrapped__(*args, **kwargs)

    def __getitem__(self, configuration: Any) -> TracedKernel:
        return self._configured(self.__wrapped__[configuration], configuration)

    def configure(self, *args: Any, **kwargs: Any) -> TracedKernel:
        """As the dispatcher's, whose configured kernel it wraps."""
        configured = self.__wrapped__.configure(*args, **kwargs)
        named = dict(zip(("griddim", "blockdim", "stream", "sharedmem"), args, strict=False))
        named.update(kwargs)
        return self._configured(
            configured,
            (named.get("griddim"), named.get("blockdim"), named.get("stream", 0),
             named.get("sharedmem", 0)),
        )  # fmt: skip

    def forall(
        self, ntasks: int, tpb: int = 0, stream: object = 0, sharedmem: int = 0
    ) -> TracedKernel:
        """As the dispatcher's; with ``tpb=0`` Numba alone knows the shape."""
        configured = self.__wrapped__.forall(ntasks, tpb, stream, sharedmem)
        grid = -(-ntasks // tpb) if tpb else None
        return self._configured(configured, (grid, tpb or None, stream, sharedmem))

    def specialize(self, *args: Any) -> TracedKernel:
        """As the dispatcher's, whose specialised one it wraps."""
        return type(self)(self.__wrapped__.specialize(*args), self._launches, self._how)

    def _configured(self, configured: Any, configuration: Any) -> TracedKernel:
        grid, block, stream, shared = (*configuration, 0, 0)[:4]
        return _NumbaConfigured(
            configured,
            self._launches,
            self._how,
            self.__wrapped__,
            shape_fields(getattr(configured, "griddim", grid), getattr(configured, "blockdim", block),
                  shared),
            stream,
        )  # fmt: skip


class _NumbaConfigured(TracedKernel):
    """One configuration of a Numba kernel; may be called many times."""

    __slots__ = ("_dispatcher", "_fields", "_stream")

    def __init__(
        self,
        wrapped: Any,
        launches: Launches,
        how: Convention,
        dispatcher: Any,
        fields: dict[str, object],
        stream: object,
    ) -> None:
        super().__init__(wrapped, launches, how)
        object.__setattr__(self, "_dispatcher", dispatcher)
        object.__setattr__(self, "_fields", fields)
        object.__setattr__(self, "_stream", stream)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._launches.record(
            self._how, self._dispatcher, self.__wrapped__, args, kwargs,
            (dict(self._fields), self._stream),
        )  # fmt: skip


class _TritonKernel(TracedKernel):
    """Indexed with a grid, or a callable that makes one of the meta-parameters, then called."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Without a grid this is no launch: the kernel says so."""
        return self.__wrapped__(*args, **kwargs)

    def __getitem__(self, grid: Any) -> Callable[..., Any]:
        return functools.partial(self._launch, lambda seen: self.__wrapped__[seen], grid)

    def run(self, *args: Any, grid: Any = None, warmup: bool = False, **kwargs: Any) -> Any:
        """As the JIT function's; a warm-up launches nothing."""
        if warmup:
            return self.__wrapped__.run(*args, grid=grid, warmup=warmup, **kwargs)
        run = self.__wrapped__.run
        return self._launch(
            lambda seen: functools.partial(run, grid=seen, warmup=warmup), grid, *args, **kwargs
        )

    def _launch(
        self, launcher: Callable[[Any], Callable[..., Any]], grid: Any, *args: Any, **kwargs: Any
    ) -> Any:
        fields = {} if callable(grid) else shape_fields(grid, None, None)

        def seen(meta: Any) -> Any:
            made = grid(meta)
            shown = shape_text(made)
            if shown is not None:
                fields["grid"] = shown  # a tuner asks for each of its trials; the last one runs
            return made

        launch = launcher(seen if callable(grid) else grid)
        return self._launches.record(
            self._how, self.__wrapped__, launch, args, kwargs, (fields, None)
        )


class TracedGraph(TracedKernel):
    """A captured graph; ``launch(stream)`` or ``replay()`` is one event."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__wrapped__(*args, **kwargs)

    def launch(self, *args: Any, **kwargs: Any) -> Any:
        """As the graph's."""
        graph = self.__wrapped__
        return self._launches.record(self._how, graph, graph.launch, args, kwargs)

    def replay(self) -> Any:
        """As the graph's."""
        plain = getattr(type(self.__wrapped__).replay, "_records_for", None)
        call = self.__wrapped__.replay if plain is None else plain.__get__(self.__wrapped__)
        return self._launches.record(self._how, self.__wrapped__, call, (), {})


@overload
def kernel(
    obj: Any, /, *, name: str | None = None, every: int = 0, captured_on: object = None
) -> TracedKernel: ...
@overload
def kernel(*, name: str | None = None, every: int = 0) -> Callable[[Any], TracedKernel]: ...
def kernel(
    obj: Any = ...,
    /,
    *,
    name: str | None = None,
    every: int = 0,
    captured_on: object = None,
) -> TracedKernel | Callable[[Any], TracedKernel]:
    """Wraps a kernel so that each launch is an event; it is launched as before.

    ``obj`` is CuPy's ``RawKernel``, a ``RawModule``'s function, ``ElementwiseKernel``
    or ``ReductionKernel``, a Numba CUDA dispatcher, a Triton JIT function (also
    under ``autotune`` and ``heuristics``), a captured graph of CuPy or PyTorch, a
    :class:`MockKernel`, or any callable.  Without it this is a decorator:
    ``@cuda.kernel(every=100)``.  What kernels of Numba and Triton call on the device
    must not be wrapped: it is compiled into them, not launched.

    An event has the kernel's name, and as far as the call tells it ``grid``,
    ``block`` and ``shared_bytes`` (dynamic shared memory; with Triton all of it),
    ``stream`` and ``device``.  CuPy chooses the shape of elementwise and reduction
    kernels itself, so theirs is not known.  ``every=N`` times one launch in N,
    ``every=1`` all, by a pair of events on the stream: elapsed on stream, an
    integer number of ns, known later.  By default none is timed; a span with
    ``gpu=True`` round many launches costs less and disturbs less.  An untimed
    launch, and one inside a stream capture, says why.

    A graph's launch is timed as a whole, and names in ``scopes`` the scopes whose
    work was captured.  ``captured_on`` is the stream that it was captured on; after
    :func:`patch_cupy` or :func:`patch_torch` that is known by itself.

    What the launch raises comes through unchanged, and is in the trace.

    Raises TypeError for what cannot be launched, as a coroutine function, or has no name,
    :class:`~gpu_narration.OptionError` for an ``every`` that is no count.
    """
    if obj is ...:
        return functools.partial(kernel, name=name, every=checked(every))
    fields: dict[str, object] = {}
    if issubclass(type(obj), TracedKernel):
        obj, fields = obj.__wrapped__, obj._launches.fields
    made, how = _wrapper(obj)
    if name is not None and not isinstance(name, str):
        raise TypeError(f"cuda.kernel() needs a str as a name, not {type(name).__name__}")
    found = name or _name_of(obj) or ("graph" if made is TracedGraph else None)
    if found is None:
        raise TypeError(
            f"cuda.kernel() needs a kernel with a name, not {type(obj).__name__}; "
            "pass a kernel of CuPy, Numba or Triton, or name=... beside a callable"
        )
    if made is TracedGraph:
        seen = graphs.scopes_of(obj)
        if captured_on is not None:
            seen = graphs.captured_on(captured_on) or seen
        fields = graphs.fields_of(seen) if seen or not fields else fields
    return made(obj, Launches(found, every, fields), how)


def _again(wrapped: Any, name: str, every: int, fields: dict[str, object]) -> TracedKernel:
    """A copy of a traced kernel, made from its kernel's."""
    made, how = _wrapper(wrapped)
    return made(wrapped, Launches(name, every, fields), how)


def _wrapper(obj: Any) -> tuple[type[TracedKernel], Convention]:
    library = type(obj).__module__.partition(".")[0]
    if isinstance(obj, MockKernel):
        return _MockKernel, conventions.MOCK
    if is_a(obj, "cupy", *_RAW) or is_a(obj, "cupyx", *_RAW):
        return _RawKernel, conventions.RAW
    if is_a(obj, "cupy", *_ARRAY):
        return TracedKernel, conventions.CUPY
    if library == "numba" and hasattr(obj, "py_func") and hasattr(obj, "__getitem__"):
        return _NumbaKernel, conventions.NUMBA
    if library == "triton" and hasattr(obj, "run") and hasattr(obj, "__getitem__"):
        return _TritonKernel, conventions.TRITON
    if hasattr(obj, "replay") or (hasattr(obj, "launch") and not callable(obj)):
        return TracedGraph, conventions.graph_convention(obj)
    if isinstance(obj, FunctionType):
        if obj.__code__.co_flags & _DEFERRED:
            raise TypeError(
                f"cuda.kernel() needs what launches when it is called, and {obj.__qualname__}() "
                "only makes a coroutine or generator; write 'with cuda.range(...)' inside it"
            )
        return _Function, conventions.CALLABLE
    if callable(obj):
        return TracedKernel, conventions.CALLABLE
    raise TypeError(
        f"cuda.kernel() needs a kernel, not {type(obj).__name__}; pass a kernel of CuPy, Numba "
        "or Triton, a captured graph, or a callable"
    )


def _name_of(obj: Any) -> str | None:
    inner = innermost(obj)
    for owner, attribute in (
        (obj, "name"), (obj, "__name__"), (getattr(obj, "py_func", None), "__name__"),
        (getattr(inner, "fn", None), "__name__"), (getattr(obj, "_func", None), "__name__"),
    ):  # fmt: skip
        found = getattr(owner, attribute, None)
        if isinstance(found, bytes):
            found = found.decode(errors="replace")
        if isinstance(found, str) and found:
            return str(found)
    return None


def _launch_mock(
    mock: MockKernel,
    grid: Any,
    block: Any,
    args: Any,
    *,
    shared_mem: int = 0,
    stream: object = None,
) -> None:
    del shared_mem  # the simulator has no such memory
    session = sessions.current()
    backend = session.backend if session is not None else None
    if not isinstance(backend, MockBackend):
        raise CudaError(35, "cudaErrorInsufficientDriver", "a MockKernel needs the mock backend")
    length_ns = mock.length_ns(tuple(grid), tuple(block), args)
    backend.gpu.launch(mock.name, length_ns, backend.stream_of(stream))
