"""Spans of a trace in the place of NVTX ranges, where a report has none of ours.

Then only the clock tells which span a call was made in, and it may be off.  A call belongs
to the innermost span that holds it wherever in the clock's error it was really made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gpu_narration.nsight import schema
from gpu_narration.nsight.rows import Launch, RangeRow
from gpu_narration.nsight.schema import pid_of
from gpu_narration.timeline.nsys import reasons
from gpu_narration.timeline.nsys.attribution import Identity
from gpu_narration.timeline.nsys.clocks import ClockLine
from gpu_narration.timeline.nsys.traced import Traced


def spans_as_ranges(traced: Traced, line: ClockLine, threads: Iterable[int]) -> list[RangeRow]:
    """The spans of the trace as ranges of the report, of those ``threads`` that made CUDA calls.

    They are start/end ranges: spans of coroutines that take turns in a thread overlap.
    """
    rows: list[RangeRow] = []
    for global_tid in threads:
        for process in traced.of_pid(pid_of(global_tid)):
            numbers = {
                number
                for number, native in process.native_ids.items()
                if native == schema.tid_of(global_tid)
            }
            rows += [
                RangeRow(
                    global_tid, global_tid, line.to_report(span.begin_ns),
                    None if span.end_ns is None else line.to_report(span.end_ns),
                    schema.START_END, span.nvtx_name, None, event, None,
                )
                for event, span in process.spans.items() if span.thread in numbers
            ]  # fmt: skip
    rows.sort(key=lambda row: (row.global_tid, row.start_ns, -(row.end_ns or 1 << 63)))
    return rows


def made_sure(launches: Iterable[Launch], traced: Traced, line: ClockLine) -> Iterator[Launch]:
    """The launches, each given to the innermost span that surely holds it."""
    for launch in launches:
        if launch.event is None or launch.process is None:
            yield launch
            continue
        at_ns, error_ns = line.to_trace(launch.start_ns), line.error_ns(launch.start_ns)
        sure: Identity | None = Identity(launch.process, launch.event)
        while sure is not None and not _holds(traced, sure, at_ns, error_ns):
            sure = traced.parent(sure)
        if sure is None:
            yield launch._replace(event=None, reason=reasons.EDGE)
        else:
            yield launch._replace(event=sure.event)


def _holds(traced: Traced, identity: Identity, at_ns: int, error_ns: int) -> bool:
    span = traced.processes[identity.process].spans.get(identity.event)
    if span is None or at_ns - error_ns < span.begin_ns:
        return False
    return span.end_ns is None or at_ns + error_ns < span.end_ns
