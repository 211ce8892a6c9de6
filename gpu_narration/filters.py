"""The filter: which events are recorded.

A filter is a list of directives separated by commas::

    info, myapp.worker = trace, tokenizer = off

``level`` alone is the default; ``name=level`` holds for events whose actor or
whose module is ``name`` or lies below it (``myapp.worker`` covers
``myapp.worker.pool``).  The longest matching name wins.  ``::`` is read as
``.``.  Levels: trace debug info warn error fatal, and off.  Without a default
directive everything else is recorded.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field

from gpu_narration._errors import FilterError
from gpu_narration._types import OFF, Level

_LEVELS = {
    "trace": Level.TRACE,
    "debug": Level.DEBUG,
    "info": Level.INFO,
    "warn": Level.WARN,
    "warning": Level.WARN,
    "error": Level.ERROR,
    "fatal": Level.FATAL,
    "off": OFF,
    "mute": OFF,
    "none": OFF,
}
_NAME = re.compile(r"[^\s=,\"']+")


@dataclass(frozen=True, slots=True)
class Filter:
    """A parsed filter.

    ``default`` and the values of ``directives`` are the lowest levels that are
    let through; :data:`~gpu_narration._types.OFF` lets nothing through.
    """

    default: int = Level.TRACE
    directives: dict[str, int] = field(default_factory=dict)
    #: What it was parsed from.
    text: str = field(default="", compare=False)

    def threshold(self, module: str, actor: str) -> int:
        """The lowest level that an event of this actor, called from this module, needs."""
        if not self.directives:
            return self.default
        longest = -1
        level = self.default
        for name, directive_level in self.directives.items():
            if len(name) > longest and (_covers(name, actor) or _covers(name, module)):
                longest, level = len(name), directive_level
        return level

    @property
    def passes_everything(self) -> bool:
        """Whether no event can be kept out."""
        return self.default <= Level.TRACE and all(
            level <= Level.TRACE for level in self.directives.values()
        )


def parse(text: str) -> Filter:
    """Parses a filter.

    Raises :class:`FilterError` naming the part that does not parse.
    """
    given: object = text  # of any type: a program that is not checked calls this too
    if not isinstance(given, str):
        raise FilterError(
            f"the filter is {type(given).__name__}, not str",
            next_step="write for example 'info,myapp.worker=trace'",
        )
    default: int = Level.TRACE
    directives: dict[str, int] = {}
    for part in text.split(","):
        directive = part.strip()
        if not directive:
            continue
        name, equals, level = directive.partition("=")
        if not equals:
            default = _level(directive, directive)
            continue
        name = name.strip().replace("::", ".")
        if not _NAME.fullmatch(name):
            raise FilterError(
                f"filter directive {directive!r} has no usable name",
                meaning="it reads name=level",
                next_step="write for example myapp.worker=trace",
            )
        directives[name] = _level(level.strip(), directive)
    return Filter(default, directives, text)


def _covers(name: str, candidate: str) -> bool:
    return candidate == name or (
        candidate.startswith(name) and candidate[len(name) : len(name) + 1] == "."
    )


def _level(text: str, directive: str) -> int:
    level = _LEVELS.get(text.lower())
    if level is not None:
        return level
    close = difflib.get_close_matches(text.lower(), _LEVELS, n=1)
    raise FilterError(
        f"filter directive {directive!r} has the unknown level {text!r}",
        meaning="levels are trace debug info warn error fatal off",
        next_step=f"did you mean {close[0]}?" if close else "",
    )
