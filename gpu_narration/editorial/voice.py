"""Who acts in a sentence: passive voice and future tense, found by form.

No grammar of English: what is not clearly one of these forms is let pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpu_narration.editorial.text import MARK, wordset

_BE = {"am", "is", "are", "was", "were", "be", "been", "being", "get", "gets", "got"}
#: With these alone a participle is an event; "the model is loaded" is a state.
_EVENT = {"was", "were", "been", "being"}
#: After these a passive says which thing is meant, not what happened.
_RELATIVE = {"that", "which", "who", "whose", "what", "as", "than", "where"}

_IRREGULAR = wordset(
    "begun bound bought brought built caught chosen cut done drawn driven eaten fed forgotten "
    "found frozen given held hidden hit kept known laid left lent lost made met overridden "
    "overwritten paid put read rebuilt rerun rewritten run seen sent set shown shut spent split "
    "spun stolen struck swept taken thrown told torn undone understood unwound withdrawn woken "
    "won worn woven written"
)
#: These end in -ed and are no participles.
_NO_PARTICIPLES = wordset(
    "bed bleed breed deed embed exceed feed hundred indeed naked need proceed red reed ragged sacred "
    "seed shed sled speed succeed weed wicked"
)
#: Participles that say how something is, more than what was done to it.
_STATES = wordset(
    "advanced aligned allowed based blocked bound busied called closed completed concerned connected "
    "degraded disconnected done exhausted expected finished frozen hidden idled interested known "
    "left limited located lost named needed offset prepared related required retired saturated "
    "seeded set settled shut spent stalled supposed surprised tied tired used worn"
)
#: After "by" these measure or say how; they are nobody.
_NOBODY = wordset(
    "accident default definition design far hand itself mistake name now request side size "
    "then themselves type value"
)
#: What these do "by" something is a measure or an order.
_MEASURED = wordset(
    "decreased delayed divided extended followed grouped grown improved increased indexed keyed lowered "
    "multiplied ordered partitioned raised ranked reduced scaled shifted shortened sorted split "
    "sped"
)

_TOKEN = re.compile(rf"[\w{MARK}'’-]+|[^\w\s]")
_NOT_BETWEEN = {"and", "but", "or", "which", "that", "because", "while", "so", "then"}
_FUTURE = re.compile(
    rf"\b(?:(?:will|shall)(?:\s+(?:not|never|then|now|soon|\w+ly))*\s+(?!of\b|is\b|was\b|and\b|to\b)[a-z]\w*"
    rf"|[\w{MARK}]+['’]ll\s+[a-z]\w*"
    rf"|(?:am|is|are)\s+(?:not\s+)?going\s+to\s+[a-z]\w*)",
    re.IGNORECASE,
)  # fmt: skip


def passives(body: str) -> Iterator[tuple[int, int, bool]]:
    """The passives of a text: where each begins and ends, and whether it names an agent."""
    tokens = list(_TOKEN.finditer(body))
    words = [token.group().lower() for token in tokens]
    for index, word in enumerate(words):
        if word not in _BE:
            continue
        at = index + 1
        while at < len(words) and _is_adverb(words[at]):
            at += 1
        if at >= len(words) or not _is_participle(words[at]):
            continue
        if words[at] in _MEASURED and "by" in words[at + 1 : at + 5]:
            continue
        by = _agent(words, at)
        if by is not None:
            yield tokens[index].start(), tokens[by].end(), True
        elif (
            word in _EVENT
            and words[at] not in _STATES
            and not re.fullmatch(r"un\w+ed|\w+-\w+", words[at])
            and not _is_relative(words, index)
        ):
            yield tokens[index].start(), tokens[at].end(), False


def futures(body: str) -> Iterator[tuple[int, int]]:
    """Where a text speaks of the future."""
    for found in _FUTURE.finditer(body):
        yield found.span()


def _is_adverb(word: str) -> bool:
    return word in {"not", "never", "now", "just", "already", "also", "still", "first", "once", "again",
                    "then", "all", "both"} or (word.endswith("ly") and len(word) > 4)  # fmt: skip


def _is_participle(word: str) -> bool:
    last = word.rpartition("-")[2]
    if last in _IRREGULAR:
        return True
    return last.endswith("ed") and len(last) > 3 and last not in _NO_PARTICIPLES and last.isalpha()


def _agent(words: list[str], participle: int) -> int | None:
    """Where the "by" of a passive stands, if somebody follows it."""
    for at in range(participle + 1, min(participle + 7, len(words) - 1)):
        word = words[at]
        if word == "by":
            agent = words[at + 1]
            is_somebody = agent[0].isalpha() or agent.startswith(MARK)
            return (
                at if is_somebody and agent not in _NOBODY and not agent.endswith("ing") else None
            )
        if word in _NOT_BETWEEN or not (word[0].isalnum() or word[0] == MARK):
            return None
    return None


def _is_relative(words: list[str], be: int) -> bool:
    before = words[max(0, be - 3) : be]
    return bool(before) and any(word in _RELATIVE for word in before)
