"""What the names of a module may mean: Python's scopes, and what binds in them.

No recursion over expressions: a generated module may nest them deeper than Python calls.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

PACKAGE = "gpu_narration"

#: A binding to anything that is not imported from this package.
FOREIGN = ""

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
#: Names with which a function can look at its own variables.
_LOOKS_AT_VARIABLES = frozenset({"locals", "vars", "dir", "eval", "exec"})


@dataclass(eq=False, slots=True)
class Scope:
    """A module, class, function, lambda or comprehension, and what it binds.

    bindings: name -> what it is bound to: dotted names in this package, or FOREIGN.
    loads: names that must be bound, because they are read here or in a scope inside.
    """

    kind: str
    parent: Scope | None
    bindings: dict[str, set[str]] = field(default_factory=dict)
    globals: set[str] = field(default_factory=set)
    nonlocals: set[str] = field(default_factory=set)
    loads: set[str] = field(default_factory=set)

    def bind(self, name: str, target: str) -> None:
        scope = self._owner(name)
        scope.bindings.setdefault(name, set()).add(target)

    def _owner(self, name: str) -> Scope:
        if name in self.globals:
            return self._module()
        if name in self.nonlocals:
            outer = self._enclosing()
            while outer is not None:
                if name in outer.bindings and outer.kind == "function":
                    return outer
                outer = outer._enclosing()
        return self

    def _module(self) -> Scope:
        scope = self
        while scope.parent is not None:
            scope = scope.parent
        return scope

    def _enclosing(self) -> Scope | None:
        """The next scope outside whose names are seen here: never a class's."""
        scope = self.parent
        while scope is not None and scope.kind == "class":
            scope = scope.parent
        return scope

    def meanings(self, name: str) -> set[str]:
        """What a name may be bound to where it is read here."""
        if name in self.globals:
            return self._module().bindings.get(name, set())
        scope: Scope | None = self
        while scope is not None:
            if name in scope.bindings and name not in scope.nonlocals:
                return scope.bindings[name]
            scope = scope._enclosing()
        return set()

    def keeps_to_itself(self, name: str) -> bool:
        """Whether a name that is bound here is a function's variable which nothing reads."""
        return (
            self.kind == "function"
            and name not in self.globals | self.nonlocals
            and name not in self.loads
            and not self.loads & _LOOKS_AT_VARIABLES
        )


@dataclass(slots=True)
class Scopes:
    """The scopes of a module.

    of: the scope in which each statement, expression, decorator or with item is evaluated.
    rebound: dotted names of this package to which the module assigns.
    """

    of: dict[ast.AST, Scope]
    rebound: set[str]

    def target(self, node: ast.AST) -> str:
        """What of this package a name or attribute certainly is, dotted; or FOREIGN."""
        possible = self.possible(node)
        target = next(iter(possible)) if len(possible) == 1 else FOREIGN
        return FOREIGN if target in self.rebound else target

    def possible(self, node: ast.AST) -> set[str]:
        """What of this package a name or attribute may be, dotted; FOREIGN for all else."""
        attributes: list[str] = []
        while isinstance(node, ast.Attribute):
            attributes.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return set()
        starts = self.of[node].meanings(node.id)
        path = [*reversed(attributes)]
        return {".".join([start, *path]) if start else FOREIGN for start in starts}


def scopes_of(tree: ast.Module) -> Scopes:
    """Finds the scopes of a module and everything that binds in them."""
    return _Finder(tree).scopes


