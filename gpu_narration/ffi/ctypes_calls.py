"""Tracing a C library that is used through ctypes.

Every function pointer of the library changes its class, in place, to a subclass
whose calls are recorded.  Since the objects stay what they were, names bound to
them anywhere, ``argtypes``, ``restype``, ``errcheck``, ``ctypes.cast`` and
``lib.f is lib.f`` keep working, and functions looked up later are traced too.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any

from gpu_narration import _core
from gpu_narration.ffi.description import Function
from gpu_narration.ffi.recipes import RESULT_IS_ADDRESS, Options, recipe

#: FUNCFLAG_USE_ERRNO
_USE_ERRNO = 8
#: In the file names of libraries that make CUDA streams of their own.
_OWN_STREAMS = ("llama", "ggml", "whisper")
#: What is known of llama.cpp without its preset: functions whose NULL means that a model
#: or a context could not be made.
LLAMA_HANDLES = dict.fromkeys(
    ("llama_model_load*", "llama_load_model*", "llama_init_from_model", "llama_new_context*"),
    Function(may_lack_memory=True),
)

Describe = Callable[[Any], "_core.Foreign | None"]
CDLL = ctypes.CDLL
_CFuncPtr: Any = ctypes._CFuncPtr  # type: ignore[attr-defined]


def is_function(value: object) -> bool:
    """Whether a value is a function pointer of ctypes.  By type: an instance may lie."""
    return issubclass(type(value), _CFuncPtr)


class CtypesCalls:
    """The functions of a ``CDLL`` while they are traced."""

    def __init__(self, lib: ctypes.CDLL, given: Options) -> None:
        self._lib: Any = lib
        self._given = given
        self._known: dict[tuple[str, int, bool], _core.Foreign | None] = {}
        self._names: dict[int, str] = {}
        self._changed: list[tuple[type, type]] = []
        self._original = self._lib._FuncPtr
        self._traced = self._subclass(self._original)
        self._lib._FuncPtr = self._traced
        self._adopt_all()

    def undo(self) -> None:
        """Makes every function what it was."""
        if self._lib.__dict__.get("_FuncPtr") is self._traced:
            self._lib._FuncPtr = self._original
        restore(self._changed)

    def _subclass(self, original: Any) -> Any:
        traced = traced_class(original, self._describe)
        self._changed.append((original, traced))
        return traced

    def _adopt_all(self) -> None:
        """All functions of the library, wherever they are held: they are few, and this is rare.

        Those of ``CDLL`` are of a class of its own.  Others, made of a prototype, by a cast
        or of a bare address, share theirs with the program's callbacks.
        """
        functions = {id(value): value for value in _all_functions(self._lib)}
        for function in functions.values():
            if type(function) is self._original:
                self._names[address_of(function)] = symbol(function)
                function.__class__ = self._traced
        subclasses: dict[type, Any] = {}
        for function in functions.values():
            kind: Any = type(function)
            if kind is self._traced or not self._is_ours(function) or is_traced(kind):
                continue
            if kind not in subclasses:
                subclasses[kind] = self._subclass(kind)
            function.__class__ = subclasses[kind]

    def _is_ours(self, function: Any) -> bool:
        kept = function._objects
        if isinstance(kept, dict) and kept.get("0") is self._lib:
            return True
        return not kept and address_of(function) in self._names

    def _describe(self, function: Any) -> _core.Foreign | None:
        name = getattr(function, "__name__", None)
        if not isinstance(name, str):
            name = self._names.get(address_of(function)) or symbol(function)
        addresses, nullable = pointers(function)
        key = name, addresses, nullable
        if key not in self._known:
            self._known[key] = recipe(
                name,
                self._given,
                addresses=addresses,
                nullable=nullable,
                get_errno=errno_of(function),
            )
        return self._known[key]


def traced_class(original: Any, describe: Describe) -> Any:
    """A subclass of a class of function pointers; calls of its instances are recorded."""
    own = {name: getattr(original, name) for name in ("_flags_", "_restype_")}
    if hasattr(original, "_argtypes_"):
        own["_argtypes_"] = original._argtypes_
    traced = type(original)(
        original.__name__,
        (original,),
        {
            "__slots__": (),
            "__module__": original.__module__,
            "__qualname__": original.__qualname__,
            _MARK: original,
            **own,
        },
    )
    _core.foreign_adopt(traced, describe)
    return traced


_MARK = "_gpu_narration_original"


def is_traced(kind: type) -> bool:
    """Whether a class is one that :func:`traced_class` made."""
    return _MARK in kind.__dict__


def original_of(kind: type) -> Any:
    """The class of which :func:`traced_class` made this one."""
    return kind.__dict__[_MARK]


def restore(changed: list[tuple[type, type]]) -> None:
    """All instances of the traced classes become what they were."""
    originals = {traced: original for original, traced in changed}
    for traced in originals:
        # Forgetting goes by class, so it comes first: what is kept about a function
        # would otherwise outlive this, and be believed by the next trace_library().
        _core.foreign_forget(traced)
    for function in _all_functions(None):
        original = originals.get(type(function))
        if original is not None:
            function.__class__ = original


def _all_functions(lib: Any) -> Iterator[Any]:
    """Every function pointer there is.  What gc.freeze() hides is found by name."""
    for candidate in gc.get_objects():
        if is_function(candidate):
            yield candidate
    places: list[Any] = [] if lib is None else [lib]
    for place in (*places, *list(sys.modules.values())):
        space = getattr(place, "__dict__", None)
        if type(space) is dict:
            for value in list(space.values()):
                if is_function(value):
                    yield value


def address_of(function: Any) -> int:
    """The address of a function's code."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def symbol(function: Any) -> str:
    """A function's name: as it was looked up, or as the dynamic linker knows it."""
    name = getattr(function, "__name__", None)
    return name if isinstance(name, str) else linked_name(address_of(function))


