"""Text that came from a program, made safe for a line and for a terminal.

Nothing that was recorded, and no name of a file, can begin a new line, move the
cursor, colour the screen, reorder what is read (bidirectional controls) or hide in it
(zero-width characters).  What is escaped is shown as an escape, so nothing is lost.
Emoji stay whole: their joiners, variation selectors and flags are let through where
Unicode has them, and only there.
"""

from __future__ import annotations

import re

# C0, DEL and C1 controls, line and paragraph separators, bidirectional embeddings,
# interlinear annotations, lone surrogates, noncharacters, and all that Unicode calls
# "default ignorable" (soft hyphen, zero-width characters, bidirectional controls,
# fillers, tags, variation selectors ...).
_UNSAFE = (
    "\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
    "\ufff0-\ufffb\ufffe\uffff\ud800-\udfff\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# What may carry a variation selector or be joined to another by a zero-width joiner.
_EMOJI = (
    "\xa9\xae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u23ff\u24c2\u25a0-\u27bf"
    "\u2900-\u297f\u2b00-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
)
# The flags of England, Scotland and Wales: a black flag and its tags.  Any others could
# hide a text in one.
_TAGS = "|".join(
    "".join(chr(0xE0000 + ord(letter)) for letter in name) + "\U000e007f"
    for name in ("gbeng", "gbsct", "gbwls")
)
_TAGGED_FLAG = f"\U0001f3f4(?:{_TAGS})"
# In order: a flag, a selector or a joiner in its place are kept, all else is escaped.
_ANY = re.compile(
    f"({_TAGGED_FLAG}"
    f"|(?<=[0-9#*{_EMOJI}])[\ufe0e\ufe0f]"
    f"|(?<=[\ufe0f{_EMOJI}])\u200d(?=[{_EMOJI}]))"
    f"|[{_UNSAFE}]"
)
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def safe(text: str) -> str:
    r"""The text with everything unsafe shown as an escape.

    >>> print(safe("two\nlines"))
    two\nlines
    """
    if text.isascii() and text.isprintable():
        return text
    return _ANY.sub(_shown, text)


def safe_json(text: str) -> str:
    r"""A JSON text with everything unsafe as one of its own escapes: it means the same.

    Line breaks between its values stay.
    """
    if text.isascii() and "\x7f" not in text:
        return text
    return _ANY.sub(_json_escape, text)


def _shown(match: re.Match[str]) -> str:
    character = match.group()
    if match.group(1) is not None:
        return character
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(match: re.Match[str]) -> str:
    character = match.group()
    if match.group(1) is not None or character == "\n":
        return character
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
