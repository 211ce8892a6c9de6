"""The concrete syntax: takes marked places out of a text.  Imported only where LibCST is.

What is taken out leaves a carrier in its place, a statement that holds the comments above
it; the body round it then hands them to the next statement that stays.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import libcst as cst
from libcst.metadata import PositionProvider

from gpu_narration.stripping.analysis import Findings

Place = tuple[int, int]
Statement = cst.SimpleStatementLine | cst.BaseCompoundStatement
Lines = Sequence[cst.EmptyLine]
Body = cst.Module | cst.IndentedBlock


@dataclass(frozen=True, slots=True)
class Places:
    """Where expressions to take out begin: line from 1, column in characters."""

    statements: frozenset[Place]
    items: frozenset[Place]
    decorators: frozenset[Place]

    @classmethod
    def of(cls, source: str, findings: Findings) -> Places:
        lines = source.split("\n")

        def places(nodes: Iterable[ast.expr]) -> frozenset[Place]:
            return frozenset(place for node in nodes for place in _places(lines, node))

        return cls(
            places(each.value for each in findings.statements if isinstance(each, ast.Expr)),
            places(item.context_expr for item in findings.items),
            places(findings.decorators),
        )


def _places(lines: Sequence[str], node: ast.expr) -> tuple[Place, Place]:
    """Where an expression begins; LibCST does not always count the form feeds before it."""
    before = lines[node.lineno - 1].encode()[: node.col_offset].decode()
    return (node.lineno, len(before)), (node.lineno, len(before.replace("\f", "")))


class _Carrier(cst.SimpleStatementLine):
    """Not empty itself: LibCST would drop a statement that has become so."""

    @classmethod
    def of(cls, lines: Lines) -> _Carrier:
        return cls([cst.Pass()], leading_lines=lines)


class Rewriter(cst.CSTTransformer):
    """Gives a module without what begins at the places."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self, places: Places) -> None:
        super().__init__()
        self._places = places
        #: Bodies of blocks that go: what is left of them belongs to the body outside.
        self._opened: set[cst.BaseSuite] = set()
        #: Bodies whose first text is a docstring.
        self._documented: set[cst.CSTNode] = set()

    def _is_in(self, node: cst.CSTNode, places: frozenset[Place]) -> bool:
        start = self.get_metadata(PositionProvider, node).start
        return (start.line, start.column) in places

    # ---- statements ----

    def leave_Expr(
        self, original_node: cst.Expr, updated_node: cst.Expr
    ) -> cst.Expr | cst.RemovalSentinel:
        if self._is_in(original_node.value, self._places.statements):
            return cst.RemoveFromParent()
        return updated_node

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine:
        if len(updated_node.body) == len(original_node.body):
            return updated_node
        if not updated_node.body:
            return _Carrier.of(updated_node.leading_lines)
        return updated_node.with_changes(body=_ended(updated_node.body))

    def leave_SimpleStatementSuite(
        self, original_node: cst.SimpleStatementSuite, updated_node: cst.SimpleStatementSuite
    ) -> cst.SimpleStatementSuite:
        if len(updated_node.body) == len(original_node.body):
            return updated_node
        body = _ended(updated_node.body)
        if original_node in self._opened:
            return updated_node.with_changes(body=body)
        first = original_node in self._documented and _is_text(body[:1])
        if not body or (first and not _is_text(original_node.body[:1])):
            body.insert(0, cst.Pass())
        return updated_node.with_changes(body=body)

    # ---- with ----

    def visit_With(self, node: cst.With) -> None:
        if all(self._is_in(item.item, self._places.items) for item in node.items):
            self._opened.add(node.body)

    def leave_With(
        self, original_node: cst.With, updated_node: cst.With
    ) -> cst.With | cst.FlattenSentinel[cst.BaseStatement]:
        if original_node.body in self._opened:
            head = _Carrier.of(updated_node.leading_lines)
            return cst.FlattenSentinel([head, *_statements(updated_node.body)])
        left = [
            item
            for item, before in zip(updated_node.items, original_node.items, strict=True)
            if not self._is_in(before.item, self._places.items)
        ]
        if len(left) == len(updated_node.items):
            return updated_node
        # The comma behind the last one, and what is round it, stay as they were.
        left[-1] = left[-1].with_changes(comma=updated_node.items[-1].comma)
        return updated_node.with_changes(items=left)

    # ---- definitions ----

    def visit_Module(self, node: cst.Module) -> None:
        self._documented.add(node)

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
        self._documented.add(node.body)

    def visit_ClassDef(self, node: cst.ClassDef) -> None:
        self._documented.add(node.body)

    def leave_FunctionDef(
        self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef
    ) -> cst.FunctionDef:
        return updated_node.with_changes(**self._undecorated(original_node, updated_node))

    def leave_ClassDef(
        self, original_node: cst.ClassDef, updated_node: cst.ClassDef
    ) -> cst.ClassDef:
        return updated_node.with_changes(**self._undecorated(original_node, updated_node))

    def _undecorated(
        self, original: cst.FunctionDef | cst.ClassDef, updated: cst.FunctionDef | cst.ClassDef
    ) -> dict[str, Lines | Sequence[cst.Decorator]]:
        left: list[cst.Decorator] = []
        pending: Lines = ()
        for before, decorator in zip(original.decorators, updated.decorators, strict=True):
            lines = _joined(pending, decorator.leading_lines)
            if self._is_in(before.decorator, self._places.decorators):
                pending = lines
            else:
                left.append(decorator.with_changes(leading_lines=lines))
                pending = ()
        after = _joined(pending, updated.lines_after_decorators)
        return {"decorators": left, "lines_after_decorators": after}

    # ---- bodies ----

    def leave_IndentedBlock(
        self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
    ) -> cst.IndentedBlock:
        if original_node in self._opened:
            return updated_node
        return updated_node.with_changes(**self._settled(original_node, updated_node))

    def leave_Module(self, original_node: cst.Module, updated_node: cst.Module) -> cst.Module:
        return updated_node.with_changes(**self._settled(original_node, updated_node))

    def _settled(self, original: Body, updated: Body) -> dict[str, object]:
        """A body without carriers, and its footer."""
        left: list[Statement] = []
        pending: Lines = ()
        for statement in cast("Sequence[Statement]", updated.body):
            if isinstance(statement, _Carrier):
                pending = _joined(pending, statement.leading_lines)
            elif pending:
                lines = _joined(pending, statement.leading_lines)
                left.append(statement.with_changes(leading_lines=lines))
                pending = ()
            else:
                left.append(statement)
        guarded = original in self._documented and _begins_with_text(left)
        if guarded and not _begins_with_text(original.body):
            left.insert(0, cst.SimpleStatementLine([cst.Pass()]))
        if not left and original.body:
            left = [cst.SimpleStatementLine([cst.Pass()], leading_lines=pending)]
            pending = ()
        return {"body": left, "footer": _joined(pending, updated.footer)}