class _Finder:
    """Walks the tree in the order of its text, without recursion."""

    def __init__(self, tree: ast.Module) -> None:
        self.scopes = Scopes({}, set())
        self._stand_ins = _stand_ins(tree)
        module = Scope("module", None)
        #: What binds late: nonlocal needs to know all bindings of the scopes outside.
        self._bindings: list[tuple[Scope, str, str]] = []
        self._attributes: list[ast.Attribute] = []
        self._stars = False
        self._walk(tree, module)
        for scope, name, target in self._bindings:
            if name not in scope.nonlocals:
                scope.bind(name, target)
        for scope, name, target in self._bindings:
            if name in scope.nonlocals:
                scope.bind(name, target)
        if self._stars:  # may bind any name
            for targets in module.bindings.values():
                targets.add(FOREIGN)
        for attribute in self._attributes:
            self.scopes.rebound |= self.scopes.possible(attribute)
        self.scopes.rebound.discard(FOREIGN)

    def _walk(self, tree: ast.Module, module: Scope) -> None:
        waiting: list[tuple[ast.AST, Scope]] = [(tree, module)]
        while waiting:
            node, scope = waiting.pop()
            self.scopes.of[node] = scope
            if node in self._stand_ins:
                continue
            waiting += self._children(node, scope)

    def _bind(self, scope: Scope, name: str | None, target: str = FOREIGN) -> None:
        if name is not None:
            self._bindings.append((scope, name, target))

    def _children(self, node: ast.AST, scope: Scope) -> Iterable[tuple[ast.AST, Scope]]:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                return self._function(node, scope)
            case ast.Lambda():
                inner = self._with_arguments(node.args, scope)
                return [*_outside(node.args, scope), (node.body, inner)]
            case ast.ClassDef():
                self._bind(scope, node.name)
                outer = self._with_type_parameters(node, scope)
                inner = Scope("class", outer)
                heads: list[tuple[ast.AST, Scope]] = [(each, scope) for each in node.decorator_list]
                heads += [(each, outer) for each in [*node.bases, *node.keywords]]
                return [*heads, *((each, inner) for each in node.body)]
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                inner = Scope("comprehension", scope)
                first = node.generators[0].iter
                self.scopes.of[first] = scope
                rest = [(each, inner) for each in _parts(node) if each is not first]
                return [(first, scope), *rest]
            case ast.NamedExpr():
                self._bind(_of_walrus(scope), node.target.id)
                self.scopes.of[node.target] = scope
                return [(node.value, scope)]
            case _:
                self._simple(node, scope)
                return [(each, scope) for each in ast.iter_child_nodes(node)]

    def _function(self, node: _Function, scope: Scope) -> Iterator[tuple[ast.AST, Scope]]:
        self._bind(scope, node.name)
        outer = self._with_type_parameters(node, scope)
        inner = self._with_arguments(node.args, outer)
        yield from ((each, scope) for each in node.decorator_list)
        yield from _outside(node.args, scope)
        annotations = [argument.annotation for argument in _arguments(node.args)]
        yield from ((each, outer) for each in [*annotations, node.returns] if each is not None)
        yield from ((each, inner) for each in node.body)

    def _with_arguments(self, arguments: ast.arguments, outer: Scope) -> Scope:
        inner = Scope("function", outer)
        for argument in _arguments(arguments):
            self._bind(inner, argument.arg)
        return inner

    def _with_type_parameters(self, node: _Function | ast.ClassDef, scope: Scope) -> Scope:
        """The scope between a generic definition (CPython 3.12) and what is round it."""
        parameters = getattr(node, "type_params", [])
        if not parameters:
            return scope
        between = Scope("function", scope)
        for parameter in parameters:
            self._bind(between, parameter.name)
        return between

    def _simple(self, node: ast.AST, scope: Scope) -> None:
        """What a node binds that has no scope of its own."""
        match node:
            case ast.Name(ctx=ast.Load()):
                _needs(scope, node.id)
            case ast.Name():
                self._bind(scope, node.id)
                if isinstance(node.ctx, ast.Del):
                    _needs(scope, node.id)
            case ast.AugAssign(target=ast.Name() as target):
                _needs(scope, target.id)
            case ast.Attribute(ctx=ast.Store() | ast.Del()):
                self._attributes.append(node)
            case ast.Global():
                scope.globals.update(node.names)
            case ast.Nonlocal():
                scope.nonlocals.update(node.names)
                for name in node.names:
                    _needs(scope, name)
            case ast.Import():
                self._import(node, scope)
            case ast.ImportFrom():
                self._import_from(node, scope)
            case ast.ExceptHandler() | ast.MatchAs() | ast.MatchStar():
                self._bind(scope, node.name)
            case ast.MatchMapping():
                self._bind(scope, node.rest)

    def _import(self, node: ast.Import, scope: Scope) -> None:
        for alias in node.names:
            first = alias.name.partition(".")[0]
            ours = first == PACKAGE
            if alias.asname is None:
                self._bind(scope, first, PACKAGE if ours else FOREIGN)
            else:
                self._bind(scope, alias.asname, alias.name if ours else FOREIGN)

    def _import_from(self, node: ast.ImportFrom, scope: Scope) -> None:
        module = node.module or ""
        ours = node.level == 0 and module.partition(".")[0] == PACKAGE
        for alias in node.names:
            if alias.name != "*":
                name = alias.asname or alias.name
                self._bind(scope, name, f"{module}.{alias.name}" if ours else FOREIGN)
            elif ours:
                for name in _EXPORTED.get(module, ()):
                    self._bind(scope, name, f"{module}.{name}")
            else:
                self._stars = True


