"""A trace and an export of the same run: the export is made from what the trace holds."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gpu_narration._types import Kind
from gpu_narration.timeline.nsys.traced import nvtx_name
from gpu_narration.tracefile import Event, Phase, Trace
from tests.support.nsys_export import MARK, OURS, PUSH_POP, Export, global_tid

#: Until a range is told to NVTX after its event's time was taken.
_DELAY_NS = 300
KERNEL_NS = 1_000


@dataclass(frozen=True)
class ReportTime:
    """A report's clock: it began ``offset_ns`` after CLOCK_MONOTONIC and runs fast by ``ppm``."""

    offset_ns: int = 7_000_000_000
    ppm: float = 20.0

    def __call__(self, monotonic_ns: int) -> int:
        since_ns = monotonic_ns - self.offset_ns
        return since_ns + round(since_ns * self.ppm * 1e-6)


@dataclass
class Run:
    """An export of a trace, and of each kernel which span launched it and when it truly ran.

    kernels: (start, end, event id of the span, event id of the launch or None), by CLOCK_MONOTONIC.
    """

    export: Export
    kernels: list[tuple[int, int, int | None, int | None]]


def observed(
    trace: Trace, clock: Callable[[int], int], *, payload: bool = True, nvtx: bool = True,
    late_every: int = 0, kernels_per_span: int = 1, session: bool = True,
) -> Run:  # fmt: skip
    """What Nsight Systems would have reported of a trace of one process.

    Each span calls in the middle between its beginning and what comes next in its thread, each
    launch right after its record.  One range in ``late_every`` comes 50 µs late.
    """
    process = trace.processes[0]
    pid = process.pid
    events = list(trace.events())
    ends = {event.span_id: event.monotonic_ns for event in events if event.phase is Phase.END}
    jitter = random.Random(5)
    export = Export()
    kernels: list[tuple[int, int, int | None, int | None]] = []

    def work(tid: int, at_ns: int, span: int | None, launch: int | None) -> None:
        number = len(kernels) + 1
        export.call(pid, tid, clock(at_ns), clock(at_ns) + 100, number)
        start_ns = at_ns + 2_000
        export.kernel(pid, clock(start_ns), clock(start_ns + KERNEL_NS), number)
        kernels.append((start_ns, start_ns + KERNEL_NS, span, launch))

    for place, event in enumerate(events):
        tid = process.threads[event.thread].native_id or 0
        told_ns = event.monotonic_ns + _DELAY_NS + jitter.randrange(200)
        options = {"domain": OURS, "payload": event.id if payload else None}
        if _begins(event):
            late = 50_000 if late_every and place % late_every == 0 else 0
            end_ns = ends.get(event.id)
            following = events[place + 1].monotonic_ns if place + 1 < len(events) else end_ns
            at_ns = (event.monotonic_ns + (following or event.monotonic_ns)) // 2
            # On time a range is pushed before the program goes on, however short its span.
            told_ns = min(told_ns, at_ns)
            if nvtx:
                export.range(
                    pid, tid, clock(told_ns + late), None if end_ns is None else clock(max(end_ns, told_ns + late)),
                    nvtx_name(event.site), kind=PUSH_POP, registered=True, **options,
                )  # fmt: skip
            for _ in range(kernels_per_span):
                work(tid, at_ns, event.id, None)
        elif event.phase is Phase.INSTANT:
            if nvtx:
                export.range(
                    pid, tid, clock(told_ns), None, nvtx_name(event.site), kind=MARK, **options
                )  # fmt: skip
            if event.kind is Kind.LAUNCH:
                work(tid, told_ns + 1_000, event.span, event.id)
    if session:
        realtime_ns = trace.realtime_offset_ns
        zero_ns = 7_000_000_000 if isinstance(clock, ReportTime) is False else clock.offset_ns
        export.session(zero_ns + realtime_ns, zero_ns)
    return Run(export, kernels)


def _begins(event: Event) -> bool:
    return event.phase is Phase.BEGIN


def thread_of(trace: Trace) -> int:
    """The ``globalTid`` of the first thread that recorded."""
    process = trace.processes[0]
    first = min(number for number, info in process.threads.items() if info.native_id)
    return global_tid(process.pid, process.threads[first].native_id or 0)


def directory_of(trace: Trace) -> Path:
    return trace.path
