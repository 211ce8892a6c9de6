"""Expressions that make a text, as far as that can be read without running them."""

from __future__ import annotations

import ast
import re
from itertools import product

from gpu_narration.editorial.scopes import Scope
from gpu_narration.editorial.text import Placeholder, Text, joined, literal, placeholder, template

#: How many texts one expression may be before it counts as unknown.
_VARIANTS = 8
_DEPTH = 40
_PERCENT = re.compile(
    r"%(?:\((?P<key>[^)]*)\))?(?P<spec>[#0 +-]*(?:\d+|\*)?(?:\.(?:\d+|\*))?)[hlL]?(?P<type>[diouxXeEfFgGcrsa%])"
)
_OPAQUE_CALLS = {"id", "hash", "uuid1", "uuid4", "uuid7", "hexdigest", "token_hex", "token_urlsafe"}
_NUMBER_CALLS = {
    "len",
    "round",
    "int",
    "float",
    "abs",
    "sum",
    "perf_counter",
    "monotonic",
    "time_ns",
}
#: What these give is their argument, or what they are called on.
_SAME_VALUE = {
    "str",
    "repr",
    "format",
    "strip",
    "lower",
    "upper",
    "decode",
    "encode",
    "get_secret_value",
}


def texts(node: ast.expr, scope: Scope, depth: int = _DEPTH) -> list[Text]:
    """What an expression may be as a text; none where that is not known.

    Values of conditional expressions and of names that are assigned more than once are
    all given.
    """
    if depth == 0:
        return []
    match node:
        case ast.Constant(value=str(text)):
            return [literal(text)]
        case ast.JoinedStr():
            return _joined([_piece(part, scope, depth - 1) for part in node.values])
        case ast.BinOp(op=ast.Add()):
            return _sum(node, scope, depth)
        case ast.BinOp(left=ast.Constant(value=str(text)), op=ast.Mod()):
            return [_percent(text, node.right)]
        case ast.Call(func=ast.Attribute(value=value, attr="format")):
            filled = texts(value, scope, depth - 1)
            values = positional(node.args)
            named = {word.arg: known(word.value) for word in node.keywords if word.arg}
            return [template(text.body, values, named) for text in filled if not text.placeholders]
        case ast.IfExp():
            return _all([node.body, node.orelse], scope, depth - 1)
        case ast.BoolOp():
            return _all(node.values, scope, depth - 1)
        case ast.NamedExpr():
            return texts(node.value, scope, depth - 1)
        case ast.Name():
            return _all(scope.values(node.id) or [], scope, depth // 2)
    return []


def positional(nodes: list[ast.expr]) -> list[Placeholder]:
    """What is known of values that are given by position, as far as that can be counted."""
    values = []
    for node in nodes:
        if isinstance(node, ast.Starred):
            break
        values.append(known(node))
    return values


def known(node: ast.expr, spec: str = "") -> Placeholder:
    """What is known of a value without running anything: above all, its name."""
    match node:
        case ast.Name(id=name):
            return Placeholder(name, spec)
        case ast.Attribute(value=value, attr=attribute):
            owner = known(value).name
            if attribute == "hex":
                return Placeholder(f"{owner}.hex" if owner else "hex", spec, opaque=True)
            return Placeholder(f"{owner}.{attribute}" if owner else attribute, spec)
        case ast.Subscript(value=value, slice=ast.Constant(value=str(key))):
            owner = known(value).name
            return Placeholder(f"{owner}.{key}" if owner else key, spec)
        case ast.Constant(value=bool()):
            return Placeholder(spec=spec)
        case ast.Constant(value=int() | float()):
            return Placeholder(spec=spec, number=True)
        case ast.Await(value=value):
            return known(value, spec)
        case ast.Call(func=func):
            return _called(node, func, spec)
    return Placeholder(spec=spec)


def _called(node: ast.Call, func: ast.expr, spec: str) -> Placeholder:
    name = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
    if name in _OPAQUE_CALLS:
        return Placeholder(f"{name}()", spec, opaque=True)
    if name in _NUMBER_CALLS:
        return Placeholder(spec=spec, number=True)
    if name in {"get", "getenv", "pop"} and node.args:
        key = node.args[0]
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            return Placeholder(key.value, spec)
    if name in _SAME_VALUE:
        if isinstance(func, ast.Attribute):
            return known(func.value, spec)
        if node.args:
            return known(node.args[0], spec)
    return Placeholder(spec=spec)


def _piece(node: ast.expr, scope: Scope, depth: int) -> list[Text]:
    """A part of an f-string: its text, or a placeholder."""
    if not isinstance(node, ast.FormattedValue):
        return texts(node, scope, depth)
    spec = ""
    if isinstance(node.format_spec, ast.JoinedStr):
        parts = [part.value for part in node.format_spec.values if isinstance(part, ast.Constant)]
        # A width that is known only at run time makes the whole format unknown.
        spec = str(parts[0]) if len(parts) == len(node.format_spec.values) == 1 else ""
    constants = texts(node.value, scope, depth) if not spec and node.conversion == -1 else []
    return constants or [placeholder(known(node.value, spec))]


def _joined(parts: list[list[Text]]) -> list[Text]:
    if not all(parts):
        return []
    count = 1
    for part in parts:
        count *= len(part)
    if count > _VARIANTS:
        parts = [part[:1] for part in parts]
    return [joined(choice) for choice in product(*parts)]


def _sum(node: ast.BinOp, scope: Scope, depth: int) -> list[Text]:
    """Texts that are added: a side that is not known is a placeholder if another is a text."""
    sides: list[ast.expr] = []
    left: ast.expr = node
    while isinstance(left, ast.BinOp) and isinstance(left.op, ast.Add):
        sides.append(left.right)
        left = left.left
    sides.append(left)
    found = [texts(side, scope, depth - 1) for side in reversed(sides)]
    if not any(found):
        return []
    return _joined(
        [
            part or [placeholder(known(side))]
            for part, side in zip(found, reversed(sides), strict=True)
        ]
    )


def _percent(text: str, right: ast.expr) -> Text:
    """A text with ``%`` formats."""
    values = positional(right.elts if isinstance(right, ast.Tuple) else [right])
    named = {
        key.value: known(value)
        for key, value in zip(right.keys, right.values, strict=True)
        if isinstance(key, ast.Constant)
    } if isinstance(right, ast.Dict) else {}  # fmt: skip
    pieces, end, index = [], 0, 0
    for found in _PERCENT.finditer(text):
        pieces.append(literal(text[end : found.start()]))
        end = found.end()
        if found["type"] == "%":
            pieces.append(literal("%"))
            continue
        if found["key"] is not None:
            value = named.get(found["key"], Placeholder(found["key"]))
        else:
            value = values[index] if index < len(values) else Placeholder()
            index += 1
        width = re.match(r"[#0 +-]*(\d+)", found["spec"])
        spec = width[1].lstrip("0") if width is not None else ""
        number = value.number or found["type"] in "dioueEfFgG"
        pieces.append(placeholder(Placeholder(value.name, spec, number, value.opaque)))
    return joined((*pieces, literal(text[end:])))


def _all(nodes: list[ast.expr], scope: Scope, depth: int) -> list[Text]:
    """The texts of all of some expressions; none where they are too many."""
    found: list[Text] = []
    for node in nodes[: _VARIANTS + 1]:
        found += texts(node, scope, depth)
    return found if len(found) <= _VARIANTS else []
