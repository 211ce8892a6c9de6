"""Comparing code objects: what runs, and on which lines."""

from __future__ import annotations

import ast
from types import CodeType

_PARTS = (
    "co_name", "co_qualname", "co_code", "co_names", "co_varnames", "co_freevars", "co_cellvars",
    "co_flags", "co_argcount", "co_posonlyargcount", "co_kwonlyargcount", "co_stacksize",
    "co_firstlineno", "co_exceptiontable",
)  # fmt: skip


def without_lines(source: bytes | str) -> CodeType:
    """The code of a source as if all of it stood on one line: lines are in constants, too
    (``__firstlineno__`` of classes, from CPython 3.13 on).
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if hasattr(node, "lineno"):
            node.lineno = node.end_lineno = 1
            node.col_offset = node.end_col_offset = 0
    return compile(tree, "one line", "exec", dont_inherit=True)


def differences(one: CodeType, other: CodeType) -> list[str]:
    """Where two code objects differ, in themselves and in all code inside."""
    found = [
        f"{one.co_qualname}: {part}"
        for part in _PARTS
        if getattr(one, part) != getattr(other, part)
    ]
    if _lines(one) != _lines(other):
        found.append(f"{one.co_qualname}: lines")
    if len(one.co_consts) != len(other.co_consts):
        return [*found, f"{one.co_qualname}: number of constants"]
    for first, second in zip(one.co_consts, other.co_consts, strict=True):
        if isinstance(first, CodeType) and isinstance(second, CodeType):
            found += differences(first, second)
        elif _shown(first) != _shown(second):
            found.append(f"{one.co_qualname}: constant {first!r}, {second!r}")
    return found


def _lines(code: CodeType) -> list[tuple[int, int, int | None]]:
    return list(code.co_lines())


def _shown(constant: object) -> tuple[type, str]:
    """By repr: 0.0 and -0.0 are different constants, and so are 1 and True."""
    if isinstance(constant, frozenset):  # in no order
        return frozenset, repr(sorted(map(repr, constant)))
    return type(constant), repr(constant)
