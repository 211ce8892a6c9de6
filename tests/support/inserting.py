"""Putting our calls into the sources of other people's packages, at many places.

``insert`` gives two sources with the same lines: one with the calls, and one where empty
lines stand in their places.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

IMPORTS = (
    "import gpu_narration as _gn; from gpu_narration import trace_tiny as _t, cuda as _cuda; "
    "from gpu_narration import span as _span"
)
_CALLS = (
    '_t("corpus", "step", "{name}_{{}}", "At {{}}", {number})',
    '_gn.trace_loop("corpus", "{name}", {number}, 9, "x={{}}", [each for each in "ab"])',
    '_gn.trace_state("corpus", "{name}", f"{{1}} to {{2}}", "Changed", *(), **{{}})',
    '_gn.trace_enter("corpus", "{name}")',
)
_BLOCKS = ('with _span("corpus", "{name}"): ', 'with _cuda.range("{name}"), _gn.span("a", "b"): ')
_DECORATORS = ("@_gn.trace_fn", '@_gn.trace_fn(actor="corpus")')
#: Statements of one line that a with statement can hold on the same line.
_SIMPLE = (ast.Expr, ast.Assign, ast.AugAssign, ast.Return, ast.Raise, ast.Assert, ast.Delete)
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass
class Inserted:
    """A source with calls, its twin without, and at how many places they were put."""

    with_calls: str = ""
    without: str = ""
    places: int = 0
    _lines: list[tuple[str, str]] = field(default_factory=list)

    def add(self, with_calls: str, without: str = "") -> None:
        self._lines.append((with_calls, without))

    def finish(self) -> Inserted:
        self.with_calls = "\n".join(line for line, _ in self._lines) + "\n"
        self.without = "\n".join(line for _, line in self._lines) + "\n"
        return self


def insert(source: str, seed: int, share: float = 0.5) -> Inserted:
    """Puts calls at a share of the places where a statement has a line for itself.

    A module with a star import of another package gets none: there no name is sure.
    """
    chance = random.Random(seed)
    tree = ast.parse(source)
    inserted = Inserted()
    lines = source.split("\n")
    star = any(
        isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in ast.walk(tree)
    )
    if star or not tree.body:
        return Inserted(source, source)
    places = {node.lineno: (node, decorated) for node, decorated in _places(tree, lines)}
    begin = _first_line_of_code(tree)
    for number, line in enumerate(lines, 1):
        if number == begin:
            inserted.add(IMPORTS, IMPORTS)
        before, line_with = "", line
        if number in places and number >= begin and chance.random() < share:
            before, line_with = _at(places[number], line, chance, inserted.places)
            inserted.places += 1
        if before:
            inserted.add(before)
        inserted.add(line_with, line)
    return inserted.finish()


def _at(
    place: tuple[ast.stmt, bool], line: str, chance: random.Random, number: int
) -> tuple[str, str]:
    """A line to put before, or none, and the line itself."""
    node, decorates = place
    indent = line[: len(line) - len(line.lstrip())]
    values = {"name": f"n{number}", "number": number}
    if decorates:
        return indent + chance.choice(_DECORATORS), line
    one_line = isinstance(node, _SIMPLE) and node.end_lineno == node.lineno
    if one_line and chance.random() < 0.4:
        return "", indent + chance.choice(_BLOCKS).format(**values) + line.lstrip()
    return indent + chance.choice(_CALLS).format(**values), line


def _places(tree: ast.Module, lines: list[str]) -> Iterator[tuple[ast.stmt, bool]]:
    """Statements that begin a line, and whether it is a function to decorate."""
    for owner in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            body = getattr(owner, name, None)
            if not isinstance(body, list):
                continue
            documented = (
                isinstance(owner, _DOCUMENTED) and ast.get_docstring(owner, False) is not None
            )  # type: ignore[arg-type]
            for node in body[1:] if name == "body" and documented else body:
                if _stands_alone(node, lines):
                    yield node, isinstance(node, ast.FunctionDef) and not node.decorator_list


def _stands_alone(node: ast.stmt, lines: list[str]) -> bool:
    if getattr(node, "decorator_list", []):
        return False
    line = lines[node.lineno - 1]
    text = line.lstrip()
    before = lines[node.lineno - 2].rstrip() if node.lineno > 1 else ""
    return (
        line.encode()[: node.col_offset].strip() == b""
        and not text.startswith(("elif", "else"))
        and ";" not in line
        and not before.endswith("\\")
    )


def _first_line_of_code(tree: ast.Module) -> int:
    for node in tree.body:
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
        if not text and not future:
            decorators = getattr(node, "decorator_list", [])
            return min([node.lineno, *(each.lineno for each in decorators)])
    return len(tree.body) and (tree.body[-1].end_lineno or 0) + 1
