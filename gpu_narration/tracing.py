"""The light calls: ``trace_*``, ``span`` and the decorator ``trace_fn``.

``trace_*`` and ``span`` come from the core as they are.  ``trace_fn`` looks at a
function once, here, and hands everything it found to the core.
"""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, overload

from gpu_narration._core import (
    Span,
    TracedFunction,
    span,
    trace_enter,
    trace_exit,
    trace_loop,
    trace_state,
    trace_tiny,
    trace_with_correlation,
)
from gpu_narration.redaction import Rule, parameter_rule
from gpu_narration.stripping.choice import keeps_functions_plain

if TYPE_CHECKING:
    import inspect

__all__ = [
    "Span",
    "span",
    "trace_enter",
    "trace_exit",
    "trace_fn",
    "trace_loop",
    "trace_state",
    "trace_tiny",
    "trace_with_correlation",
]

F = TypeVar("F", bound=Callable[..., Any])

#: enum scope_flags in the core.
_GPU, _VRAM = 1, 2
#: A bit beside the rule of a parameter that no positional argument reaches.
_KEYWORD_ONLY = 4
#: enum function_form in the core.
_PLAIN, _COROUTINE, _GENERATOR, _ASYNC_GENERATOR = range(4)

#: Types whose values are recorded as they are.
_PLAIN_TYPES = (int, float, bool, str, bytes, type(None))

# A function that is decorated again and again (a closure) is one call site.
_sites: weakref.WeakKeyDictionary[CodeType, dict[object, _Site]] = weakref.WeakKeyDictionary()


@overload
def trace_fn(function: F, /) -> F: ...
@overload
def trace_fn(
    *, actor: str | None = None, gpu: bool = False, vram: bool = False
) -> Callable[[F], F]: ...
def trace_fn(
    function: F | None = None,
    /,
    *,
    actor: str | None = None,
    gpu: bool = False,
    vram: bool = False,
) -> F | Callable[[F], F]:
    """Makes every call of a function a span: its arguments, its result or error, its time.

    Works on functions, methods, ``staticmethod`` and ``classmethod`` objects,
    coroutine functions, generators and async generators.  The span ends exactly
    once, whether by return, exception, cancellation or ``close()``.

    ``actor`` defaults to the first package of the module path; ``gpu`` and
    ``vram`` are as for :func:`span`.  Parameters whose names look secret are
    masked, which is decided here and costs nothing per call.

    In a module that is stripped (``GPU_NARRATION_STRIP``), and everywhere under
    ``python -O``, the very same function object comes back.

    Raises TypeError for what is no function.
    """
    if function is None:
        return functools.partial(_decorate, actor=actor, flags=gpu * _GPU | vram * _VRAM)
    traced: F = _decorate(function, actor=actor, flags=gpu * _GPU | vram * _VRAM)
    return traced


def _decorate(function: Any, *, actor: str | None, flags: int) -> Any:
    if keeps_functions_plain(_module_of(function)):
        return function
    if isinstance(function, (staticmethod, classmethod)):
        traced = _decorate(function.__func__, actor=actor, flags=flags)
        return type(function)(traced)
    if isinstance(function, TracedFunction):
        return function
    if not callable(function) or isinstance(function, type):
        what = f"class {function.__name__}" if isinstance(function, type) else repr(function)
        raise TypeError(
            f"trace_fn decorates functions and methods, not {what}; "
            "put it below @property and above nothing else, or on the methods of a class"
        )
    if not hasattr(function, "__name__"):
        raise TypeError(
            "trace_fn needs a function with a __name__; wrap a partial or a callable object in a def"
        )
    return _traced(function, actor, flags)


def _module_of(function: Any) -> str:
    module = getattr(function, "__module__", None)
    return module if isinstance(module, str) else ""


