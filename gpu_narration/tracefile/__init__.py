"""Reading traces: ``Trace(path)`` and what it gives."""

from gpu_narration.tracefile.count import ThreadCount, count_events
from gpu_narration.tracefile.events import (
    Argument,
    Event,
    Note,
    Notice,
    Parameter,
    Phase,
    Site,
    ThreadInfo,
    Trouble,
)
from gpu_narration.tracefile.trace import ProcessTrace, Trace

__all__ = [
    "Argument",
    "Event",
    "Note",
    "Notice",
    "Parameter",
    "Phase",
    "ProcessTrace",
    "Site",
    "ThreadCount",
    "ThreadInfo",
    "Trace",
    "Trouble",
    "count_events",
]
