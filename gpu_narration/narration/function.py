"""``narrate_fn``: a function that tells in a sentence how each of its calls went."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from gpu_narration._types import Level

F = TypeVar("F", bound=Callable[..., Any])

#: With this set to 1, or under ``python -X dev``, templates are judged by the rules for texts.
LINT_VARIABLE = "GPU_NARRATION_LINT"


def narrate_fn(
    *,
    human: str,
    action: str | None = None,
    actor: str | None = None,
    target: str = "",
    error_human: str | None = None,
    cute: str | None = None,
    story: str | None = None,
    level: Level | str | int = "info",
    error_level: Level | str | int = "error",
) -> Callable[[F], F]:
    """Narrates every call of a function when it has ended.

    ``human``, ``cute``, ``story`` and ``target`` are sentences with holes that name the
    function's arguments, ``result`` and ``elapsed_ms``: ``"Dispatched {job_id} to
    {result.id} in {elapsed_ms} ms"``.  ``error_human`` is told of a call that raised; it
    has ``error`` and ``error_kind`` in place of ``result``, and so has a ``target``, where
    a hole that is not known yet reads ``?``.  Attributes and items of lists, tuples and
    dicts may follow a name.  All holes are checked here.

    ``action`` is the function's name and ``actor`` the first package of its module, if
    not given.  ``level`` is that of a call that returned, ``error_level`` that of one that
    raised; a call that was cancelled or interrupted is told at WARN.  Each narration has
    ``duration_ms``, and after an exception ``error_kind``.  What a call raises goes on as
    it is.

    Works on functions, methods, ``staticmethod`` and ``classmethod`` objects, coroutine
    functions, generators and async generators, which are told once, at their end; the
    result of a generator is what it returns.  Arguments whose names look secret are
    masked.  Time runs from the call, for a coroutine or generator from its first step.

    Under ``python -X dev`` or ``GPU_NARRATION_LINT=1`` a sentence that breaks a rule for texts
    (docs/lint.md) is a :class:`NarrationStyleWarning`.

    It stays where trace calls are stripped, as narrations do.

    Raises :class:`TemplateError` for a hole that cannot be filled, with a suggestion;
    :class:`OptionError` for an unknown level; TypeError for what is no function.
    """
    options = {
        "human": human, "action": action, "actor": actor, "target": target,
        "error_human": error_human, "cute": cute, "story": story,
        "level": level, "error_level": error_level,
    }  # fmt: skip
    return functools.partial(_decorate, options=options)


def _decorate(function: Any, *, options: dict[str, Any]) -> Any:
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(_decorate(function.__func__, options=options))
    if not callable(function) or isinstance(function, type) or not hasattr(function, "__name__"):
        raise TypeError(
            f"narrate_fn decorates functions and methods, not {function!r}; "
            "put it below @property, or on the methods of a class"
        )
    # Here, since a program that decorates nothing need not load it.
    from gpu_narration.narration.told import Telling, wrap

    telling = Telling(function, **options)
    if sys.flags.dev_mode or os.environ.get(LINT_VARIABLE) == "1":
        from gpu_narration.editorial.decorated import warn_of
        from gpu_narration.narration.levels import level_from

        warn_of(
            function,
            {kind: options[kind] for kind in ("human", "error_human", "cute", "story")},
            level=level_from(options["level"]),
            error_level=level_from(options["error_level"]),
        )
    return wrap(function, telling)
