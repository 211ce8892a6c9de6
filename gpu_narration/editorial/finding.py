"""What a rule found, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Span(NamedTuple):
    """A place in a source: lines and columns from 1, the end is behind the last character."""

    line: int = 1
    column: int = 1
    end_line: int = 1
    end_column: int = 1


NOWHERE = Span()


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that a text breaks.  ``path`` is "" for a text that was not read from a file."""

    code: str
    message: str
    path: str = ""
    span: Span = NOWHERE
