"""One source: parsed, its calls read, the rules asked."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from collections.abc import Iterator
from pathlib import Path

from gpu_narration._types import Level
from gpu_narration.editorial import builder, calls, noqa
from gpu_narration.editorial.checks import check
from gpu_narration.editorial.finding import Finding, Span
from gpu_narration.editorial.scopes import PACKAGE, Scope, children, makes_scope, scope_of


def lint_file(path: Path, shown: str) -> list[Finding]:
    """What the rules find in a file; ``shown`` is its name in findings.  Never raises."""
    try:
        return lint_bytes(path.read_bytes(), shown)
    except OSError as error:
        return [Finding("GN002", f"cannot be read: {error.strerror or error}", shown)]


def lint_bytes(data: bytes, shown: str) -> list[Finding]:
    """What the rules find in the bytes of a source, in the encoding that it declares."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        source = data.decode(encoding)
    except (SyntaxError, UnicodeDecodeError) as error:
        return [Finding("GN002", f"is not text in its encoding: {error}", shown)]
    return lint_source(source, shown)


def lint_source(source: str, shown: str) -> list[Finding]:
    """What the rules find in a source, in the order of its lines."""
    source = source.replace("\r\n", "\n").replace("\r", "\n")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape is for other linters
            tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        return [_syntax_error(error, shown)]
    except (RecursionError, MemoryError):
        return [Finding("GN001", "is nested too deeply to be parsed", shown)]
    found = noqa.comments(source)
    findings = noqa.unknown(found.values(), shown)
    if PACKAGE in source:
        findings += _Reader(source, shown, found).findings(tree)
    return sorted(set(findings), key=lambda one: (one.span, one.code, one.message))


class _Reader:
    """Walks the tree of one source with the scope of every node."""

    def __init__(self, source: str, shown: str, comments: dict[int, noqa.Noqa]) -> None:
        self._lines = source.split("\n")
        self._path = shown
        self._comments = comments
        #: Calls of chains that were read from their outermost call.
        self._done: set[int] = set()

    def findings(self, tree: ast.Module) -> list[Finding]:
        found: list[Finding] = []
        todo: list[tuple[ast.AST, Scope, Level | None]] = [(tree, scope_of(tree, None), None)]
        while todo:
            node, scope, within = todo.pop()
            if isinstance(node, ast.Call) and id(node) not in self._done:
                try:
                    said = self._said(node, scope, within)
                except RecursionError:  # a text of thousands of parts inside each other
                    said = []
                found += self._judged(node, said)
                name = scope.ours(node.func) or ""
                if name.startswith("narrate"):
                    within = calls.level(node, name)
            inside = scope_of(node, scope) if makes_scope(node) else scope
            todo += [(child, inside if own else scope, within) for child, own in children(node)]
        return found

    def _said(
        self, node: ast.Call, scope: Scope, within: Level | None
    ) -> list[calls.Said | calls.Shown]:
        chain = builder.chain(node, scope)
        self._done.update(map(id, chain))
        return [*calls.read(node, scope, within), *(builder.said(chain, scope) if chain else ())]

    def _judged(self, call: ast.Call, said: list[calls.Said | calls.Shown]) -> Iterator[Finding]:
        around = (call.lineno, call.end_lineno or call.lineno)
        for one in said:
            if isinstance(one, calls.Shown):
                results = iter([("GN402", one.message)])
            else:
                results = check(one.kind, one.text, one.level)
            span = self._span(one.node)
            lines = (*range(span.line, span.end_line + 1), *around)
            for code, message in results:
                if not noqa.suppressed(code, lines, self._comments):
                    yield Finding(code, message, self._path, span)

    def _span(self, node: ast.AST) -> Span:
        line, end = getattr(node, "lineno", 1), getattr(node, "end_lineno", None)
        end = end or line
        return Span(
            line, self._column(line, getattr(node, "col_offset", 0)),
            end, self._column(end, getattr(node, "end_col_offset", None) or 0),
        )  # fmt: skip

    def _column(self, line: int, offset: int) -> int:
        """The column, from 1 and in characters, of an offset in bytes of UTF-8."""
        text = self._lines[line - 1]
        if text.isascii():
            return offset + 1
        return len(text.encode()[:offset].decode(errors="replace")) + 1


def _syntax_error(error: SyntaxError | ValueError, shown: str) -> Finding:
    if not isinstance(error, SyntaxError):
        return Finding("GN001", f"does not parse: {error}", shown)
    line, column = max(error.lineno or 1, 1), max(error.offset or 1, 1)
    message = re.sub(r" \(<unknown>.*\)$", "", str(error.msg))
    return Finding("GN001", f"does not parse: {message}", shown, Span(line, column, line, column))