class _Symbol(ctypes.Structure):
    """``Dl_info``"""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def linked_name(address: int) -> str:
    """What the dynamic linker calls the function at an address."""
    found = _linked(address)
    name: bytes | None = found.name
    if name is not None and found.address == address:
        return name.decode(errors="replace")
    return f"function_{address:x}"


def linked_library(address: int) -> str:
    """The name of the library in which the code at an address lies."""
    file: bytes | None = _linked(address).file
    return _stem(file.decode(errors="replace")) if file else "ffi"


def _linked(address: int) -> _Symbol:
    """What the dynamic linker knows of an address; empty where it knows nothing."""
    found = _Symbol()
    look: Any = getattr(ctypes.PyDLL(None), "dladdr", None)
    if look is not None and look(ctypes.c_void_p(address), ctypes.byref(found)):
        return found
    return _Symbol()


def pointers(function: Any) -> tuple[int, bool]:
    """Which ints are addresses, as the core's bits; whether the result is a pointer."""
    addresses = 0
    for position, kind in enumerate((function.argtypes or ())[:63]):
        if _is_pointer(kind):
            addresses |= 1 << position
    nullable = _is_pointer(function.restype)
    return addresses | nullable * RESULT_IS_ADDRESS, nullable


def _is_pointer(kind: Any) -> bool:
    """Without a ``restype`` a function gives an int."""
    if not isinstance(kind, type):
        return False
    return issubclass(kind, (ctypes.c_void_p, ctypes.c_char_p, ctypes._Pointer, _CFuncPtr))


def errno_of(function: Any) -> Callable[[], int] | None:
    """What gives the errno of a function's calls; None where ctypes does not keep it."""
    return ctypes.get_errno if function._flags_ & _USE_ERRNO else None


def has_own_streams(lib: ctypes.CDLL) -> bool:
    """Known of a library by its file's name."""
    name = PurePath(str(lib._name or "")).name.lower()
    return any(known in name for known in _OWN_STREAMS)


def library_name(lib: ctypes.CDLL) -> str:
    """``libllama.so`` → llama"""
    return _stem(str(lib._name or "python"))


def _stem(file: str) -> str:
    stem = PurePath(file).name.partition(".")[0]
    return stem.removeprefix("lib") or "ffi"
