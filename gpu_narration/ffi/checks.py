"""What options of ``trace_library`` and descriptions can be: refused when they are given.

Functions of ctypes are described at their first call, where a bad value could only be
contained, and the function would stay unrecorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from gpu_narration._errors import OptionError

if TYPE_CHECKING:
    from gpu_narration.ffi.description import Function

_TRUTHS = ("gpu", "vram", "own_streams")


def text(value: object, what: str) -> None:
    if not isinstance(value, str):
        raise OptionError(f"{what} is {_kind(value)}", next_step="give a name")


def truth(value: object, what: str) -> None:
    if not isinstance(value, bool):
        raise OptionError(f"{what} is {_kind(value)}", next_step="give True or False")


def names(value: Any, what: str) -> tuple[str, ...]:
    """Patterns of names; one may stand alone, its letters are no patterns."""
    given = (value,) if isinstance(value, str) else value
    found = tuple(given) if isinstance(given, Iterable) else (given,)
    for pattern in found:
        if not isinstance(pattern, str):
            raise OptionError(
                f"{what} has a pattern that is {_kind(pattern)}",
                next_step="give patterns of function names, such as 'llama_*'",
            )
    return found


def formatters(args: object) -> None:
    if args is not None and not isinstance(args, Mapping):
        raise OptionError(
            f"args is {_kind(args)}",
            next_step="give a mapping of name patterns to formatters",
        )
    names(args or (), "args")


def preset(describe: object) -> None:
    if describe is None or callable(describe):
        return
    if not isinstance(describe, Mapping):
        raise OptionError(
            f"describe is {_kind(describe)}",
            next_step="give a mapping of name patterns to ffi.Function, or a callable",
        )
    names(describe, "describe")
    for pattern, described in describe.items():
        function(described, f"describe[{pattern!r}]")


def function(given: object, what: str) -> None:
    """Refuses what is no :class:`~gpu_narration.ffi.Function`, or one with odd fields."""
    from gpu_narration.ffi.description import Function

    if not isinstance(given, Function):
        raise OptionError(f"{what} is {_kind(given)}", next_step="give an ffi.Function")
    for field in ("actor", "action"):
        if getattr(given, field) is not None:
            text(getattr(given, field), f"{what}.{field}")
    for field in ("before", "after"):
        hook = getattr(given, field)
        if hook is not None and not callable(hook):
            raise OptionError(f"{what}.{field} is {_kind(hook)}", next_step="give a callable")
    for field in _TRUTHS:
        if getattr(given, field) is not None:
            truth(getattr(given, field), f"{what}.{field}")
    if type(given.pace_ns) is not int or given.pace_ns < 0:
        raise OptionError(
            f"{what}.pace_ns is {given.pace_ns!r}", next_step="give whole nanoseconds, 0 or more"
        )
    _failure(given, what)


def _failure(given: Function, what: str) -> None:
    failure = given.failure
    if failure is None or callable(failure):
        return
    if not isinstance(failure, Mapping):
        raise OptionError(
            f"{what}.failure is {_kind(failure)}",
            next_step="give a mapping of codes to texts, or a callable",
        )
    meanings: Mapping[Any, Any] = failure
    for code, meaning in meanings.items():
        pair = meaning if isinstance(meaning, tuple) else (meaning, "")
        if len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise OptionError(
                f"{what}.failure has for {code!r} what is neither a text nor a pair of texts",
                next_step='give a meaning, or ("NAME", "meaning")',
            )


def _kind(value: object) -> str:
    return type(value).__name__
