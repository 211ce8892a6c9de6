"""The calls of this package that carry texts, and where in them the texts stand."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from gpu_narration._types import Level
from gpu_narration.editorial import secrets
from gpu_narration.editorial.checks import Kind
from gpu_narration.editorial.scopes import Scope
from gpu_narration.editorial.strings import known, positional, texts
from gpu_narration.editorial.text import Text, template

_VOICES = {"human": Kind.HUMAN, "cute": Kind.CUTE, "story": Kind.STORY}
_NAMES = {"actor": Kind.DETAIL, "action": Kind.DETAIL, "target": Kind.DETAIL}


@dataclass(frozen=True, slots=True)
class Call:
    """How a call is read.

    ``parameters`` are those by position; behind them stand values for the templates where
    ``values`` says so.  ``level`` is that of its texts, None where an argument says it.
    ``fields``: other keywords are fields of the event.  ``templates``: texts are filled
    in by the package.
    """

    parameters: tuple[str, ...]
    texts: dict[str, Kind]
    level: Level | None = None
    values: bool = False
    fields: bool = False
    templates: bool = False
    default: Level | None = None


_FULL = ("actor", "action", "target", "human")


def _narrate(level: Level | None) -> Call:
    return Call(_FULL, {**_NAMES, **_VOICES}, level, fields=True, default=Level.INFO)


def _light(*parameters: str, **kinds: Kind) -> Call:
    return Call(parameters, kinds, Level.TRACE, values=True)


CALLS = {
    "narrate": _narrate(None),
    **{f"narrate_{level.name.lower()}": _narrate(level) for level in Level},
    "NarrationFields": Call(_FULL, {**_NAMES, **_VOICES}, None, fields=True),
    "Narration": Call(_FULL, {**_NAMES, **_VOICES}, None, fields=True),
    "narrate_fn": Call(
        (), {**_NAMES, **_VOICES, "error_human": Kind.ERROR_HUMAN, "error_cute": Kind.CUTE,
             "error_story": Kind.STORY}, None, fields=True, templates=True, default=Level.INFO,
    ),
    "trace_tiny": _light(*_FULL, human=Kind.TRACE, **_NAMES),
    "trace_with_correlation": _light(*_FULL, "correlation_id", human=Kind.TRACE, **_NAMES),
    "trace_enter": _light("actor", "function", "args", args=Kind.DETAIL, function=Kind.DETAIL),
    "trace_exit": _light("actor", "function", "result", result=Kind.DETAIL, function=Kind.DETAIL),
    "trace_loop": _light("actor", "action", "index", "total", "detail", detail=Kind.DETAIL),
    "trace_state": _light(
        "actor", "state_name", "transition", "human", human=Kind.TRACE, transition=Kind.DETAIL
    ),
    "span": Call(_FULL, {**_NAMES, "human": Kind.TRACE}, Level.TRACE),
}  # fmt: skip

#: Keywords that are no fields of an event.
_NO_FIELDS = {"level", "error_level", *_FULL, *_VOICES}
_LEVELS = Level.__members__
_NUMBERS = frozenset(Level)


@dataclass(frozen=True, slots=True)
class Said:
    """A text of a call.  ``node`` is where it stands."""

    node: ast.expr
    kind: Kind
    text: Text
    level: Level | None


@dataclass(frozen=True, slots=True)
class Shown:
    """A field or an argument that is a secret by its name."""

    node: ast.AST
    message: str


def read(node: ast.Call, scope: Scope, within: Level | None = None) -> Iterator[Said | Shown]:
    """What a call says, if it is one of ours.

    ``within`` is the level of the call that this one is an argument of.
    """
    name = scope.ours(node.func)
    call = CALLS.get(name) if name is not None else None
    if call is None:
        return
    at_call = _level_of_call(node, call, within)
    arguments, values = _arguments(node, call)
    for parameter, value in arguments.items():
        kind = call.texts.get(parameter)
        if kind is None:
            continue
        at = at_call
        if kind is Kind.ERROR_HUMAN:
            given = arguments.get("error_level")
            at = Level.ERROR if given is None else level_of(given)
        found = texts(value, scope)
        for text in found:
            filled = call.templates or (call.values and values)
            if filled and not text.placeholders:
                text = template(text.body, positional(values))  # noqa: PLW2901 - the same, read as it is used
            yield Said(value, kind, text, at)
        if not found and secrets.is_secret(known(value).name):
            yield Shown(value, _argument(value))
    if call.fields:
        yield from fields(node)
    elif call.values:
        # A value that a template shows was judged with it.
        shown = any(texts(value, scope) for name, value in arguments.items() if name in call.texts)
        for value in values if not shown else []:
            if secrets.is_secret(known(value).name):
                yield Shown(value, _argument(value))


def level(node: ast.Call, name: str) -> Level | None:
    """The level of a call of ours, which is that of the fields it is given."""
    call = CALLS.get(name)
    return None if call is None else _level_of_call(node, call, None)


def fields(node: ast.Call) -> Iterator[Shown]:
    """Fields of an event that are secrets by their names: keywords, and keys of dicts."""
    given = [word.value for word in node.keywords if word.arg not in _NO_FIELDS]
    for value in (*given, *node.args[:1]):
        if isinstance(value, ast.Dict):
            for name, item in string_items(value).items():
                yield from field(item, name, item)
    for word in node.keywords:
        if (
            word.arg is not None
            and word.arg not in _NO_FIELDS
            and not isinstance(word.value, ast.Dict)
        ):
            yield from field(word, word.arg, word.value)


def string_items(node: ast.Dict) -> dict[str, ast.expr]:
    """The items of a dict that is written out, as far as their keys are texts."""
    return {
        key.value: value
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    }


def field(place: ast.AST, name: str, value: ast.expr) -> Iterator[Shown]:
    """A field that is a secret, by its name or by that of its value."""
    if secrets.is_secret(name):
        yield Shown(place, f"the field {name!r} is a secret by its name; leave it out")
    elif secrets.is_secret(known(value).name):
        yield Shown(
            value, f"the field {name!r} is given {known(value).name}, a secret by its name; leave it out"
        )  # fmt: skip


def level_of(node: ast.expr) -> Level | None:
    """The level that an expression is, where it is written out."""
    match node:
        case ast.Attribute(attr=name) | ast.Constant(value=str(name)):
            return _LEVELS.get(name.upper())
        case ast.Constant(value=int(number)) if number in _NUMBERS:
            return Level(number)
    return None


def _argument(value: ast.expr) -> str:
    return f"{known(value).name} is a secret by its name; leave it out"


def _level_of_call(node: ast.Call, call: Call, within: Level | None) -> Level | None:
    """The level that a call has: None where that is known only when it runs."""
    if call.level is not None:
        return call.level
    for word in node.keywords:
        if word.arg == "level":
            return level_of(word.value)
        if word.arg is None and not isinstance(word.value, ast.Dict):
            return None  # **options may have a level
    return within if call.default is None else call.default


def _arguments(node: ast.Call, call: Call) -> tuple[dict[str, ast.expr], list[ast.expr]]:
    """The arguments by parameter, and the values behind them."""
    plain = list(node.args)
    starred = next((at for at, one in enumerate(plain) if isinstance(one, ast.Starred)), None)
    named = plain[: len(call.parameters)] if starred is None else plain[:starred]
    arguments = dict(zip(call.parameters, named, strict=False))
    if named and isinstance(named[0], ast.Dict) and call.fields:
        arguments = string_items(named[0])  # fields as a plain dict
    arguments.update({word.arg: word.value for word in node.keywords if word.arg is not None})
    return arguments, plain[len(call.parameters) :]
