"""Attributes of other people's modules and classes, replaced and exactly put back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Literal, Self

_ABSENT: Any = object()


class Patch:
    """A patch that is in force; as a context manager it ends with the block.

    One that was in force before the block stays in force after it.
    """

    def __init__(self, undo: Callable[[], object]) -> None:
        self._undo = undo

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> Literal[False]:
        self._undo()
        return False


class Patches:
    """What was replaced, so that it can be put back; the last first.

    What somebody else has replaced meanwhile is theirs and stays.
    """

    def __init__(self) -> None:
        self._made: list[tuple[Any, str, Any, Any]] = []

    def replace(self, owner: Any, name: str, value: Any) -> None:
        """Sets an attribute of a module or a class; nothing where that is not allowed."""
        before = vars(owner).get(name, _ABSENT)
        with contextlib.suppress(TypeError, AttributeError):  # types in C are immutable
            setattr(owner, name, value)
            self._made.append((owner, name, before, value))

    def undo(self) -> None:
        """Puts back all that was replaced."""
        while self._made:
            owner, name, before, value = self._made.pop()
            if vars(owner).get(name, _ABSENT) is not value:
                continue
            if before is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, before)


def owner_of(kind: type, name: str) -> type:
    """The class that defines a method which ``kind`` has; ``kind`` if it is C's own.

    A method that Python classes inherit is replaced where it is defined, so that all
    of them have the new one.
    """
    for base in kind.__mro__:
        if name in vars(base):
            return base
    return kind
