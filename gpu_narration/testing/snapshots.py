"""The text of a story, kept beside the tests and compared with the next run's."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path

#: Fields that are of another value each time, and what stands for them.
_TIME = re.compile(r"\b(\w+_(?:ms|ns))=(?!None\b)[^\s\"]+")
_PLACE = re.compile(r'\b(source_location|emitted_at)="[^"]*"')
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")
_UUID = re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b|\b[0-9a-f]{32}\b")


def stable(lines: list[str], replace: Mapping[str, str] | None = None) -> str:
    """Lines without what differs from run to run.

    Times in fields become ``<time>``, addresses ``<address>``, places ``<place>``; ids like
    UUIDs are numbered as they come, so the same id is the same name.  ``replace`` has more
    patterns, which go first.
    """
    text = "\n".join(lines)
    for pattern, put in (replace or {}).items():
        text = re.sub(pattern, put, text)
    ids: dict[str, str] = {}

    def numbered(found: re.Match[str]) -> str:
        return ids.setdefault(found.group(), f"<id-{len(ids) + 1}>")

    text = _TIME.sub(r"\1=<time>", text)
    text = _PLACE.sub(r"\1=<place>", text)
    text = _ADDRESS.sub("<address>", text)
    return _UUID.sub(numbered, text) + "\n"


def check(path: Path, text: str, *, update: bool, how: str) -> None:
    """Compares a text with the one in a file; writes the file instead if ``update``.

    AssertionError where they differ, or where there is no file: ``how`` says how to make it.
    """
    __tracebackhide__ = True
    if update:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return
    if not path.exists():
        raise AssertionError(f"there is no snapshot {path}; {how}. It would be:\n{text}")
    kept = path.read_text(encoding="utf-8")
    if kept != text:
        difference = "".join(
            difflib.unified_diff(
                kept.splitlines(keepends=True), text.splitlines(keepends=True), str(path), "now"
            )
        )
        raise AssertionError(
            f"the story is another than in {path}; if it is right, {how}.\n{difference}"
        )
