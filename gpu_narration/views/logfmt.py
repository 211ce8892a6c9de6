"""Events as logfmt: ``key=value`` pairs in a line, for log collectors.

A line has what the JSON object of the event has, one level deep.  Texts are quoted where
they must be; what would begin a line or hide in one is escaped as in the text view.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from gpu_narration.views.escape import bare, quoted

_KEY = re.compile(r"[^\w.\-]", re.ASCII)


def line(record: Mapping[str, object]) -> str:
    """The line of an object of :mod:`gpu_narration.views.jsonl`.

    >>> line({"level": "INFO", "text": "Hi there", "target": None, "fields": {"a b": 1}})
    'level=INFO text="Hi there" a_b=1'
    """
    return " ".join(f"{key}={value}" for key, value in _pairs(record))


def _pairs(record: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for name, value in record.items():
        if name == "context" and isinstance(value, dict):
            given = record.get("fields")
            for field, told in value.items():
                if not (isinstance(given, dict) and field in given):
                    yield _key(f"context.{field}" if field in record else field), _value(told)
        elif name == "fields" and isinstance(value, dict):
            for field, told in value.items():
                # A field may be called as something that every event has.
                yield _key(f"fields.{field}" if field in record else field), _value(told)
        elif name == "arguments" and isinstance(value, list):
            for position, argument in enumerate(value):
                key = _key(argument["name"] or f"arg{position}")
                yield (f"arguments.{key}" if key in record else key), _value(argument["value"])
        elif value is not None:
            yield _key(name), _value(value)


def _key(name: str) -> str:
    return _KEY.sub("_", name) or "_"


def _value(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return bare(value) if value else '""'
        case {"summary": str(text)}:
            return bare(text)
        case dict():
            return quoted(json.dumps(value, ensure_ascii=False))
    return str(value)
