"""Tracing a library that is used through cffi, in ABI mode and in API mode.

The functions stay the very objects that they are, see boundary/foreign_cffi.c: what
holds them already is traced as well, and cffi still knows them.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import PurePath
from types import BuiltinFunctionType
from typing import Any

from gpu_narration import _core
from gpu_narration.ffi.recipes import RESULT_IS_ADDRESS, Options, recipe

_POINTERS = ("pointer", "function")


def is_library(value: object) -> bool:
    """Whether a value is a cffi library: ``ffi.dlopen(…)``, or ``lib`` of a compiled module."""
    kind = type(value)
    if kind.__module__ == "_cffi_backend":
        return kind.__name__ == "Lib"
    return kind.__module__ == "cffi.api" and kind.__name__.startswith("FFILibrary")


def is_function(value: object) -> bool:
    """Whether a value is a function of a cffi library."""
    if type(value) is BuiltinFunctionType:
        return is_library(value.__self__)
    backend = sys.modules.get("_cffi_backend")
    if backend is None or not issubclass(type(value), backend._CDataBase):
        return False
    kind = backend.typeof(value)
    return bool(kind.kind == "function")


class CffiCalls:
    """The functions of a cffi library while they are traced."""

    def __init__(self, lib: Any, given: Options) -> None:
        self._functions: list[Any] = []
        for name, function in functions_of(lib, given):
            self._take(name, function, given)

    def undo(self) -> None:
        """Makes every function what it was."""
        for function in self._functions:
            _core.foreign_release(function)
        self._functions.clear()

    @property
    def count(self) -> int:
        """How many functions are traced."""
        return len(self._functions)

    def _take(self, name: str, function: Any, given: Options) -> None:
        addresses, nullable = _pointers(function)
        foreign = recipe(name, given, addresses=addresses, nullable=nullable)
        if foreign is not None and _core.foreign_take(function, foreign):
            self._functions.append(function)


def functions_of(lib: Any, given: Options) -> Iterator[tuple[str, Any]]:
    """The functions of a library that the options name.

    They are looked up, as the program would: a name that the library does not have is
    left out.
    """
    for name in dir(lib):
        if not given.names(name):
            continue
        value = None
        with contextlib.suppress(Exception):  # a declaration that the library does not have
            value = getattr(lib, name)
        if is_function(value):
            yield name, value


def _pointers(function: Any) -> tuple[int, bool]:
    """As of ctypes; in API mode the types are not told, and pointers are objects anyway."""
    if type(function) is BuiltinFunctionType:
        return 0, False
    backend: Any = sys.modules["_cffi_backend"]
    nullable = backend.typeof(function).result.kind in _POINTERS
    return nullable * RESULT_IS_ADDRESS, nullable


def address_of(function: Any) -> int:
    """The address of the code of a function in ABI mode."""
    backend: Any = sys.modules["_cffi_backend"]
    return int(backend.cast(backend.new_primitive_type("uintptr_t"), function))


def library_name(lib: Any) -> str:
    """Of the file that was opened, or of the compiled module."""
    kind = type(lib).__name__
    if kind.startswith("FFILibrary_"):
        return _stem(kind.removeprefix("FFILibrary_"))
    text = repr(lib)  # cffi's own: <Lib object for 'name'>
    return _stem(text.partition("'")[2].rpartition("'")[0]) if "'" in text else "cffi"


def _stem(name: str) -> str:
    stem = PurePath(name).name.partition(".")[0].removeprefix("lib").strip("_")
    return stem or "cffi"
