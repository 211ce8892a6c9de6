"""Levels by their names."""

from __future__ import annotations

from gpu_narration._errors import OptionError
from gpu_narration._types import Level


def level_from(value: object) -> Level:
    """The level of that name or number; raises OptionError if there is none."""
    if isinstance(value, str) and value.upper() in Level.__members__:
        return Level[value.upper()]
    if isinstance(value, int) and Level.MUTE <= value <= Level.FATAL:
        return Level(value)
    known = ", ".join(level.name.lower() for level in Level)
    plain = type(value) in (str, int, float)  # another's __repr__ is the program's code
    shown = repr(value) if plain else f"of type {type(value).__name__}"
    raise OptionError(f"there is no level {shown}", next_step=f"choose one of {known}")
