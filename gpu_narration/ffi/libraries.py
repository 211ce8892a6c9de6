"""``trace_library()``: a whole library, of ctypes, of cffi, or behind a Python module."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterable, Mapping
from types import ModuleType, TracebackType
from typing import Any, Protocol, Self

from gpu_narration._errors import AlreadyTracedError, NothingToTraceError, say
from gpu_narration.ffi import cffi_calls, ctypes_calls, modules
from gpu_narration.ffi.description import Choice, Formatters, Preset
from gpu_narration.ffi.escaped import MOST, Escaped
from gpu_narration.ffi.recipes import Options, options

#: So many names that escaped are shown in the warning.
_SHOWN = 3

_lock = threading.RLock()
#: What is traced now, by the library's id; the handle keeps the library.
_traced: dict[int, TracedLibrary] = {}


class Undoable(Protocol):
    """A part of a tracing that can be taken back."""

    def undo(self) -> None: ...


class TracedLibrary:
    """A library whose calls are recorded; a context manager that ends it.

    actor: whose calls they are.
    escaped: functions that are held elsewhere as they were before, and where: calls
        through these names are not recorded.  Empty for ctypes and cffi, whose functions
        are traced wherever they are held.
    """

    def __init__(self, lib: Any, given: Options) -> None:
        self.actor = given.actor
        self.escaped: tuple[Escaped, ...] = ()
        self._lib = lib
        self._given = given
        self._parts: list[Undoable] = []
        self._borrowed = 0

    @property
    def replaced(self) -> int:
        """How many functions a stand-in stands for; those of ctypes and cffi need none."""
        return sum(part.count for part in self._parts if isinstance(part, modules.ModuleCalls))

    @property
    def traced(self) -> bool:
        """Whether it still is."""
        return _traced.get(id(self._lib)) is self

    def untrace(self) -> None:
        """Makes every function what it was.  Doing it twice is no error."""
        with _lock:
            if not self.traced:
                return
            del _traced[id(self._lib)]
            while self._parts:
                self._parts.pop().undo()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A block that found the library traced leaves it so.
        if self._borrowed > 0:
            self._borrowed -= 1
        else:
            self.untrace()

    def _install(self) -> None:
        lib, given = self._lib, self._given
        if isinstance(lib, ctypes.CDLL):
            self._parts.append(ctypes_calls.CtypesCalls(lib, given))
        elif cffi_calls.is_library(lib):
            self._parts.append(_some(cffi_calls.CffiCalls(lib, given), given))
        else:
            self._install_module(lib)

    def _install_module(self, module: ModuleType) -> None:
        own = modules.ModuleCalls(module, self._given)
        self._parts.append(own)
        libraries = modules.libraries_of(module)
        for lib in libraries:
            if id(lib) not in _traced:
                self._parts.append(_Nested(trace(lib, self._given)))
        if not libraries and own.count == 0:
            raise NothingToTraceError(
                f"the module {module.__name__} has no functions of C code that the patterns name",
                meaning="it holds no function pointers of ctypes, no cffi library, and nothing "
                "that Cython, pybind11 or other C code made",
                next_step="name the module that does: for a package that is often a module in it",
            )
        self.escaped = own.escaped()
        if self.escaped:
            say(_warning(self.actor, self.escaped))


class _Nested:
    """A library that is traced because a module uses it."""

    def __init__(self, handle: TracedLibrary) -> None:
        self._handle = handle

    def undo(self) -> None:
        self._handle.untrace()


def _some(calls: cffi_calls.CffiCalls, given: Options) -> cffi_calls.CffiCalls:
    if calls.count == 0:
        raise NothingToTraceError(
            "the cffi library has no functions that the patterns name",
            meaning=f"include={given.include!r}, exclude={given.exclude!r}",
            next_step="call ffi.cdef() with their declarations first; dir(lib) shows what there is",
        )
    return calls


def _warning(actor: str, escaped: tuple[Escaped, ...]) -> str:
    count = f"more than {MOST} names hold" if len(escaped) > MOST else f"{len(escaped)} names hold"
    if len(escaped) == 1:
        count = "one name holds"
    shown = ", ".join(f"{place} ({function})" for function, place in escaped[:_SHOWN])
    more = ", …" if len(escaped) > _SHOWN else ""
    return (
        f"{count} functions of {actor} as they were before; calls through them are "
        f"not recorded: {shown}{more}; trace the library before that [escaped-names]"
    )


def trace_library(
    lib: Any,
    *,
    actor: str | None = None,
    include: str | Iterable[str] = ("*",),
    exclude: str | Iterable[str] = (),
    gpu: Choice = False,
    vram: Choice = False,
    args: Mapping[str, Formatters] | None = None,
    own_streams: bool | None = None,
    describe: Preset | None = None,
) -> TracedLibrary:
    """Makes every call through a library a span: arguments, result or error, time.

    lib: a library of ctypes (``CDLL``, ``PyDLL``), of cffi (``ffi.dlopen(…)``, ``lib`` of
        a compiled module), or a Python module that holds such functions or C code's own
        (Cython, pybind11).
    actor: whose calls they are; default the library's name, ``libllama.so`` → llama.
    include, exclude: patterns of function names (``llama_*``), as in :mod:`fnmatch`.
    gpu, vram: time on the GPU, and device memory at both edges, of every call as
        :func:`span` does, or of those whose names fit one of the patterns; for calls that
        are rare.
    args: by pattern of function names, what arguments are shown as, see
        :data:`~gpu_narration.ffi.description.Formatters`.
    own_streams: whether the library puts GPU work on streams of its own.  Events on the
        current stream do not bracket that work, so a ``gpu=True`` scope round such a
        call has no number, but a reason.  Default: known of llama.cpp, ggml and whisper
        by the library's file name.
    describe: a preset, which tells of functions what their results mean and what else to
        record: :class:`~gpu_narration.ffi.Function`.

    A span begins before the call and is in the trace even if the call never
    returns.  Integers, floats, strings and bytes are recorded as they are (texts
    up to 1 KiB), structures and arrays by type and size, pointers by their address; none
    is followed, unless a formatter does so.  Where ctypes keeps errno, it is recorded
    when the call has changed it, or gave NULL or a negative number.  The GIL is released
    as before.

    A library that is traced already with the same options is left as it is, and its
    handle comes back.  Raises :class:`~gpu_narration._errors.AlreadyTracedError` where
    the options differ, :class:`~gpu_narration._errors.NothingToTraceError` where there is
    no such function, OptionError for an option that it cannot have, TypeError for
    what is no library.
    """
    known = isinstance(lib, ctypes.CDLL) or cffi_calls.is_library(lib)
    if not known and not isinstance(lib, ModuleType):
        raise TypeError(
            "ffi.trace_library() needs a library such as ctypes.CDLL('libx.so') or a cffi "
            f"ffi.dlopen('libx.so'), or a module of functions, not {type(lib).__name__}"
        )
    is_ctypes = isinstance(lib, ctypes.CDLL)
    if own_streams is None:
        own_streams = is_ctypes and ctypes_calls.has_own_streams(lib)
    return trace(
        lib,
        options(
            actor=actor or _name(lib),
            include=include,
            exclude=exclude,
            gpu=gpu,
            vram=vram,
            args=args,
            own_streams=own_streams,
            describe=ctypes_calls.LLAMA_HANDLES if describe is None and is_ctypes else describe,
        ),
    )


def trace(lib: Any, given: Options) -> TracedLibrary:
    """The same with options that are checked."""
    with _lock:
        before = _traced.get(id(lib))
        if before is not None:
            differing = before._given.differences(given)
            if differing:
                raise AlreadyTracedError(
                    f"{before.actor} is traced already, with another {' and '.join(differing)}",
                    meaning="a library can be traced in one way at a time",
                    next_step="end that with untrace(), or ask for the same",
                )
            before._borrowed += 1
            return before
        handle = TracedLibrary(lib, given)
        _traced[id(lib)] = handle
        try:
            handle._install()
        except BaseException:
            handle.untrace()
            raise
        return handle


def handle_of(lib: Any) -> TracedLibrary | None:
    """The handle of a library that is traced."""
    return _traced.get(id(lib))


def handles() -> tuple[TracedLibrary, ...]:
    """What is traced now."""
    return tuple(_traced.values())


def _name(lib: Any) -> str:
    if isinstance(lib, ctypes.CDLL):
        return ctypes_calls.library_name(lib)
    if cffi_calls.is_library(lib):  # which says of itself that it is a module
        return cffi_calls.library_name(lib)
    return lib.__name__.rpartition(".")[2].strip("_") or "ffi"
