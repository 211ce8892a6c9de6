"""The filter: which events are recorded, and which of them the console shows.

A filter is a list of directives separated by commas::

    info, myapp.worker = trace, engine.decode = trace/100, tokenizer = off, console:warn

``level`` alone is the default; ``name=level`` holds for events whose module, whose actor
or whose actor and action (``engine.decode``) is ``name`` or lies below it
(``myapp.worker`` covers ``myapp.worker.pool``).  The longest matching name wins.  ``::``
is read as ``.``.  Levels: trace debug info warn error fatal, and off.  Without a default
directive everything else is recorded.

``level/N`` thins the events of exactly that level: of each call site the first and then
one in N is recorded; what is above it stays whole.  The trace tells how many were left out.

``console:`` before a directive makes it one of the console, which shows less than what is
recorded and never more; ``file:`` is what holds without.
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
_OUTPUTS = ("file", "console")
_NAME = re.compile(r"[^\s=,;\"':/]+")
_OUTPUT = re.compile(r"\s*([^\s=,:]+)\s*:(?!:)")
#: A threshold is a level, and above these bits of how many events one is recorded.
_LEVEL_BITS = 8
_EVERY_MAX = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Filter:
    """A parsed filter.

    ``default`` and the values of ``directives`` are thresholds: the lowest level that is
    let through, :data:`~gpu_narration._types.OFF` for nothing, and where that level is
    thinned ``N << 8`` added to it.
    """

    default: int = Level.TRACE
    directives: dict[str, int] = field(default_factory=dict)
    #: What it was parsed from.
    text: str = field(default="", compare=False)
    #: What the console shows of it; None: all that is recorded.
    console: Filter | None = None

    def threshold(self, module: str, actor: str, action: str = "") -> int:
        """What an event of this actor and action, called from this module, needs."""
        if not self.directives:
            return self.default
        longest = -1
        level = self.default
        candidates = (actor, module, f"{actor}.{action}")
        for name, directive_level in self.directives.items():
            if len(name) > longest and any(_covers(name, each) for each in candidates):
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
    defaults: dict[str, int] = {}
    directives: dict[str, dict[str, int]] = {output: {} for output in _OUTPUTS}
    for part in text.split(","):
        directive = part.strip()
        if not directive:
            continue
        output, rest = _output(directive)
        name, equals, level = rest.partition("=")
        if not equals:
            defaults[output] = _threshold(rest, directive, output, named=False)
            continue
        name = name.strip().replace("::", ".")
        if not _NAME.fullmatch(name):
            raise FilterError(
                f"filter directive {directive!r} has no usable name",
                meaning="it reads name=level",
                next_step=(
                    "directives are separated by commas"
                    if ";" in name
                    else "write for example myapp.worker=trace"
                ),
            )
        directives[output][name] = _threshold(level.strip(), directive, output, named=True)
    console = None
    if "console" in defaults or directives["console"]:
        console = Filter(defaults.get("console", Level.TRACE), directives["console"])
    return Filter(defaults.get("file", Level.TRACE), directives["file"], text, console)


def _output(directive: str) -> tuple[str, str]:
    """Whose directive it is, and what remains of it."""
    found = _OUTPUT.match(directive)
    if found is None:
        return "file", directive
    output = found[1].lower()
    if output in _OUTPUTS:
        return output, directive[found.end() :].strip()
    close = difflib.get_close_matches(output, _OUTPUTS, n=1)
    name, _, level = directive.partition(":")
    suggestion = f"{name.strip()}={level.strip()}"
    raise FilterError(
        f"filter directive {directive!r} is for the unknown output {found[1]!r}",
        meaning=f"outputs are {' and '.join(_OUTPUTS)}; a name stands before '=', or before '::'",
        next_step=f"did you mean {close[0] + ':' + level.strip() if close else suggestion}?",
    )


def _covers(name: str, candidate: str) -> bool:
    return candidate == name or (
        candidate.startswith(name) and candidate[len(name) : len(name) + 1] == "."
    )


def _threshold(text: str, directive: str, output: str, *, named: bool) -> int:
    word, slash, every = (part.strip() for part in text.partition("/"))
    level = _LEVELS.get(word.lower())
    if level is None:
        raise FilterError(
            f"filter directive {directive!r} has the unknown level {word!r}",
            meaning="levels are trace debug info warn error fatal off",
            next_step=_suggestion(word, named=named),
        )
    if not slash:
        return level
    number = int(every) if every.isascii() and every.isdigit() else 0
    if not 1 <= number <= _EVERY_MAX or level == OFF or output != "file":
        raise FilterError(
            f"filter directive {directive!r} thins by {every!r}",
            meaning="level/N records one event in N of that level, with N from 1 to 1,000,000,000; "
            "off and the console are not thinned",
            next_step="write for example engine.decode=trace/100",
        )
    return level if number == 1 else level | number << _LEVEL_BITS


def _suggestion(word: str, *, named: bool) -> str:
    first, separator, rest = (part.strip() for part in re.sub("[;: ]", "|", word).partition("|"))
    if separator and not named and _LEVELS.get(rest.lower()) is not None:
        return f"did you mean {first}={rest}?"
    if separator and _LEVELS.get(first.lower()) is not None:
        return "directives are separated by commas"
    close = difflib.get_close_matches(word.lower(), _LEVELS, n=1)
    if close:
        return f"did you mean {close[0]}?"
    if not named and _NAME.fullmatch(word.replace("::", ".")):
        return f"a name needs a level, as in {word}=trace"
    return ""
