"""Full events for people: ``narrate()`` with levels, fields and three voices.

A narration costs more than a ``trace_*`` call and says more: beside the human
sentence it can carry a cute and a story one, and any number of named fields.
"""

from __future__ import annotations

import sys

from gpu_narration._core import emit
from gpu_narration._errors import OptionError
from gpu_narration._types import Kind, Level

# Looked up once: a member of an enumeration is a descriptor call away on CPython 3.11.
_NARRATION = int(Kind.NARRATION)
_MUTE = int(Level.MUTE)


def narrate(
    actor: str,
    action: str,
    target: str = "",
    human: str = "",
    *,
    level: Level | str = Level.INFO,
    cute: str | None = None,
    story: str | None = None,
    **fields: object,
) -> int | None:
    """Records a narration: who did what to whom, in a sentence for people.

    ``level`` is a :class:`Level` or its name.  ``cute`` and ``story`` are the same event
    in other voices; a reader that wants a voice the event lacks shows ``human``.
    ``fields`` are stored as they are where they are plain values (str, int, float,
    bool, bytes, None), else as a short summary.  None of the texts is a template.

    Returns the event id, or None if the event was not recorded.  Raises
    TypeError if one of the four texts is not a str, OptionError for a name that
    is no level.
    """
    if isinstance(level, str):
        level = _level(level)
    if cute is not None:
        fields["cute"] = cute
    if story is not None:
        fields["story"] = story
    # Level.MUTE is never shown, so it need not be recorded.
    if level <= _MUTE:
        return None
    module = sys._getframe(1).f_globals.get("__name__", "")
    return emit(_NARRATION, level, module, actor, action, target, human, fields or None)


def _level(name: str) -> Level:
    try:
        return Level[name.upper()]
    except KeyError:
        known = ", ".join(level.name.lower() for level in Level)
        raise OptionError(
            f"there is no level {name!r}", next_step=f"choose one of {known}"
        ) from None
