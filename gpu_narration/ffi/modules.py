"""Tracing what a Python module offers of C code.

Function pointers of ctypes, bare or inside the module's own wrappers, lead to the
libraries they come from, which are traced.  What Cython, pybind11, nanobind and other C
code make is replaced in the module by a stand-in.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from gpu_narration import _core
from gpu_narration.ffi import cffi_calls, ctypes_calls
from gpu_narration.ffi.escaped import Escaped, find
from gpu_narration.ffi.recipes import Options, recipe

#: What C code makes functions of; by name, since their modules are not loaded.
_KINDS = ("cython_function_or_method", "nb_func", "fused_cython_function", "builtin_function_or_method")  # fmt: skip
#: So deep are wrappers looked into.
_DEPTH = 3


def libraries_of(module: ModuleType) -> list[Any]:
    """The libraries of ctypes and cffi whose functions a module holds, each once."""
    found: dict[int, Any] = {}
    for value in list(vars(module).values()):
        if cffi_calls.is_library(value):
            found[id(value)] = value
            continue
        for function in _pointers_in(value, _DEPTH):
            lib = (function._objects or {}).get("0")
            if isinstance(lib, ctypes_calls.CDLL):
                found[id(lib)] = lib
    return list(found.values())


def _pointers_in(value: Any, depth: int) -> Iterator[Any]:
    """Function pointers that a value is, or that it wraps."""
    if ctypes_calls.is_function(value):
        yield value
    elif type(value) is FunctionType and depth > 0:
        wrapped = value.__dict__.get("__wrapped__")
        if wrapped is not None:
            yield from _pointers_in(wrapped, depth - 1)
        for cell in value.__closure__ or ():
            try:
                inside = cell.cell_contents
            except ValueError:  # still empty
                continue
            yield from _pointers_in(inside, depth - 1)


def c_functions_of(module: ModuleType) -> dict[str, Any]:
    """The functions of C code that are the module's own, by their names in it."""
    return {
        name: value
        for name, value in list(vars(module).items())
        if is_c_function(value) and _is_own(value, module) and not name.startswith("__")
    }


def is_c_function(value: object) -> bool:
    """Whether a value is a function that C code made, and that a stand-in can stand for."""
    kind = type(value)
    if kind is BuiltinFunctionType:
        return not cffi_calls.is_function(value)
    return kind.__name__ in _KINDS


def _is_own(function: Any, module: ModuleType) -> bool:
    home = getattr(function, "__module__", None)
    return isinstance(home, str) and (
        home == module.__name__ or home.startswith(f"{module.__name__}.")
    )


class ModuleCalls:
    """The C functions of a module while stand-ins stand for them."""

    def __init__(self, module: ModuleType, given: Options) -> None:
        self._module = module
        self._replaced: dict[str, tuple[Any, Any]] = {}
        for name, function in c_functions_of(module).items():
            foreign = recipe(name, given)
            if foreign is not None:
                stand_in = _core.ForeignFunction(function, foreign)
                self._replaced[name] = function, stand_in
                setattr(module, name, stand_in)

    @property
    def count(self) -> int:
        """How many functions are traced."""
        return len(self._replaced)

    def escaped(self) -> tuple[Escaped, ...]:
        """Who holds the functions themselves."""
        originals = {name: function for name, (function, _) in self._replaced.items()}
        return find(originals, list(self._replaced.values()))

    def undo(self) -> None:
        """Puts the functions back, where nobody else has put something else."""
        for name, (function, stand_in) in self._replaced.items():
            if vars(self._module).get(name) is stand_in:
                setattr(self._module, name, function)
        self._replaced.clear()
