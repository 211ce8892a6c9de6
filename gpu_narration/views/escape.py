"""How recorded text stands in a line: safe, quoted where it must be.

What is unsafe, and why, is in :mod:`gpu_narration._escape`, which the recording half
has, too.
"""

from __future__ import annotations

import json
import re

from gpu_narration._escape import safe, safe_json

__all__ = ["bare", "quoted", "safe", "to_json"]

_BARE = re.compile(r"[^\s\"'\\=\x00-\x1f\x7f]+")


def quoted(text: str) -> str:
    """The text between double quotes, as string values are written."""
    return '"' + safe(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def bare(text: str) -> str:
    """A name as it is where it is one plain word, else quoted."""
    if _BARE.fullmatch(text) and safe(text) == text:
        return text
    return quoted(text)


def to_json(value: object, *, indent: int | None = None) -> str:
    """The value as JSON that is as safe for a terminal as any line."""
    return safe_json(json.dumps(value, indent=indent, ensure_ascii=False))
