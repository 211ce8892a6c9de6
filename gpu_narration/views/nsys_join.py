"""What a join found, in lines and as JSON."""

from __future__ import annotations

from collections.abc import Iterator

from gpu_narration.timeline.nsys.join import JoinCounts, JoinResult
from gpu_narration.views.escape import safe
from gpu_narration.views.units import duration

_MANY = {"kernel": "kernels", "copy": "copies", "memset": "memsets", "graph": "whole graphs"}
_HOW = {
    "payload": "by the ids in its ranges",
    "name": "by the names and times of its ranges, as they carry no ids",
    "clock": "by the clock alone, as it has no ranges of this trace",
}


def join_lines(result: JoinResult) -> Iterator[str]:
    """What to tell a person of a join."""
    works = ", ".join(f"{counts.attributed:,} of {counts.total:,} {_MANY[work]}" for work, counts in result.by_work.items())  # fmt: skip
    if not result.total:
        yield "The report holds no GPU work of this trace's processes."
    else:
        yield (
            f"{works} belong to {result.spans:,} spans and launches; GPUs worked "
            f"{duration(result.busy.covered_ns)} for this trace's processes."
        )
    for pid, counts in sorted(result.by_process.items()):
        yield f"  process {pid}: {counts.attributed:,} of {counts.total:,}"
    if result.reasons:
        yield f"{result.total - result.attributed:,} belong to none:"
        for reason, count in sorted(result.reasons.items(), key=lambda item: (-item[1], item[0])):
            yield f"  {count:,}: {safe(reason)}"
    if result.elsewhere:
        yield f"{result.elsewhere:,} more are of processes that are not in the trace."
    yield _clock(result)
    if result.lost:
        yield f"{result.lost:,} ranges of the report have no span in the trace."


def join_object(result: JoinResult) -> dict[str, object]:
    """The same as plain values; times in ns."""
    line = result.line
    return {
        "matched_by": result.how,
        "ranges": result.ranges,
        "ranges_without_span": result.lost,
        "clock": {
            "report_ns": line.report_ns,
            "monotonic_ns": line.trace_ns,
            "drift_ppm": line.drift * 1e6,
            "points": line.points,
            "late_points": line.late,
            "bound_ns": line.bound_ns,
        },
        "work": {work: _counts(counts) for work, counts in result.by_work.items()},
        "processes": {str(pid): _counts(counts) for pid, counts in result.by_process.items()},
        "reasons": result.reasons,
        "of_other_processes": result.elsewhere,
        "spans": result.spans,
        "gpu_busy_ns": result.busy.covered_ns,
    }


def _clock(result: JoinResult) -> str:
    line = result.line
    text = f"Matched {_HOW[result.how]}: "
    if not line.points:
        return text + f"its times are right within ±{duration(line.bound_ns)}."
    late = f", {line.late:,} late ones left out" if line.late else ""
    return (
        text
        + f"{result.ranges:,} ranges; its times are right within ±{duration(line.bound_ns)} "
        + f"(a line through {line.points:,} ranges{late}; drift {line.drift * 1e6:+.1f} ppm)."
    )


def _counts(counts: JoinCounts) -> dict[str, int]:
    return {"total": counts.total, "attributed": counts.attributed}
