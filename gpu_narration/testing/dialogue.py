"""Whether somebody speaks in a story.

A quotation is speech where the text treats it as such: it ends in the mark of a sentence,
follows a comma or colon, or a verb of saying stands beside it.  An apostrophe is none:
``don't``, ``the workers' queue``, ``'tis``, ``rock 'n' roll``; nor is a word in quotes.
"""

# ruff: noqa: RUF001, RUF003 - quotation marks are what is looked for
from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

#: Opening marks and what closes each; “ and ‘ close as well where others open (German).
_PAIRS = {
    '"': '"', "“": "”", "”": "”", "„": "“”", "«": "»", "»": "«", "‹": "›", "›": "‹",
    "'": "'", "‘": "’", "‚": "‘’", "「": "」", "『": "』",
}  # fmt: skip
_SINGLE = frozenset("'‘‚")
_APOSTROPHES = frozenset("'’")
_SENTENCE_ENDS = frozenset(",.!?…—–。！？")
#: Words that begin with an apostrophe, and stand alone between two.
_ELIDED = frozenset(("n", "tis", "twas", "em", "til", "cause", "round", "bout", "cos", "twere"))
_SAYING = frozenset(
    [
        "say",
        "says",
        "said",
        "ask",
        "asks",
        "asked",
        "answer",
        "answers",
        "answered",
        "reply",
        "replies",
        "replied",
        "tell",
        "tells",
        "told",
        "whisper",
        "whispers",
        "whispered",
        "shout",
        "shouts",
        "shouted",
        "cry",
        "cries",
        "cried",
        "call",
        "calls",
        "called",
        "murmur",
        "murmurs",
        "murmured",
        "mutter",
        "mutters",
        "muttered",
        "announce",
        "announces",
        "announced",
        "sigh",
        "sighs",
        "sighed",
        "promise",
        "promises",
        "promised",
        "warn",
        "warns",
        "warned",
        "report",
        "reports",
        "reported",
        "add",
        "adds",
        "added",
        "beg",
        "begs",
        "begged",
        "explain",
        "explains",
        "explained",
        "insist",
        "insists",
        "insisted",
        "declare",
        "declares",
        "declared",
        "cheer",
        "cheers",
        "cheered",
        "yell",
        "yells",
        "yelled",
        "hum",
        "hums",
        "hummed",
        "greet",
        "greets",
        "greeted",
    ]
)
#: How many words beside a quotation are looked at for one of these.
_BESIDE = 3
#: Characters of the longest speech, and of the text beside one that is looked at: a story is
#: a few sentences, and looking must not take long where it is not.
_LONGEST = 500
_NEAR = 80
_WORD = re.compile(r"[^\W\d_]+")


class Quotation(NamedTuple):
    """What stands between two marks, and where."""

    text: str
    begin: int
    end: int


def has_dialogue(story: str) -> bool:
    """Whether there is speech in it.

    >>> has_dialogue('"Ready," said worker-1.'), has_dialogue("it isn't the workers' turn")
    (True, False)
    """
    return any(_is_speech(story, found) for found in quotations(story))


def quotations(text: str) -> Iterator[Quotation]:
    """What stands between marks that belong together, apostrophes left out."""
    position = 0
    while position < len(text):
        mark = text[position]
        closing = _PAIRS.get(mark)
        if closing is not None and _opens(text, position):
            end = _closing(text, position, closing)
            if end is not None:
                yield Quotation(text[position + 1 : end], position, end + 1)
                position = end
        position += 1


def _opens(text: str, at: int) -> bool:
    """A mark opens behind no letter and before no space; that makes most apostrophes none."""
    before, after = text[at - 1 : at], text[at + 1 : at + 2]
    if before.isalnum() or not after or (after.isspace() and text[at] != "«"):
        return False
    if text[at] in _SINGLE:
        word = _WORD.match(text, at + 1)
        return word is None or word.group().lower() not in _ELIDED
    return True


def _closing(text: str, begin: int, closing: str) -> int | None:
    single = text[begin] in _SINGLE
    for at in range(begin + 2, min(len(text), begin + _LONGEST)):
        if text[at] not in closing:
            continue
        if not single or text[at] not in _APOSTROPHES:
            return at
        after = text[at + 1 : at + 2]
        if after.isalnum() or text[at - 1].isspace():
            continue  # inside a word, or before an elided one
        if text[at - 1].isalnum() and _closes_later(text, at + 1):
            continue  # of several, as in the workers' queue
        return at
    return None


def _closes_later(text: str, at: int) -> bool:
    """Whether a single quotation ends with the mark of a sentence further on."""
    return any(
        text[i] in _APOSTROPHES and text[i - 1] in _SENTENCE_ENDS
        for i in range(at + 1, min(len(text), at + _LONGEST))
    )


def _is_speech(text: str, found: Quotation) -> bool:
    said = found.text.strip()
    if not any(character.isalnum() for character in said) and said not in ("…", "!", "?"):
        return False
    before = text[max(0, found.begin - _NEAR) : found.begin].rstrip()
    after = text[found.end : found.end + _NEAR].lstrip()
    if said[-1] in _SENTENCE_ENDS or before[-1:] in (",", ":"):
        return True
    near = [*_words(before)[-_BESIDE:], *_words(after)[:_BESIDE]]
    return any(word in _SAYING for word in near)


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]