#: What a star import of ours binds, as far as it can be stripped.
_CALLS = (
    "trace_tiny", "trace_with_correlation", "trace_enter", "trace_exit", "trace_loop",
    "trace_state",
)  # fmt: skip
_EXPORTED = {
    PACKAGE: (*_CALLS, "trace_fn", "span"),
    f"{PACKAGE}.tracing": (*_CALLS, "trace_fn", "span"),
    f"{PACKAGE}.cuda": ("range",),
}


def _parts(node: ast.AST) -> Iterator[ast.AST]:
    """A comprehension's expressions; its ``for`` clauses taken apart."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.comprehension):
            yield from ast.iter_child_nodes(child)
        else:
            yield child


def _needs(scope: Scope, name: str) -> None:
    """Notes that a name must be bound, here or outside."""
    outer: Scope | None = scope
    while outer is not None:
        outer.loads.add(name)
        outer = outer.parent


def _of_walrus(scope: Scope) -> Scope:
    while scope.kind == "comprehension" and scope.parent is not None:
        scope = scope.parent
    return scope


def _arguments(arguments: ast.arguments) -> list[ast.arg]:
    optional = [arguments.vararg, arguments.kwarg]
    found = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return found + [argument for argument in optional if argument is not None]


def _outside(arguments: ast.arguments, scope: Scope) -> list[tuple[ast.AST, Scope]]:
    """Defaults are evaluated where the function is defined."""
    defaults = [*arguments.defaults, *arguments.kw_defaults]
    return [(each, scope) for each in defaults if each is not None]


def _stand_ins(tree: ast.Module) -> set[ast.AST]:
    """The handlers of an ImportError of ours: they run only where this package is missing.

    What they bind are stand-ins for its names, and mean the same.
    """
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Try) and node.body and all(map(_imports_ours, node.body)):
            found.update(each for each in node.handlers if _catches_import_error(each))
    return found


def _imports_ours(node: ast.stmt) -> bool:
    """Whether all that can fail in a statement is an import of this package."""
    if isinstance(node, ast.Assign):  # HAS_NARRATION = True
        names = all(isinstance(target, ast.Name) for target in node.targets)
        return names and isinstance(node.value, ast.Constant)
    if isinstance(node, ast.Import):
        return all(alias.name.partition(".")[0] == PACKAGE for alias in node.names)
    return (
        isinstance(node, ast.ImportFrom)
        and node.level == 0
        and (node.module or "").partition(".")[0] == PACKAGE
    )


def _catches_import_error(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return all(
        isinstance(kind, ast.Name) and kind.id in ("ImportError", "ModuleNotFoundError")
        for kind in kinds
    )
