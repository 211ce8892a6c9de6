"""Levels of other loggers, and ours."""

from __future__ import annotations

from gpu_narration._types import Level

#: The lowest number of the logging package that is a level of ours.
_FROM = (
    (50, Level.FATAL),
    (40, Level.ERROR),
    (30, Level.WARN),
    (20, Level.INFO),
    (10, Level.DEBUG),
)
_TO = {level: number for number, level in _FROM} | {Level.TRACE: 5, Level.MUTE: 1}
_NAMED = {"critical": 50, "exception": 40, "warn": 30, "fatal": 50, "notset": 0, "trace": 5}


def from_logging(number: int) -> Level:
    """Our level for a number of the logging package; below DEBUG all is TRACE."""
    return next((level for lowest, level in _FROM if number >= lowest), Level.TRACE)


def to_logging(level: Level) -> int:
    """The number of the logging package; FATAL is CRITICAL, TRACE is 5."""
    return _TO[level]


def from_name(name: str) -> Level:
    """Our level for the name of a method or a level; INFO for one that nobody knows."""
    name = name.lower()
    if name in _NAMED:
        return from_logging(_NAMED[name])
    return {"warning": Level.WARN}.get(name) or Level.__members__.get(name.upper(), Level.INFO)
