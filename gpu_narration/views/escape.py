"""Text that came from a program, made safe for a line and for a terminal.

Nothing that was recorded can begin a new line, move the cursor, colour the
screen, reorder what is read (bidirectional controls) or hide in it (zero-width
characters).  What is escaped is shown as an escape, so nothing is lost.
"""

from __future__ import annotations

import re

_BARE = re.compile(r"[^\s\"'\\=\x00-\x1f\x7f]+")

# C0, DEL and C1 controls, line and paragraph separators, bidirectional embeddings,
# interlinear annotations, lone surrogates, and all that Unicode calls "default
# ignorable" (soft hyphen, zero-width characters, bidirectional controls, fillers,
# tags …) but the two variation selectors that go with emoji.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b\u200c\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff\uffa0"
    "\ufff0-\ufffb\ud800-\udfff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)
# The zero-width joiner holds emoji together; anywhere else it hides.
_LONE_JOINER = re.compile(
    "(?<![\u2600-\u27bf\ufe0f\U0001f000-\U0001faff])\u200d"
    "|\u200d(?![\u2600-\u27bf\U0001f000-\U0001faff])"
)
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def safe(text: str) -> str:
    r"""The text with everything unsafe shown as an escape.

    >>> print(safe("two\nlines"))
    two\nlines
    """
    if text.isascii() and text.isprintable():
        return text
    return _LONE_JOINER.sub(_escape, _UNSAFE.sub(_escape, text))


def quoted(text: str) -> str:
    """The text between double quotes, as string values are written."""
    return '"' + safe(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def bare(text: str) -> str:
    """A name as it is where it is one plain word, else quoted."""
    if _BARE.fullmatch(text) and safe(text) == text:
        return text
    return quoted(text)


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
