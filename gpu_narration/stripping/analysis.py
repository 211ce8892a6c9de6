"""Which calls of a module are ours, which of them can be taken out, and why others stay.

The one answer for the import hook, the source form and ``--check``.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from gpu_narration.stripping.scopes import PACKAGE, Scope, Scopes, scopes_of

#: Without this text in it, no source imports us by name.
MENTION = PACKAGE.encode()

_ROOTS = (PACKAGE, f"{PACKAGE}.tracing")
_EVENTS = frozenset(
    f"{root}.{name}"
    for root in _ROOTS
    for name in (
        "trace_tiny", "trace_with_correlation", "trace_enter", "trace_exit", "trace_loop",
        "trace_state",
    )
)  # fmt: skip
_RANGES = frozenset({f"{PACKAGE}.cuda.range", f"{PACKAGE}.cuda.ranges.range"})
_BLOCKS = frozenset(f"{root}.span" for root in _ROOTS) | _RANGES
_DECORATORS = frozenset(f"{root}.trace_fn" for root in _ROOTS)
_ALL = _EVENTS | _BLOCKS | _DECORATORS


@dataclass(frozen=True, slots=True)
class Use:
    """A use of one of our names, at a line and a column counted from 1.

    kept: why it cannot be taken out; empty where it can.
    """

    line: int
    column: int
    name: str
    kept: str = ""


@dataclass(slots=True)
class Findings:
    """What can be taken out of a module, as nodes of its tree, and all uses of our names.

    statements: expression statements of a call.
    items: of ``with``, each an expression in the place of a context manager.
    decorators: the expressions behind their ``@``.
    """

    statements: set[ast.stmt] = field(default_factory=set)
    items: set[ast.withitem] = field(default_factory=set)
    decorators: set[ast.expr] = field(default_factory=set)
    uses: list[Use] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.statements or self.items or self.decorators)


def analyse(tree: ast.Module) -> Findings:
    """Looks at a module; the tree is not changed."""
    scopes = scopes_of(tree)
    findings = Findings()
    judged: set[ast.AST] = set()
    for node, scope in scopes.of.items():
        match node:
            case ast.Expr(value=ast.Call(func=function) as call):
                if _is(scopes, function, _EVENTS):
                    judged.add(function)
                    if _take(findings, function, _obstacle(call)):
                        findings.statements.add(node)
            case ast.With():
                for item in node.items:
                    _judge_item(findings, scopes, item, scope, judged)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                for decorator in node.decorator_list:
                    _judge_decorator(findings, scopes, decorator, judged)
    _note_others(findings, scopes, judged)
    findings.uses.sort(key=lambda use: (use.line, use.column))
    return findings


def _is(scopes: Scopes, function: ast.expr, names: frozenset[str]) -> bool:
    return scopes.target(function) in names


def _judge_item(
    findings: Findings, scopes: Scopes, item: ast.withitem, scope: Scope, judged: set[ast.AST]
) -> None:
    call = item.context_expr
    if not isinstance(call, ast.Call) or not _is(scopes, call.func, _BLOCKS):
        return
    judged.add(call.func)
    kept = _obstacle(call)
    bound = item.optional_vars
    if bound is not None and not (isinstance(bound, ast.Name) and scope.keeps_to_itself(bound.id)):
        kept = f"what it gives is used, as {ast.unparse(bound)}"
    if _take(findings, call.func, kept):
        findings.items.add(item)


def _judge_decorator(
    findings: Findings, scopes: Scopes, decorator: ast.expr, judged: set[ast.AST]
) -> None:
    if isinstance(decorator, ast.Call):
        function, names = decorator.func, _DECORATORS | _RANGES
    else:
        function, names = decorator, _DECORATORS
    if not _is(scopes, function, names):
        return
    judged.add(function)
    if _take(findings, function, _obstacle(decorator)):
        findings.decorators.add(decorator)


def _take(findings: Findings, function: ast.expr, kept: str) -> bool:
    findings.uses.append(_use(function, kept))
    return not kept


def _use(function: ast.expr, kept: str) -> Use:
    return Use(function.lineno, function.col_offset + 1, ast.unparse(function), kept)


def _obstacle(call: ast.expr) -> str:
    """What the program would lose with the arguments: a variable, or a point where it waits.

    Anything else that they do is not done any more, as is said in docs/off.md.
    """
    waiting: list[ast.AST] = [call]
    while waiting:
        node = waiting.pop()
        match node:
            case ast.NamedExpr():
                return f"an argument binds {node.target.id}"
            case ast.Await() | ast.Yield() | ast.YieldFrom():
                return "an argument awaits or yields"
            case ast.comprehension(is_async=1):
                return "an argument awaits or yields"
            case ast.Lambda():
                waiting += [*node.args.defaults, *filter(None, node.args.kw_defaults)]
            case _:
                waiting += ast.iter_child_nodes(node)
    return ""


def _note_others(findings: Findings, scopes: Scopes, judged: set[ast.AST]) -> None:
    """Calls of ours in places where their value is used, and those that may be ours."""
    for node in scopes.of:
        if not isinstance(node, ast.Call) or node.func in judged:
            continue
        if scopes.target(node.func) in _ALL:
            findings.uses.append(_use(node.func, "its value is used"))
        elif scopes.possible(node.func) & _ALL:
            findings.uses.append(_use(node.func, "the module binds this name otherwise, too"))
