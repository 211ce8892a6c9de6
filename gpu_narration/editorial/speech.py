"""Who speaks in a text: quotes told from apostrophes, speech from names in quotes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from gpu_narration.editorial.text import MARK, wordset

_SAYING = wordset(
    "add admit agree announce answer ask assure babble bark beam beg bellow blurt boast breathe call "
    "chime chirp chuckle claim comment complain confess confirm croak cry declare demand drawl echo "
    "exclaim explain gasp giggle greet groan growl grumble grunt hiss hum inform inquire insist "
    "interject interrupt joke laugh lament mumble murmur mutter nag note nod object observe offer "
    "order plead promise propose pronounce protest purr quip reassure reckon recall remark remind "
    "repeat reply report request respond roar say scold scream shout shriek shrug sigh sing smile "
    "snap snarl sniff snort sob squeak stammer state stutter suggest tease tell thank think thunder "
    "urge vow wail warn whimper whine whisper wonder yawn yell yelp"
)
_IRREGULAR = wordset(
    "said says sang sung told spoke speak speaks thought cried cries replied replies tried begged "
    "begs nagged quipped sobbed admitted nodded shrugged hummed snapped grinned grins grin went goes"
)


def _forms(verb: str) -> Iterator[str]:
    stem = verb.removesuffix("e")
    yield from (verb, f"{verb}s", f"{stem}ed", f"{stem}ing")


_VERBS = {form for verb in _SAYING for form in _forms(verb)} | _IRREGULAR

#: Quotes that open and close differently, or never are anything else.
_DOUBLE = re.compile(r'"([^"]*)"|“([^“”]*)”|„([^“”„]*)[“”]|«([^«»]*)»|»([^«»]*)«')
# A single quote opens where a word begins and closes where one has ended; an apostrophe
# inside a word does neither.
_SINGLE = re.compile(
    rf"(?<![\w{MARK}])['‘](?=[\w{MARK}¡¿])(.+?)(?<=\S)['’](?![\w{MARK}])", re.DOTALL
)
_CLOSES_LATER = re.compile(rf"[^'‘’]*(?:(?<=\w)['’](?=\w)[^'‘’]*)*(?<=[.,!?…—–])['’](?![\w{MARK}])")
_ENDS_SPEECH = (".", ",", "!", "?", "…", "—", "–", "-")
_WORD = re.compile(rf"[\w{MARK}'’-]+")


@dataclass(frozen=True, slots=True)
class Speech:
    """A passage in quotes that somebody speaks.  ``attributed``: the text says who."""

    start: int
    end: int
    words: str
    attributed: bool


def speeches(body: str) -> list[Speech]:
    """What is spoken in a text.

    A passage in quotes is speech if it ends in punctuation inside its quotes, or a verb
    of speech or a colon stands beside it; else it is a name or a quotation of a word.
    Single quotes are quotes only where they cannot be apostrophes.

    >>> [speech.words for speech in speeches("'Ready?' asked gpu0. The worker's 'q0' wasn't.")]
    ['Ready?']
    """
    found = []
    quotes = _quotes(body)
    for index, (start, end, words) in enumerate(quotes):
        before = body[quotes[index - 1][1] if index else 0 : start]
        after = body[end : quotes[index + 1][0] if index + 1 < len(quotes) else len(body)]
        told = _is_told(before, after, words)
        is_speech = words.rstrip().endswith(_ENDS_SPEECH) or told
        if is_speech and re.search(rf"[\w{MARK}]", words):
            found.append(Speech(start, end, words, told or _continues(before, after, words)))
    return found


def _quotes(body: str) -> list[tuple[int, int, str]]:
    doubles = [
        (*found.span(), next(filter(None, found.groups()), "")) for found in _DOUBLE.finditer(body)
    ]
    # Inside double quotes a single one is an apostrophe, or a quote in a quote: the same speech.
    outside = list(body)
    for start, end, _ in doubles:
        outside[start:end] = " " * (end - start)
    singles = _singles("".join(outside))
    return sorted([*doubles, *singles])


def _singles(body: str) -> Iterator[tuple[int, int, str]]:
    """Passages in single quotes; an elision (``'tis``, ``the workers' queue``) is none."""
    at = 0
    while opened := _SINGLE.search(body, at):
        start, end = opened.span()
        words = opened.group(1)
        if not words.endswith(_ENDS_SPEECH):
            # "'the workers' queue is empty,' said …": a possessive closes nothing if a later
            # quote, with punctuation before it, does.
            later = _CLOSES_LATER.match(body, end)
            if later is not None:
                end = later.end()
                words = body[start + 1 : end - 1]
        yield start, end, words
        at = end


def _is_told(before: str, after: str, words: str) -> bool:
    """Whether a verb of speech or a colon stands beside a passage.

    A passage without punctuation may be a name (``the llama "Bob" says``): there the verb
    must stand right before it, or begin what follows where nothing stands before.
    """
    if re.search(rf"[\w{MARK})\]]\s*:\s*$", before):
        return True
    words = words.rstrip()
    earlier = _WORD.findall(re.split(r"[.!?;…]\s", before)[-1])
    # A full stop inside the quotes ends the sentence: what follows is another one.
    later = [] if words.endswith(".") else _WORD.findall(re.split(r"[.!?;…]", after)[0])
    is_sentence = words.endswith(_ENDS_SPEECH)
    near = earlier[-4:] + later[:5] if is_sentence else earlier[-1:] or later[:1]
    return any(word.lower() in _VERBS for word in near)


def _continues(before: str, after: str, words: str) -> bool:
    """Whether the sentence goes on beside the quotes: ``"Done," beamed gpu0``."""
    goes_on = re.match(rf"\s*[—–-]?\s*[\w{MARK}]", after) is not None
    if words.rstrip().endswith((",", "!", "?", "…", "—", "–", "-")) and goes_on:
        follows = after.strip(" —–-")[:1]
        return follows.islower() or follows == MARK or words.rstrip().endswith(",")
    return before.rstrip().endswith((",", ":"))
