"""The rules for one text, whoever has read it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum

from gpu_narration._types import Level
from gpu_narration.editorial import secrets, speech, units, voice
from gpu_narration.editorial.text import MARK, Placeholder, Text


class Kind(StrEnum):
    """What a text is for, which says what rules it has."""

    HUMAN = "human"
    ERROR_HUMAN = "error_human"
    CUTE = "cute"
    STORY = "story"
    #: The sentence of a light call or a span: for developers, so ids and passives may be.
    TRACE = "trace"
    #: A name or a list of arguments: no sentence.
    DETAIL = "detail"


CUTE_CHARS = 150
STORY_CHARS = 200
_HUMAN_CHARS = {Level.WARN: 120, Level.ERROR: 150, Level.FATAL: 150}
_QUIET_CHARS = 100
#: The other rules read no further: a text as long as that is no sentence any more.
_READ_CHARS = 2000

_VAGUE = re.compile(
    r"\b(?:(?:an?|some|the)\s+)?(?:(?:unknown|unexpected|unspecified|internal|generic|fatal)\s+)?"
    r"(?:error|exception|failure|problem)s?\s+(?:(?:has|have|was|were)\s+)?"
    r"(?:occurr?ed|happened|encountered)\b"
    r"|\bsomething\s+(?:went|has\s+gone|is|was)\s+wrong\b"
    r"|\b(?:unknown|unexpected|unspecified)\s+(?:error|exception|failure)\b"
    r"|\bthere\s+(?:was|were|is|has\s+been)\s+(?:an?\s+|some\s+)?(?:error|exception|problem|failure)s?\b",
    re.IGNORECASE,
)
_NOTHING_ELSE = re.compile(r"\W*(?:error|failed|failure|exception|oops|fail)\W*", re.IGNORECASE)
#: After a vague word: what it was, after all.
_DETAIL = re.compile(
    rf"{MARK}|[:;–—(]\s*[\w'\"]|\s-\s+\w|\b(?:because|due\s+to|since|as)\s+\w", re.IGNORECASE
)  # fmt: skip

_OPAQUE = re.compile(
    r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"
    r"|\b0x[0-9a-f]{9,}\b"
    r"|\b(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{12,}\b",
    re.IGNORECASE,
)
_OPAQUE_WORDS = {
    "uuid", "guid", "ulid", "sha", "digest", "checksum", "fingerprint", "nonce", "etag", "hash", "traceparent",
    "pointer", "ptr", "hexdigest",
}  # fmt: skip
_OPAQUE_PAIRS = {("trace", "id"), ("span", "id"), ("correlation", "id")}


def human_chars(level: Level | None) -> int:
    """How long ``human`` may be at a level; the longest where the level is not known."""
    if level is None:
        return max(_HUMAN_CHARS.values())
    return _HUMAN_CHARS.get(level, _QUIET_CHARS)


def check(kind: Kind, text: Text, level: Level | None) -> Iterator[tuple[str, str]]:
    """What is wrong with a text: codes and messages, in the order of the codes."""
    if not text.body.strip():
        return
    yield from _too_long(kind, text, level)
    text = text.cut(_READ_CHARS)
    match kind:
        case Kind.HUMAN | Kind.ERROR_HUMAN:
            yield from _who_acts(text)
            yield from _vague(text)
            yield from _units(text)
            yield from _opaque(text)
        case Kind.TRACE:
            yield from _vague(text)
            yield from _units(text)
        case Kind.CUTE:
            for spoken in speech.speeches(text.body):
                yield (
                    "GN301",
                    f"dialogue in cute: {text.show(spoken.start, spoken.end)}; story is the voice for it",
                )
        case Kind.STORY:
            yield from _story(text)
        case Kind.DETAIL:
            pass
    yield from _secrets(text)


def _too_long(kind: Kind, text: Text, level: Level | None) -> Iterator[tuple[str, str]]:
    match kind:
        case Kind.DETAIL:
            return
        case Kind.CUTE:
            code, limit, where = "GN102", CUTE_CHARS, ""
        case Kind.STORY:
            code, limit, where = "GN103", STORY_CHARS, ""
        case _:
            at = "whatever its level" if level is None else f"at {level.name}"
            code, limit, where = "GN101", human_chars(level), f" {at}"
    if text.chars > limit:
        voice_name = "human" if code == "GN101" else kind.value
        yield code, f"{voice_name} has {text.chars} characters, {limit} is the limit{where}"


def _who_acts(text: Text) -> Iterator[tuple[str, str]]:
    for start, end, has_agent in voice.passives(text.body):
        shown = text.show(start, end)
        if has_agent:
            yield "GN201", f'passive voice: "{shown}"; begin with who does it'
        else:
            yield "GN202", f'passive voice: "{shown}"; say what the actor did'
    for start, end in voice.futures(text.body):
        yield "GN203", f'future tense: "{text.show(start, end)}"; tell what happens or has happened'


def _vague(text: Text) -> Iterator[tuple[str, str]]:
    if _NOTHING_ELSE.fullmatch(text.body):
        yield "GN204", f'"{text.body.strip()}" says nothing; name what failed and why'
        return
    found = _VAGUE.search(text.body)
    if found is not None and not _DETAIL.search(text.body, found.end()):
        yield "GN204", f'"{found.group()}" says nothing; name what failed and why'


def _units(text: Text) -> Iterator[tuple[str, str]]:
    for start, end in units.without_unit(text):
        yield "GN205", f"{text.show(start, end)} has no unit; write it behind the number"


def _opaque(text: Text) -> Iterator[tuple[str, str]]:
    for found in _OPAQUE.finditer(text.body):
        yield "GN206", f"{found.group()} tells a person nothing; put it into a field"
    for place in text.placeholders:
        if place.opaque or _is_opaque_name(place):
            yield "GN206", f"{{{place.name}}} is an opaque id; put it into a field"


def _is_opaque_name(place: Placeholder) -> bool:
    words = place.words
    return (
        any(word in _OPAQUE_WORDS for word in words[-1:])
        or tuple(words[-2:]) in _OPAQUE_PAIRS
        or re.fullmatch(r"sha\d+|md5", "".join(words[-2:])) is not None
    )


def _story(text: Text) -> Iterator[tuple[str, str]]:
    spoken = speech.speeches(text.body)
    if not spoken:
        yield "GN302", "nobody speaks in story; have its actors say something, in quotes"
    for one in spoken:
        if not one.attributed:
            yield "GN303", f"{text.show(one.start, one.end)} is said by nobody; say who speaks"


def _secrets(text: Text) -> Iterator[tuple[str, str]]:
    at = -1
    for place in text.placeholders:
        at = text.body.index(MARK, at + 1)
        if secrets.is_secret(place.name):
            yield "GN401", f"{{{place.name}}} is a secret by its name; leave it out"
        elif (label := secrets.label_before(text.body, at)) is not None:
            yield "GN401", f'the value after "{label}" is a secret by its name; leave it out'