def _statements(suite: cst.BaseSuite) -> list[cst.BaseStatement]:
    """What a block leaves to the body outside."""
    if isinstance(suite, cst.IndentedBlock):
        return [*suite.body, _Carrier.of(suite.footer)]
    assert isinstance(suite, cst.SimpleStatementSuite)
    if not suite.body:
        return []
    return [cst.SimpleStatementLine(suite.body, trailing_whitespace=suite.trailing_whitespace)]


def _joined(above: Lines, below: Lines) -> Lines:
    """Lines of two places; where both meet in empty ones, only as many as one has."""
    end = len(above)
    while end > 0 and above[end - 1].comment is None:
        end -= 1
    begin = 0
    while begin < len(below) and below[begin].comment is None:
        begin += 1
    blank = max(above[end:], below[:begin], key=len)
    return [*above[:end], *blank, *below[begin:]]


def _ended(body: Sequence[cst.BaseSmallStatement]) -> list[cst.BaseSmallStatement]:
    """The statements of a line, the last one without a semicolon."""
    if not body:
        return []
    return [*body[:-1], body[-1].with_changes(semicolon=cst.MaybeSentinel.DEFAULT)]


def _is_text(body: Sequence[cst.BaseSmallStatement]) -> bool:
    """Whether a line begins with a text, which would be a docstring in the right place."""
    if not body or not isinstance(body[0], cst.Expr):
        return False
    value = body[0].value
    return isinstance(value, (cst.SimpleString, cst.ConcatenatedString)) and isinstance(
        value.evaluated_value, str
    )


def _begins_with_text(body: Sequence[cst.BaseStatement | cst.BaseSmallStatement]) -> bool:
    first = body[0] if body else None
    return isinstance(first, cst.SimpleStatementLine) and _is_text(first.body)
