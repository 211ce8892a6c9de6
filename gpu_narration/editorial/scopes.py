"""What a name means where it stands: imports, aliases and constants, scope by scope.

The order of statements is not followed.  A name is what its scope makes of it; where
that is more than one thing, a second one counts as another only outside of ``if`` and
``except``, where programs put stand-ins for a package that may be missing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

PACKAGE = "gpu_narration"

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Comprehension: TypeAlias = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
#: How many aliases of aliases are followed.
_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Binding:
    """One thing that a name is bound to.

    ``path``: what was imported, dotted.  ``value``: the expression that was assigned.
    Neither: anything else.  ``maybe``: under an ``if`` or in an ``except``.
    """

    path: str | None = None
    value: ast.expr | None = None
    maybe: bool = False


@dataclass(slots=True)
class Scope:
    """The names of a module, a class, a function or a comprehension."""

    parent: Scope | None = None
    is_class: bool = False
    names: dict[str, list[Binding]] = field(default_factory=dict)
    #: Names that are another scope's: ``global`` and ``nonlocal``.
    outer: set[str] = field(default_factory=set)
    has_star: bool = False

    def inner(self, *, is_class: bool = False) -> Scope:
        """A scope inside this one; functions of a class do not see its names."""
        parent = self.parent if self.is_class else self
        return Scope(parent=parent, is_class=is_class)

    def bind(self, name: str, binding: Binding) -> None:
        self.names.setdefault(name, []).append(binding)

    def find(self, name: str) -> list[Binding]:
        """What a name is bound to, in the nearest scope that binds it."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names and name not in scope.outer:
                return scope.names[name]
            if scope.has_star and scope.parent is None:
                return [Binding(path=f"{PACKAGE}.{name}")]
            scope = scope.parent
        return []

    def path(self, node: ast.expr, depth: int = _DEPTH) -> str | None:
        """The dotted path that an expression means, if it means something imported."""
        if depth == 0:
            return None
        if isinstance(node, ast.Attribute):
            owner = self.path(node.value, depth - 1)
            return None if owner is None else f"{owner}.{node.attr}"
        if not isinstance(node, ast.Name):
            return None
        found = None
        for binding in self.find(node.id):
            path = binding.path
            if path is None and binding.value is not None:
                path = self.path(binding.value, depth - 1)
            if path is None and not binding.maybe:
                return None
            found = found or path
        return found

    def ours(self, node: ast.expr) -> str | None:
        """The name in this package that an expression means, without its modules."""
        path = self.path(node)
        if path is None or not path.startswith(f"{PACKAGE}."):
            return None
        return path.rpartition(".")[2]

    def values(self, name: str) -> list[ast.expr] | None:
        """All that is assigned to a name; None if it may be something else besides."""
        values = [binding.value for binding in self.find(name)]
        known = [value for value in values if value is not None]
        return known if known and len(known) == len(values) else None


def scope_of(node: ast.AST, outer: Scope | None) -> Scope:
    """The scope that a node makes, with all that it binds."""
    scope = Scope() if outer is None else outer.inner(is_class=isinstance(node, ast.ClassDef))
    if isinstance(node, _FUNCTIONS):
        for argument in ast.walk(node.args):
            if isinstance(argument, ast.arg):
                scope.bind(argument.arg, Binding())
    if isinstance(node, _COMPREHENSIONS):
        for generator in node.generators:
            _bind_all(generator.target, scope)
        return scope
    body = node.body if isinstance(node, (ast.Module, ast.ClassDef, *_FUNCTIONS)) else []
    for statement in [body] if isinstance(body, ast.expr) else body:
        _collect(statement, scope)
    return scope


def makes_scope(node: ast.AST) -> bool:
    """Whether a node has names of its own."""
    return isinstance(node, (ast.ClassDef, *_FUNCTIONS, *_COMPREHENSIONS))


def _collect(first: ast.AST, scope: Scope) -> None:  # noqa: PLR0912 - the table of what binds a name
    """Binds what a statement binds in its own scope."""
    todo: list[tuple[ast.AST, bool]] = [(first, False)]
    while todo:
        node, maybe = todo.pop()
        match node:
            case ast.Import():
                for alias in node.names:
                    whole = alias.name if alias.asname else alias.name.partition(".")[0]
                    scope.bind(alias.asname or whole, Binding(path=whole, maybe=maybe))
            case ast.ImportFrom():
                _import_from(node, scope, maybe)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                scope.bind(node.name, Binding(maybe=maybe))
                continue
            case ast.Lambda():
                continue
            case ast.Assign() if all(isinstance(target, ast.Name) for target in node.targets):
                for target in node.targets:
                    assert isinstance(target, ast.Name)
                    scope.bind(target.id, Binding(value=node.value, maybe=maybe))
                todo.append((node.value, maybe))
                continue
            case ast.AnnAssign(target=ast.Name(id=name)):
                if node.value is not None:
                    scope.bind(name, Binding(value=node.value, maybe=maybe))
                    todo.append((node.value, maybe))
                continue
            case ast.NamedExpr(target=ast.Name(id=name)):
                scope.bind(name, Binding(value=node.value, maybe=maybe))
                todo.append((node.value, maybe))
                continue
            case ast.withitem(optional_vars=ast.Name(id=name)):
                scope.bind(name, Binding(value=node.context_expr, maybe=maybe))
                todo.append((node.context_expr, maybe))
                continue
            case ast.Global() | ast.Nonlocal():
                scope.outer.update(node.names)
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                scope.bind(name, Binding(maybe=maybe))
            case ast.ExceptHandler() | ast.MatchAs() | ast.MatchStar() if node.name:
                scope.bind(node.name, Binding(maybe=maybe))
            case ast.MatchMapping(rest=str(name)):
                scope.bind(name, Binding(maybe=maybe))
            case _ if isinstance(node, _COMPREHENSIONS):
                # Its targets are its own; only a := inside binds out here.
                todo += [
                    (part, maybe) for part in ast.walk(node) if isinstance(part, ast.NamedExpr)
                ]
                continue
        inside = maybe or isinstance(node, (ast.If, ast.IfExp, ast.ExceptHandler, ast.Try))
        todo += [(child, inside) for child in ast.iter_child_nodes(node)]


def _import_from(node: ast.ImportFrom, scope: Scope, maybe: bool) -> None:
    module = "." * node.level + (node.module or "")
    for alias in node.names:
        if alias.name != "*":
            name = alias.asname or alias.name
            scope.bind(name, Binding(path=f"{module}.{alias.name}", maybe=maybe))
        elif module == PACKAGE or module.startswith(f"{PACKAGE}."):
            scope.has_star = True


def _bind_all(target: ast.AST, scope: Scope) -> None:
    for node in ast.walk(target):
        if isinstance(node, ast.Name):
            scope.bind(node.id, Binding())


def children(node: ast.AST) -> Iterator[tuple[ast.AST, bool]]:
    """The nodes right under a node, and whether each lies in the scope that the node makes.

    Decorators, defaults, bases and annotations of a definition lie outside of it.
    """
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        inside = set(map(id, node.body))
        for child in ast.iter_child_nodes(node):
            yield child, id(child) in inside
    elif isinstance(node, ast.Lambda):
        yield node.args, False
        yield node.body, True
    else:
        own = isinstance(node, _COMPREHENSIONS)
        for child in ast.iter_child_nodes(node):
            yield child, own
