"""Finding events by anything they have."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from gpu_narration._errors import OptionError
from gpu_narration._types import Kind, Level
from gpu_narration.tracefile import Event, Phase
from gpu_narration.tracefile.format import CutText, Summary, Value
from gpu_narration.views.sentences import sentence, target_of

#: What an event has no field of this name.
MISSING: Any = type("Missing", (), {"__repr__": lambda _: "missing"})()


def value_of(event: Event, learned: Mapping[str, Value], name: str) -> Any:
    """A field of an event by name, or MISSING.

    actor, action, target, human, cute, story, level, kind, phase, module, outcome, elapsed_ns,
    error_type, error_text; then its own fields, its arguments, ids of its context, and what
    was learned of it later.
    """
    known = _KNOWN.get(name)
    if known is not None:
        value = known(event, learned)
        if value is not None:
            return value
    for argument in event.arguments:
        if argument.name == name:
            return _plain(argument.value)
    for fields in (event.fields, learned, event.context):
        if name in fields:
            return _plain(fields[name])
    # Where it comes from, unless the narration was told.
    known_place = {"source_location": event.source_location, "emitted_by": event.emitted_by}
    place = known_place.get(name)
    return MISSING if place is None else place


def fits(value: Any, expected: Any) -> bool:
    """Equal; a compiled pattern is searched for, a function is asked."""
    if value is MISSING:
        return False
    if isinstance(expected, re.Pattern):
        return expected.search(str(value)) is not None
    if callable(expected) and not isinstance(expected, type):
        return bool(expected(value))
    if isinstance(value, Level):
        return bool(value == _level(expected))
    return bool(value == expected)


def check_wanted(fields: Mapping[str, Any]) -> None:
    """Refuses a word that no event can have: what looks for it would find nothing for ever.

    Raises OptionError.
    """
    for name, words in _WORDS.items():
        wanted = fields.get(name)
        if isinstance(wanted, str) and (wanted.lower() if name == "level" else wanted) not in words:
            raise OptionError(
                f"there is no {name} {wanted!r}", next_step=f"choose one of {', '.join(words)}"
            )


def _level(expected: Any) -> Any:
    return Level[expected.upper()] if isinstance(expected, str) else expected


def _plain(value: Value) -> Any:
    if isinstance(value, (Summary, CutText)):
        return value.text
    return value


#: What every event has, and has a few words only.
_WORDS = {
    "level": [level.name.lower() for level in Level],
    "kind": [kind.name.lower() for kind in Kind],
    "phase": [phase.value for phase in Phase],
}

_KNOWN: dict[str, Callable[[Event, Mapping[str, Value]], Any]] = {
    "actor": lambda event, _: event.names[0],
    "action": lambda event, _: event.names[1],
    "target": lambda event, _: target_of(event) or "",
    "human": sentence,
    "level": lambda event, _: event.level,
    "kind": lambda event, _: event.kind.name.lower(),
    "phase": lambda event, _: event.phase.value,
    "module": lambda event, _: event.site.module,
    "correlation_id": lambda event, _: event.correlation,
    "outcome": lambda event, _: None if event.outcome is None else event.outcome.name.lower(),
    "elapsed_ns": lambda event, _: event.elapsed_ns,
    "error_type": lambda event, _: event.error_type,
    "error_text": lambda event, _: event.error_text,
}
