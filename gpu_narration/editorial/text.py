"""A text as the rules see it: its words, and a mark where a value will stand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import Formatter

#: Stands for one placeholder in :attr:`Text.body`; Unicode has it for what is not text.
MARK = "\ufffc"
#: How many characters a placeholder counts as.
PLACEHOLDER_CHARS = 8

_WIDTH = re.compile(r"(?:.?[<>=^])?[-+ ]?z?#?0?(\d{1,4})")
_NUMBER_SPEC = re.compile(r"(?:.?[<>=^])?[-+ ]?z?#?0?\d*[,_]?(?:\.\d+)?[deEfFgGn]|.*[,_](?:\.\d+)?")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


@dataclass(frozen=True, slots=True)
class Placeholder:
    """Where a value will stand.

    ``name`` is what the program calls the value, dotted (``result.id``), "" where it has
    no name; ``number`` and ``opaque`` say what is known of it without a name.
    """

    name: str = ""
    spec: str = ""
    number: bool = False
    opaque: bool = False

    @property
    def chars(self) -> int:
        width = _WIDTH.match(self.spec)
        return PLACEHOLDER_CHARS if width is None else max(1, int(width[1]))

    @property
    def words(self) -> list[str]:
        """The words of the last part of the name, lower case."""
        return words_of(self.name.rpartition(".")[2])

    @property
    def is_number(self) -> bool:
        return self.number or _NUMBER_SPEC.fullmatch(self.spec) is not None


def words_of(name: str) -> list[str]:
    """The words of a name, lower case.

    >>> words_of("dbPassword_v2")
    ['db', 'password', 'v', '2']
    """
    return [word.lower() for word in _WORD.findall(name)]


def wordset(*lines: str) -> frozenset[str]:
    """The words of some lines, which read better than as many literals."""
    return frozenset(" ".join(lines).split())


@dataclass(frozen=True, slots=True)
class Text:
    """A text with a :data:`MARK` for each placeholder."""

    body: str
    placeholders: tuple[Placeholder, ...] = ()

    @property
    def chars(self) -> int:
        """Its length, with every placeholder as what it counts for."""
        return len(self.body) + sum(place.chars - 1 for place in self.placeholders)

    def cut(self, chars: int) -> Text:
        """Its beginning."""
        if len(self.body) <= chars:
            return self
        body = self.body[:chars]
        return Text(body, self.placeholders[: body.count(MARK)])

    def show(self, start: int, end: int) -> str:
        """A part of the text as it is written, its placeholders in braces."""
        before = self.body.count(MARK, 0, start)
        names = iter(self.placeholders[before:])
        return re.sub(MARK, lambda _: f"{{{next(names).name}}}", self.body[start:end])


def joined(pieces: Iterable[Text]) -> Text:
    """The pieces as one text."""
    pieces = tuple(pieces)
    body = "".join(piece.body for piece in pieces)
    return Text(body, tuple(place for piece in pieces for place in piece.placeholders))


def literal(text: str) -> Text:
    """A text without placeholders."""
    return Text(text.replace(MARK, " "))


def placeholder(place: Placeholder) -> Text:
    """A text that is one placeholder."""
    return Text(MARK, (place,))


def template(
    text: str,
    values: Sequence[Placeholder] = (),
    named: Mapping[str, Placeholder] | None = None,
) -> Text:
    """A text with fields in braces, as ``str.format`` reads them.

    ``values`` and ``named`` are what is known of the values that it is filled with.
    What is no template is a literal.
    """
    pieces = []
    following = iter(range(len(text)))
    try:
        for before, field, spec, _ in Formatter().parse(text):
            pieces.append(literal(before))
            if field is not None:
                pieces.append(
                    placeholder(_filled(field, spec or "", values, named or {}, following))
                )
    except ValueError:
        return literal(text)
    return joined(pieces)


def _filled(
    field: str,
    spec: str,
    values: Sequence[Placeholder],
    named: Mapping[str, Placeholder],
    following: Iterator[int],
) -> Placeholder:
    first, rest = re.fullmatch(r"([^.\[]*)(.*)", field, re.DOTALL).groups()  # type: ignore[union-attr]
    if not first or first.isdecimal():
        index = int(first) if first and len(first) < 5 else next(following)
        known = values[index] if index < len(values) else Placeholder()
    else:
        known = named.get(first, Placeholder(first))
    attributes = re.findall(r"\.(\w+)|\[([^\]]*)\]", rest)
    parts = [known.name, *(name or key for name, key in attributes)]
    if not attributes:
        return Placeholder(known.name, spec, known.number, known.opaque)
    return Placeholder(".".join(filter(None, parts)), spec)
