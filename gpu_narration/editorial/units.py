"""Numbers of time and size that have no unit.

A number is looked at only where the text or the name of the value says that it is a
time or a size.  It has a unit if a word follows that could be one: what cannot be told
from a unit ("took 3 tries") passes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpu_narration.editorial.text import MARK, Placeholder, Text, wordset

#: Units at the end of the name of a value.
_UNIT_WORDS = wordset(
    "ns us ms s sec secs seconds minutes hours bytes kb mb gb tb kib mib gib tib nanoseconds "
    "microseconds milliseconds"
)
#: A value with such a name is a time or a size.
_QUANTITIES = wordset(
    "backoff bandwidth capacity delay deadline dt duration elapsed eta footprint interval lag latency memory "
    "size timeout took uptime vram wait waited"
)
#: … unless its name says that it is text by now, or a thing.
_NO_QUANTITIES = wordset(
    "text str string label pretty formatted human name id error reason kind type pool device model "
    "unit units class policy"
)
_OF_TIME_OR_SIZE = (
    r"took|takes|taking|lasted|lasts|elapsed|latency|duration|timeout|deadline|delay|backoff|waited|"
    r"uptime|ETA|lag|size|capacity|footprint|vram|memory"
)
#: Ends in a number whose unit is asked for: a word of time or size, and at most a little.
_BEFORE = re.compile(
    rf"\b(?:{_OF_TIME_OR_SIZE})(?:\s+(?:was|is|of|only|about|another|another|some|at|for))*\s*[:=≈~]?\s*$",
    re.IGNORECASE,
)
_IN_TIME = re.compile(r"\b(?:in|within|after)\s+(?:about\s+|some\s+|only\s+)?$", re.IGNORECASE)
#: The unit stands before the number: ``elapsed_ms=15``, ``latency (ms): 15``.
_UNIT_BEFORE = re.compile(
    r"(?:_(?:ns|us|ms|s|sec|seconds|bytes|kb|mb|gb|kib|mib|gib)|\((?:\w{1,3}|bytes|seconds|tokens)\)"
    r"|\b(?:ns|ms|seconds|bytes|kib|mib|gib))\s*[:=]?\s*$",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"(?<![\w.,:/#-])\d[\d,]*(?:\.\d+)?(?![\w.:/-]*\d)(?=\W|_|$|[A-Za-zµμ])")
#: What may stand between a number and the unit that it shares with the next.
_CHAIN = re.compile(rf"\s*(?:/|-|–|—|\.\.|±|→|×|to|of|and|or|vs\.?)\s*(?:{MARK}|\d[\d.,]*)")
#: A word that could be a unit, or a sign that is one; not the words that carry a sentence on.
_UNIT = re.compile(
    r"\s*[%‰°$€£×]|\s*[-‑]?\s*(?!(?:and|but|or|for|on|in|of|at|to|from|by|with|while|because|then|so|"
    r"after|before|is|was|the|a|an|until|since|when|as|that|which|per|via|than|this|it)\b)[A-Za-zµμ]",
    re.IGNORECASE,
)  # fmt: skip


def without_unit(text: Text) -> Iterator[tuple[int, int]]:
    """Where a number of time or size stands that has no unit."""
    body = text.body
    for index, place in enumerate(text.placeholders):
        start = _nth(body, index)
        asked = _is_measured(place) or (
            _BEFORE.search(body, 0, start) is not None and _could_be_number(place)
        )
        if asked and not _has_unit(body, start, start + 1):
            yield start, start + 1
    for number in _NUMBER.finditer(body):
        start, end = number.span()
        is_year = 1900 <= int(re.sub(r"\D.*", "", number.group()) or 0) < 2100
        at_end = not body[end:].strip() or body[end : end + 1] in {".", ",", ";", ")", "!", "?"}
        asked = _BEFORE.search(body, 0, start) is not None or (
            _IN_TIME.search(body, 0, start) is not None and at_end and not is_year
        )
        if asked and not _has_unit(body, start, end):
            yield start, end


def _nth(body: str, index: int) -> int:
    at = -1
    for _ in range(index + 1):
        at = body.index(MARK, at + 1)
    return at


def _is_measured(place: Placeholder) -> bool:
    """Whether the name of a value says that it is a time or a size in numbers."""
    words = place.words
    if not words or "%" in place.spec or not _NO_QUANTITIES.isdisjoint(words):
        return False
    if words[-1] in _UNIT_WORDS and len(words) > 1:
        # "total_s" is seconds; "s" and "gpu_us" of a region would be guesses for one letter.
        return words[-1] != "s" or not _QUANTITIES.isdisjoint(words) or "time" in words
    if words[-1] in {"seconds", "milliseconds", "bytes"}:
        return True
    return words[-1] in _QUANTITIES and (
        place.is_number or words[-1] in {"elapsed", "duration", "latency"}
    )


def _could_be_number(place: Placeholder) -> bool:
    """Whether a value after a word of time or size is a number, for all that is known."""
    if place.is_number:
        return True
    if "%" in place.spec or place.spec.endswith("s"):
        return False
    words = place.words
    return bool(words) and _NO_QUANTITIES.isdisjoint(words) and (
        words[-1] in _QUANTITIES | {"t", "n", "dt", "time", "count", "total", "limit"}
    )  # fmt: skip


def _has_unit(body: str, start: int, end: int) -> bool:
    if _UNIT_BEFORE.search(body, max(0, start - 40), start):
        return True
    while chain := _CHAIN.match(body, end):
        end = chain.end()
    return _UNIT.match(body, end) is not None
