"""Stripping a module's tree, and compiling what is left.

Nothing is moved: what stays keeps its lines and columns, so tracebacks are true.
"""

from __future__ import annotations

import ast
from types import CodeType

from gpu_narration.stripping.analysis import Findings, analyse

_BODIES = ("body", "orelse", "finalbody")
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_DECORATED = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def compile_stripped(source: bytes | str, path: str, *, optimize: int = -1) -> CodeType:
    """A module's code without what can be taken out of it; raises SyntaxError as compile() does."""
    tree = ast.parse(source, path)
    strip_tree(tree)
    return compile(tree, path, "exec", dont_inherit=True, optimize=optimize)


def strip_tree(tree: ast.Module) -> Findings:
    """Takes out of a tree, in place, what can be; says what that was."""
    findings = analyse(tree)
    if not findings:
        return findings
    for node in ast.walk(tree):
        if isinstance(node, _DECORATED):
            node.decorator_list = [
                each for each in node.decorator_list if each not in findings.decorators
            ]
        elif isinstance(node, ast.With):
            # One without any is gone from its body.
            node.items = [item for item in node.items if item not in findings.items] or node.items
        for name in _BODIES:
            body = getattr(node, name, None)
            if isinstance(body, list) and body:
                left = _strip_body(body, findings)
                if name == "body" and isinstance(node, _DOCUMENTED) and needs_guard(body, left):
                    left.insert(0, _pass_at(body[0]))
                setattr(node, name, left)
    return findings


def needs_guard(body: list[ast.stmt], left: list[ast.stmt]) -> bool:
    """Whether a text that was no docstring would become one."""
    first = left[0]
    return (
        first is not body[0]
        and isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )


def _strip_body(body: list[ast.stmt], findings: Findings) -> list[ast.stmt]:
    left: list[ast.stmt] = []
    waiting = body[::-1]
    while waiting:
        statement = waiting.pop()
        if statement in findings.statements:
            continue
        if isinstance(statement, ast.With) and findings.items.issuperset(statement.items):
            waiting += reversed(statement.body)
        else:
            left.append(statement)
    return left or [_pass_at(body[0])]


def _pass_at(statement: ast.stmt) -> ast.Pass:
    line, column = statement.lineno, statement.col_offset
    return ast.Pass(
        lineno=line, col_offset=column, end_lineno=line, end_col_offset=column + len("pass")
    )
