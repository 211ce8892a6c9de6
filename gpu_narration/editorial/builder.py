"""The fluent form: ``Narration(...).human("…").cute("…").emit()``."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from gpu_narration._types import Level
from gpu_narration.editorial import secrets
from gpu_narration.editorial.calls import Said, Shown, fields, level_of
from gpu_narration.editorial.checks import Kind
from gpu_narration.editorial.scopes import Scope
from gpu_narration.editorial.strings import texts

_ROOT = "Narration"
_VOICES = {"human": Kind.HUMAN, "cute": Kind.CUTE, "story": Kind.STORY}
_LEVELS = {name.lower(): level for name, level in Level.__members__.items()}
#: How many names of a Narration are followed.
_NAMES = 8


def chain(node: ast.Call, scope: Scope) -> list[ast.Call]:
    """The calls of a chain from its outermost on, if it begins at a ``Narration``.

    The one that makes the ``Narration`` is not among them.
    """
    calls: list[ast.Call] = []
    inner: ast.expr = node
    while isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute):
        if scope.ours(inner.func) == _ROOT:
            return calls
        calls.append(inner)
        inner = inner.func.value
    return calls if calls and _is_narration(inner, scope) else []


def said(calls: list[ast.Call], scope: Scope) -> Iterator[Said | Shown]:
    """What a chain says."""
    level = _level(calls)
    for call in calls:
        method = _method(call)
        yield from fields(call)
        spoken = {word.arg: word.value for word in call.keywords if word.arg in _VOICES}
        if method in _VOICES and call.args:
            spoken[method] = call.args[0]
        for name, words in spoken.items():
            for text in texts(words, scope):
                yield Said(words, _VOICES[name or ""], text, level)
        if method not in _VOICES and secrets.is_secret(method):
            yield Shown(call, f"the field {method!r} is a secret by its name; leave it out")


def _is_narration(node: ast.expr, scope: Scope, seen: frozenset[str] = frozenset()) -> bool:
    """Whether an expression gives a ``Narration``: a call, a chain, or a name of one.

    A name that is made from itself (``n = n.human("…")``) is what its other values are.
    """
    while isinstance(node, ast.Call):
        if scope.ours(node.func) == _ROOT:
            return True
        if not isinstance(node.func, ast.Attribute):
            return False
        node = node.func.value
    if not isinstance(node, ast.Name) or len(seen) > _NAMES:
        return False
    if node.id in seen:
        return False  # two names that are made from each other
    values = scope.values(node.id) or []
    others = [value for value in values if not _is_made_from(value, node.id)]
    return bool(others) and all(_is_narration(value, scope, seen | {node.id}) for value in others)


def _is_made_from(node: ast.expr, name: str) -> bool:
    """Whether an expression is a chain of calls on a name."""
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        node = node.func.value
    return isinstance(node, ast.Name) and node.id == name


def _level(calls: list[ast.Call]) -> Level | None:
    """The level at which a chain is emitted; None where it is not known."""
    level: Level | None = None
    for call in reversed(calls):
        method = _method(call)
        name = method.removeprefix("emit_")
        if name in _LEVELS:
            level = _LEVELS[name]
        elif method in {"level", "emit", "at"}:
            given = call.args[0] if call.args else _keyword(call, "level")
            if given is not None:
                level = level_of(given)
            elif method == "emit" and level is None:
                level = Level.INFO
    return level


def _method(call: ast.Call) -> str:
    assert isinstance(call.func, ast.Attribute)
    return call.func.attr


def _keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((word.value for word in call.keywords if word.arg == name), None)
