"""Templates filled in when a trace is read.

A template is ``str.format`` text with numbered or automatic fields.  Values are
put in once and never read as templates again; attribute and item access is not
part of it, since the values are plain.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

from gpu_narration.tracefile.format import (
    Absent,
    CutBytes,
    CutText,
    Masked,
    Pointer,
    Summary,
    Value,
)

MASK = "•••"

#: A wider field would be an attack on the reader's memory.
_WIDEST = 1000
_WIDTH = re.compile(r"\d+")
_formatter = string.Formatter()


def fill(template: str, values: Sequence[Value]) -> str:
    """The template with the values in it; literal if there are no values.

    A template that does not fit its values is shown as it is, with the values.
    """
    if not values:
        return template
    try:
        return _fill(template, values)
    except (IndexError, KeyError, ValueError, TypeError, AttributeError):
        shown = ", ".join(plain_text(value) for value in values)
        return f"{template} [the template does not fit its values: {shown}]"


def plain_text(value: Value) -> str:
    """A value as it reads inside a sentence."""
    match value:
        case str():
            return value
        case Pointer():
            return hex(value.address)
        case Summary():
            return value.text
        case CutText():
            return f"{value.text}… ({value.length} characters)"
        case CutBytes():
            return f"{value.data!r}… ({value.length} bytes)"
        case Masked():
            return MASK
        case Absent():
            return "?"
        case _:
            return str(value)


def _fill(template: str, values: Sequence[Value]) -> str:
    parts = []
    automatic = 0
    for literal, name, spec, conversion in _formatter.parse(template):
        parts.append(literal)
        if name is None:
            continue
        if name == "":
            index = automatic
            automatic += 1
        else:
            index = int(name)
            if index < 0:
                raise IndexError(name)
        parts.append(_one(values[index], spec or "", conversion))
    return "".join(parts)


def _one(value: Value, spec: str, conversion: str | None) -> str:
    if "{" in spec:
        raise ValueError("a format within a format")
    if any(int(width) > _WIDEST for width in _WIDTH.findall(spec)):
        raise ValueError("a field that wide")
    plain = value if isinstance(value, (bool, int, float, str, bytes)) or value is None else None
    if plain is None and value is not None:
        plain = plain_text(value)
    if conversion is not None:
        plain = _formatter.convert_field(plain, conversion)
    if not spec:
        return str(plain)
    return format(plain, spec)
