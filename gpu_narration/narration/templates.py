"""Sentences with holes, for :func:`gpu_narration.narrate_fn`: checked once, filled per call.

A hole names an argument, ``result``, ``error`` or ``elapsed_ms``, and may go on to
attributes and items: ``{result.id}``, ``{jobs[0]}``.  What is filled in is never read as
a template.  Of the program's code only a property behind an attribute can run; what it
raises is shown in the hole.  Items are taken from lists, tuples and dicts alone.
"""

from __future__ import annotations

import difflib
import re
import string
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from gpu_narration import _core
from gpu_narration._errors import TemplateError

#: A longer value is cut: a sentence is to be read.
_VALUE_MAX = 200
#: A wider hole would be an attack on memory.
_WIDEST = 1000

_PATH = re.compile(r"(?P<name>[^.\[\]]*)(?P<steps>(?:\.[^.\[\]]+|\[[^\[\]]+\])*)")
_STEP = re.compile(r"\.(?P<attribute>[^.\[\]]+)|\[(?P<item>[^\[\]]+)\]")
_formatter = string.Formatter()


class Step(NamedTuple):
    """One step from a value to what is shown of it."""

    attribute: str | None
    item: str | int | None


class Hole(NamedTuple):
    """A place in a sentence."""

    name: str
    steps: tuple[Step, ...]
    conversion: str | None
    spec: str


class Template:
    """A checked sentence."""

    def __init__(self, option: str, text: str, known: Collection[str]) -> None:
        """``option`` is what the text was given as; ``known`` the names it may use.

        Raises :class:`TemplateError` for a name that is not among them, and for what is
        no template.
        """
        self.text = text
        self.parts: list[str | Hole] = []
        try:
            parsed = list(_formatter.parse(text))
        except ValueError as error:
            raise TemplateError(
                f"{option}={text!r} is no template: {error}",
                next_step="write {{ and }} for braces that are meant as such",
            ) from None
        for literal, field, spec, conversion in parsed:
            if literal:
                self.parts.append(literal)
            if field is not None:
                self.parts.append(_hole(option, text, field, spec or "", conversion, known))
        self.names = frozenset(part.name for part in self.parts if isinstance(part, Hole))

    def fill(self, values: Mapping[str, Any]) -> str:
        """The sentence; ``values`` has all of :attr:`names`.  Never raises."""
        return "".join(
            part if isinstance(part, str) else _shown(part, values[part.name])
            for part in self.parts
        )


class Stand:
    """Stands in a hole for a value: its text is all there is of it."""

    def __init__(self, text: str) -> None:
        self.text = text


#: An argument that is not to be shown.
MASKED = Stand("•••")
#: What is not known, as the result of a call that raised.
UNKNOWN = Stand("?")


def _hole(
    option: str, text: str, field: str, spec: str, conversion: str | None, known: Collection[str]
) -> Hole:
    where = f"{{{field}}} in {option}={text!r}"
    match = _PATH.fullmatch(field)
    if match is None:
        raise TemplateError(
            f"{where} does not parse", next_step="write {name}, {name.attribute} or {name[0]}"
        )
    name = match["name"]
    if name not in known:
        raise TemplateError(
            f"{where}: there is no {name!r}" if name else f"{where} has no name",
            next_step=_suggestion(name, known),
        )
    if conversion not in (None, "r", "s", "a"):
        raise TemplateError(f"{where}: there is no conversion !{conversion}", next_step="use !r")
    if "{" in spec or any(int(width) > _WIDEST for width in re.findall(r"\d+", spec)):
        raise TemplateError(
            f"{where}: the format {spec!r} cannot be used",
            next_step=f"no holes in it, no width above {_WIDEST}",
        )
    steps = []
    for step in _STEP.finditer(match["steps"]):
        attribute, item = step["attribute"], step["item"]
        if attribute is not None and attribute.startswith("_"):
            raise TemplateError(f"{where}: {attribute} is private", next_step="use a public name")
        number = item is not None and item.isascii() and item.isdecimal()
        steps.append(Step(attribute, int(item) if number and item is not None else item))
    return Hole(name, tuple(steps), conversion, spec)


def _suggestion(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    if near:
        return f"did you mean {{{near[0]}}}?"
    return f"use one of {', '.join(sorted(known))}"


# ---- filling in ----


def _shown(hole: Hole, value: Any) -> str:
    try:
        for step in hole.steps:
            value = _follow(value, step)
        return _text(value, hole)
    except Exception as error:  # noqa: BLE001 - a property of the program's: it stays its own
        return f"<{hole.name}: {type(error).__name__}>"


def _follow(value: Any, step: Step) -> Any:
    if type(value) is Stand:
        return value
    if step.attribute is not None:
        return getattr(value, step.attribute)
    # The builtins' own: an array's would wait for its device.
    if isinstance(value, dict):
        if dict.__contains__(value, step.item):
            return dict.__getitem__(value, step.item)
        return dict.__getitem__(value, str(step.item))  # {jobs[7]} of a dict with the key "7"
    if isinstance(value, (list, tuple)) and isinstance(step.item, int):
        kind: Any = list if isinstance(value, list) else tuple
        return kind.__getitem__(value, step.item)
    raise TypeError(f"{type(value).__name__} has no items to show")


def _text(value: Any, hole: Hole) -> str:
    if type(value) is Stand:
        return value.text
    if isinstance(value, BaseException):
        value = error_text(value) or type(value).__name__
    plain = _core.summary(value)
    if hole.conversion in ("r", "a"):
        plain = repr(plain) if hole.conversion == "r" else ascii(plain)
    if isinstance(plain, str) and len(plain) > _VALUE_MAX:
        plain = f"{plain[:_VALUE_MAX]}…"
    try:
        return format(plain, hole.spec) if hole.spec else str(plain)
    except (ValueError, TypeError):
        return str(plain)  # a format of numbers, and no number: shown without it


def error_text(error: BaseException) -> str:
    """What an exception says, where it says so without the program's own code."""
    arguments = error.args
    if len(arguments) == 1 and type(arguments[0]) is str:
        return arguments[0]
    kind = type(error)
    if kind.__str__ in (BaseException.__str__, OSError.__str__) and all(
        type(argument) in (str, int, float, bool, bytes, type(None)) for argument in arguments
    ):
        return str(error)
    return ""