def _traced(function: Any, actor: str | None, flags: int) -> TracedFunction:
    code = function.__code__ if isinstance(function, FunctionType) else None
    known = {} if code is None else _sites.setdefault(code, {})
    module = getattr(function, "__module__", None) or ""
    key: tuple[object, ...] = (module, function.__qualname__, actor)
    parameters, defaults, skip = _parameters(function)
    site = known.get(key)
    if site is not None and site.shown != _shown(defaults):
        # The same code with other defaults: one site that shows none serves them all.
        key = (*key, "other defaults")
        defaults = (_Undisclosed,) * len(defaults)
        site = known.get(key)
    traced = TracedFunction(
        function,
        module,
        actor or actor_of(module),
        function.__name__,
        parameters,
        defaults,
        form=_form(function),
        skip=skip,
        flags=flags,
        mask_result=parameter_rule(function.__name__) is Rule.MASKED,
        like=None if site is None else site.witness,
    )
    functools.update_wrapper(traced, function)
    if site is None:
        witness = TracedFunction(_no_function, "", "", "", (), (), like=traced)
        known[key] = _Site(witness, _shown(defaults))
    return traced


class _Site(NamedTuple):
    """A call site, findable without keeping its functions alive."""

    witness: TracedFunction
    shown: tuple[str | None, ...]


def _shown(defaults: tuple[object, ...]) -> tuple[str | None, ...]:
    """What the defaults look like: only those of plain types are recorded."""
    return tuple(
        f"{type(default).__name__} {default!r}" if _is_plain(default) else None
        for default in defaults
    )


def _is_plain(value: object) -> bool:
    kind = type(value)
    return any(kind is plain for plain in _PLAIN_TYPES)  # by ==, a metaclass may answer


def _no_function() -> None:
    """Stands in for a function that may be gone."""


def _form(function: Any) -> int:
    import inspect

    if inspect.isasyncgenfunction(function):
        return _ASYNC_GENERATOR
    if inspect.iscoroutinefunction(function) or _is_iterable_coroutine(function):
        return _COROUTINE
    if inspect.isgeneratorfunction(function):
        return _GENERATOR
    return _PLAIN


def _is_iterable_coroutine(function: Any) -> bool:
    """Whether ``types.coroutine`` has made it: a generator function whose result is awaited."""
    import inspect

    code = getattr(function, "__code__", None)
    return bool(getattr(code, "co_flags", 0) & inspect.CO_ITERABLE_COROUTINE)


def _parameters(function: Any) -> tuple[tuple[tuple[str, int], ...], tuple[object, ...], int]:
    """Names with their rules, defaults that may be shown, and how many leading ones to skip."""
    import inspect

    try:
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):
        return (), (), 0  # a C function without a signature: positions only
    named = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    positional = [parameter for parameter in named if parameter.kind != parameter.KEYWORD_ONLY]
    skip = 1 if positional and positional[0].name in ("self", "cls", "mcs") else 0
    shown = named[skip:]
    rules = tuple(
        (parameter.name, parameter_rule(parameter.name) | _keyword_only(parameter))
        for parameter in shown
    )
    defaults = tuple(
        _Undisclosed
        if parameter.default is parameter.empty or rule & ~_KEYWORD_ONLY != Rule.PLAIN
        else parameter.default
        for parameter, (_, rule) in zip(shown, rules, strict=True)
    )
    return rules, defaults, skip


def _keyword_only(parameter: inspect.Parameter) -> int:
    return _KEYWORD_ONLY if parameter.kind == parameter.KEYWORD_ONLY else 0


class _Undisclosed:
    """Not a plain value, so the core records that there is no default to show."""


def actor_of(module: str) -> str:
    """The actor that a module speaks as: its first package; for a script, its file's name."""
    if module != "__main__":
        return module.partition(".")[0] or "python"
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name != "__main__":
        return str(spec.name).removesuffix(".__main__").partition(".")[0]
    from pathlib import PurePath

    return PurePath(getattr(main, "__file__", None) or "main").stem
