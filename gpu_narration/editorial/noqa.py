"""Comments that suppress findings: ``# noqa`` and ``# noqa: GN101, GN205``."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterable
from dataclasses import dataclass

from gpu_narration.editorial.finding import Finding, Span
from gpu_narration.editorial.rules import RULES

_NOQA = re.compile(
    r"#\s*noqa(?![\w-])(?P<colon>\s*:\s*(?P<codes>[A-Za-z]+\d*(?:[\s,]+[A-Z]+\d+)*)?)?",
    re.IGNORECASE,
)
_CODE = re.compile(r"[A-Za-z]+\d*")


@dataclass(frozen=True, slots=True)
class Noqa:
    """One comment.  ``codes`` is None where it suppresses everything."""

    span: Span
    codes: frozenset[str] | None


def comments(source: str) -> dict[int, Noqa]:
    """The comments of a source that suppress something, by line."""
    if "noqa" not in source.lower():
        return {}
    found = {}
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                noqa = in_line(token.string, *token.start)
                if noqa is not None:
                    found[noqa.span.line] = noqa
    except (tokenize.TokenError, SyntaxError):
        pass  # the parser has accepted it, so this is all that there is before its odd end
    return found


def in_line(text: str, line: int, column: int = 0) -> Noqa | None:
    """The comment in a text that begins at a line and column, if it suppresses something."""
    match = _NOQA.search(text)
    if match is None:
        return None
    start = column + match.start() + 1
    return Noqa(Span(line, start, line, start + len(match.group())), _codes(match))


def unknown(found: Iterable[Noqa], path: str) -> list[Finding]:
    """The codes in comments that look like ours and are none."""
    return [
        Finding(
            "GN003",
            f"noqa names {code}, which there is not; it suppresses nothing",
            path,
            noqa.span,
        )
        for noqa in found
        for code in sorted(noqa.codes or ())
        if re.fullmatch(r"GN\d*", code) and code not in RULES
    ]


def suppressed(code: str, lines: Iterable[int], found: dict[int, Noqa]) -> bool:
    """Whether a comment on one of some lines suppresses a finding."""
    comments_there = (found[line] for line in lines if line in found)
    return any(noqa.codes is None or code in noqa.codes for noqa in comments_there)


def _codes(match: re.Match[str]) -> frozenset[str] | None:
    if not match["colon"]:
        return None
    return frozenset(code.upper() for code in _CODE.findall(match["codes"] or ""))
