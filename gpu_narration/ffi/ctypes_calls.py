"""Tracing a C library that is used through ctypes.

Every function pointer of the library changes its class, in place, to a subclass
whose calls are recorded.  Since the objects stay what they were, names bound to
them anywhere, ``argtypes``, ``restype``, ``errcheck``, ``ctypes.cast`` and
``lib.f is lib.f`` keep working, and functions looked up later are traced too.
"""

from __future__ import annotations

import ctypes
import fnmatch
import gc
from collections.abc import Iterable
from pathlib import PurePath
from types import TracebackType
from typing import Any, Self

from gpu_narration import _core

_MARK = "_gpu_narration_traced"

#: enum scope_flags in the core.
_VRAM, _HANDLE, _STREAMS = 2, 4, 8
#: In the file names of libraries that make CUDA streams of their own.
_OWN_STREAMS = ("llama", "ggml", "whisper")
#: Functions of llama.cpp whose NULL means that a model or a context could not be made.
_HANDLES = ("llama_model_load*", "llama_load_model*", "llama_init_from_model", "llama_new_context*")


class TracedLibrary:
    """A library whose calls are recorded; a context manager that ends it."""

    def __init__(self, lib: Any, original: type, traced: type, actor: str) -> None:
        self._lib = lib
        self._original = original
        self._traced = traced
        self.actor = actor

    def untrace(self) -> None:
        """Makes every function what it was.  Doing it twice is no error."""
        if self._lib.__dict__.get("_FuncPtr") is not self._traced:
            return
        self._lib._FuncPtr = self._original
        # Forgetting goes by class, so it comes first: what is kept about a function
        # would otherwise outlive this, and be believed by the next trace_library().
        _core.foreign_forget(self._traced)
        _change_class(self._traced, self._original)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.untrace()


def trace_library(
    lib: ctypes.CDLL,
    *,
    actor: str | None = None,
    include: Iterable[str] = ("*",),
    exclude: Iterable[str] = (),
    vram: bool = False,
    own_streams: bool | None = None,
) -> TracedLibrary:
    """Makes every call through a ctypes library a span: arguments, result or error, time.

    actor: whose calls they are; default the library's name, ``libllama.so`` → llama.
    include, exclude: patterns of function names (``llama_*``), as in :mod:`fnmatch`.
    vram: read device memory at both edges of every call, as :func:`span` does; for
        calls that are rare.
    own_streams: whether the library puts GPU work on streams of its own.  Events on the
        current stream do not bracket that work, so a ``gpu=True`` scope round such a
        call has no number, but a reason.  Default: known of llama.cpp, ggml and whisper
        by the library's file name.

    A span begins before the call and is in the trace even if the call never
    returns.  Integers, floats, strings and bytes are recorded as they are (texts
    up to 1 KiB), structures by type and size; no pointer is followed.  The GIL is
    released as before.

    Where llama.cpp gives NULL back instead of a model or a context, the trace tells what
    memory there was and which scopes took it.

    A library that is traced already is left as it is.  Raises TypeError for what
    is no ctypes library.
    """
    if not isinstance(lib, ctypes.CDLL):
        raise TypeError(
            f"ffi.trace_library() needs a ctypes library such as ctypes.CDLL('libx.so'), "
            f"not {type(lib).__name__}"
        )
    # In the instance since CDLL.__init__; a name of ours keeps the handle.
    original: Any = lib._FuncPtr
    known = original.__dict__.get(_MARK)
    if isinstance(known, TracedLibrary):
        return known
    name = actor or _library_name(lib)
    included, excluded = _patterns(include), _patterns(exclude)
    streams = _has_own_streams(lib) if own_streams is None else own_streams

    def describe(function: Any) -> tuple[str, str, int] | None:
        symbol = getattr(function, "__name__", None)
        if not isinstance(symbol, str):
            symbol = f"function_{ctypes.cast(function, ctypes.c_void_p).value or 0:x}"
        if not _matches(symbol, included) or _matches(symbol, excluded):
            return None
        handle = _matches(symbol, _HANDLES) and _gives_a_pointer(function.restype)
        return name, symbol, vram * _VRAM | handle * _HANDLE | streams * _STREAMS

    traced: Any = type(original)(
        original.__name__,
        (original,),
        {
            "__slots__": (),
            "__module__": original.__module__,
            "__qualname__": original.__qualname__,
            "_flags_": original._flags_,
            "_restype_": original._restype_,
        },
    )
    handle = TracedLibrary(lib, original, traced, name)
    setattr(traced, _MARK, handle)
    _core.foreign_adopt(traced, describe)
    lib._FuncPtr = traced
    _change_class(original, traced)
    return handle


def _change_class(before: type, after: type) -> None:
    """All instances, wherever they are held: functions are few, and this is rare."""
    for candidate in gc.get_objects():
        if type(candidate) is before:
            candidate.__class__ = after


def _gives_a_pointer(restype: Any) -> bool:
    """Whether NULL can come back; without a ``restype`` a function gives an int."""
    if not isinstance(restype, type):
        return False
    return issubclass(restype, (ctypes.c_void_p, ctypes.c_char_p, ctypes._Pointer))


def _has_own_streams(lib: ctypes.CDLL) -> bool:
    name = PurePath(lib._name or "").name.lower()
    return any(known in name for known in _OWN_STREAMS)


def _library_name(lib: ctypes.CDLL) -> str:
    stem = PurePath(lib._name or "python").name.partition(".")[0]
    return stem.removeprefix("lib") or "ffi"


def _patterns(given: Iterable[str]) -> tuple[str, ...]:
    """One pattern may stand alone; its letters are no patterns."""
    return (given,) if isinstance(given, str) else tuple(given)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
