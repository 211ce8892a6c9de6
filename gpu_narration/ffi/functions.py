"""``trace_function()`` and ``@traced``: one function of C code."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, TypeVar, overload

from gpu_narration import _core
from gpu_narration._errors import AlreadyTracedError
from gpu_narration.ffi import cffi_calls, ctypes_calls
from gpu_narration.ffi.description import Formatters, Function
from gpu_narration.ffi.libraries import TracedLibrary, handle_of
from gpu_narration.ffi.recipes import options, recipe

F = TypeVar("F", bound=Callable[..., Any])

#: What is told of the function pointers of ctypes that are traced one by one, by id; the
#: reference takes its entry with it.  They cannot be hashed.
_single: dict[int, tuple[weakref.ref[Any], _core.Foreign | None]] = {}
#: Their classes: original → traced.  Never taken down: there are few.
_classes: dict[type, Any] = {}


def trace_function(
    function: Any,
    *,
    actor: str | None = None,
    name: str | None = None,
    gpu: bool = False,
    vram: bool = False,
    args: Formatters | None = None,
    own_streams: bool = False,
    describe: Function | None = None,
) -> Any:
    """Makes every call of one function of C code a span; gives the function to call.

    A function of ctypes or cffi is traced where it is, and comes back itself.  For any
    other callable of C code (Cython, pybind11, nanobind, built in) a stand-in comes back,
    which looks like it: bind the name to that.

    actor: default the library, or the first package of the module.  name: default the
    function's own.  The others are as for :func:`trace_library`, and ``describe`` is the
    function's description.

    Tracing it again gives back what came before.  Raises TypeError for what is no
    function of C code, :class:`~gpu_narration._errors.AlreadyTracedError` for one whose
    library is traced.
    """
    if type(function) is _core.ForeignFunction:
        return function
    own = name or _name_of(function)
    given = options(
        actor=actor or _actor_of(function),
        gpu=gpu,
        vram=vram,
        args=None if args is None else {"*": args},
        own_streams=own_streams,
        describe=None if describe is None else {"*": describe},
    )
    if ctypes_calls.is_function(function):
        return _trace_pointer(function, own, given)
    if cffi_calls.is_function(function):
        foreign = recipe(own, given)
        if foreign is not None:
            _core.foreign_take(function, foreign)
        return function
    if not _can_stand_for(function):
        raise TypeError(
            f"ffi.trace_function() is for functions of C code, not for {type(function).__name__}"
            + ("; decorate a Python function with trace_fn" if _is_python(function) else "")
        )
    foreign = recipe(own, given)
    return function if foreign is None else _core.ForeignFunction(function, foreign)


@overload
def traced(function: F, /) -> F: ...
@overload
def traced(**how: Any) -> Callable[[F], F]: ...
def traced(function: Any = None, /, **how: Any) -> Any:
    """:func:`trace_function` as a decorator, with or without arguments."""
    if function is None:
        return lambda later: trace_function(later, **how)
    return trace_function(function, **how)


def untrace(target: Any) -> Any:
    """Ends the tracing of a library, a module or a function; gives the function as it was.

    Of what is not traced it does nothing.
    """
    if isinstance(target, TracedLibrary):
        target.untrace()
        return target._lib
    if type(target) is _core.ForeignFunction:
        return target.__wrapped__
    handle = handle_of(target)
    if handle is not None:
        handle.untrace()
    elif ctypes_calls.is_function(target):
        if _single.pop(id(target), None) is not None:
            kind = type(target)
            target.__class__ = _original_class(kind)
            _core.foreign_forget(kind)
            _core.foreign_adopt(kind, _told)  # for the other functions of the class
            _give_to_library(target)
    elif cffi_calls.is_function(target):
        _core.foreign_release(target)
    return target


def _give_to_library(function: Any) -> None:
    """A function that was traced alone belongs to its library, if that is traced by now."""
    lib = (function._objects or {}).get("0")
    if lib is not None and handle_of(lib) is not None:
        kind = lib._FuncPtr
        if ctypes_calls.is_traced(kind) and ctypes_calls.original_of(kind) is type(function):
            function.__class__ = kind


def _trace_pointer(function: Any, name: str, given: Any) -> Any:
    if id(function) in _single:
        return function
    kind = type(function)
    if ctypes_calls.is_traced(kind):
        raise AlreadyTracedError(
            f"the library of {name} is traced already",
            meaning="a function can be traced in one way at a time",
            next_step="give describe= to trace_library(), or end that with untrace()",
        )
    addresses, nullable = ctypes_calls.pointers(function)
    foreign = recipe(
        name,
        given,
        addresses=addresses,
        nullable=nullable,
        get_errno=ctypes_calls.errno_of(function),
    )
    key = id(function)
    _single[key] = weakref.ref(function, lambda _: _single.pop(key, None)), foreign
    if kind not in _classes:
        _classes[kind] = ctypes_calls.traced_class(kind, _told)
    function.__class__ = _classes[kind]
    return function


def _told(function: Any) -> _core.Foreign | None:
    known = _single.get(id(function))
    return None if known is None else known[1]


def _original_class(traced_kind: type) -> Any:
    return next(original for original, kind in _classes.items() if kind is traced_kind)


def _can_stand_for(function: Any) -> bool:
    return callable(function) and not isinstance(function, type) and not _is_python(function)


def _is_python(function: Any) -> bool:
    return isinstance(function, (FunctionType, _core.TracedFunction)) or (
        type(function) is MethodType and _is_python(function.__func__)
    )


def _name_of(function: Any) -> str:
    if ctypes_calls.is_function(function):
        return ctypes_calls.symbol(function)
    if cffi_calls.is_function(function) and type(function) is not BuiltinFunctionType:
        return ctypes_calls.linked_name(cffi_calls.address_of(function))
    name = getattr(function, "__name__", None)
    return name if isinstance(name, str) else type(function).__name__


def _actor_of(function: Any) -> str:
    if ctypes_calls.is_function(function):
        lib = (function._objects or {}).get("0")
        return ctypes_calls.library_name(lib) if isinstance(lib, ctypes_calls.CDLL) else "ffi"
    if type(function) is BuiltinFunctionType and cffi_calls.is_library(function.__self__):
        return cffi_calls.library_name(function.__self__)
    if cffi_calls.is_function(function):  # a pointer, which knows its code alone
        return ctypes_calls.linked_library(cffi_calls.address_of(function))
    module = getattr(function, "__module__", None)
    first = module.partition(".")[0].strip("_") if isinstance(module, str) else ""
    return first or "ffi"
