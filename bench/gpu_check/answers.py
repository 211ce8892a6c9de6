"""What a recording says of its launches, and figures of many values."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from gpu_narration._types import Kind
from gpu_narration.timeline.distribution import Distribution
from gpu_narration.tracefile import Trace
from gpu_narration.tracefile.format import Value


def launches(path: Path, name: str) -> list[dict[str, Value]]:
    """What is known of all launches of a name, in order."""
    trace = Trace(path)
    return [
        {**event.fields, **trace.annotations(event)}
        for event in trace.events()
        if event.kind is Kind.LAUNCH and event.names[2] == name
    ]


def number(value: Value) -> int | None:
    """An integer, or None for all that is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def reasons(answers: Iterable[dict[str, Value]], measure: str, reason: str) -> dict[str, int]:
    """How many answers lack a measure, by the reason they give."""
    counts: dict[str, int] = {}
    for answer in answers:
        if number(answer.get(measure)) is None:
            why = str(answer.get(reason, "no answer in the trace"))
            counts[why] = counts.get(why, 0) + 1
    return counts


def figures(values: Iterable[int]) -> dict[str, int] | None:
    """n, median, p99 and largest, percentiles by nearest rank; None for no values."""
    distribution = Distribution()
    for value in values:
        distribution.add(value)
    found = distribution.figures
    if found is None:
        return None
    return {
        "n": found.count,
        "p50_ns": found.median_ns,
        "p99_ns": found.p99_ns,
        "max_ns": found.longest_ns,
    }
