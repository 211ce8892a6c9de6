"""Joining a report of Nsight Systems with a trace of ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from gpu_narration._errors import NsightJoinError
from gpu_narration.nsight import schema
from gpu_narration.nsight.report import Report
from gpu_narration.nsight.rows import Activity, CallRow, RangeRow, Work
from gpu_narration.nsight.schema import pid_of
from gpu_narration.nsight.sidecar import ActivityRow, SpanWork, Writer
from gpu_narration.timeline.nsys import reasons
from gpu_narration.timeline.nsys.attribution import Attribution, Identity
from gpu_narration.timeline.nsys.by_clock import made_sure, spans_as_ranges
from gpu_narration.timeline.nsys.clocks import ClockLine, by_session, fitted
from gpu_narration.timeline.nsys.explain import why_not
from gpu_narration.timeline.nsys.matching import Matcher, Seen
from gpu_narration.timeline.nsys.paths import Paths
from gpu_narration.timeline.nsys.table import Union
from gpu_narration.timeline.nsys.traced import Traced, TracedProcess
from gpu_narration.tracefile import Event, Trace


@dataclass(slots=True)
class JoinCounts:
    """What a join found of one kind of GPU work, or of all of one process."""

    total: int = 0
    attributed: int = 0


@dataclass(slots=True)
class JoinResult:
    """What a join found.

    how: ``payload``, ``name`` or ``clock``: by what ranges and spans were matched.
    ranges: ranges of ours that were matched; lost: those that have no span in the trace.
    by_work, by_process: GPU work of the trace's processes; processes by pid.
    reasons: why work of them belongs to no span.
    elsewhere: GPU work of processes that are not in the trace, which is not kept.
    spans: spans and launches that GPUs worked for.
    """

    how: str
    line: ClockLine
    ranges: int
    lost: int
    by_work: dict[str, JoinCounts] = field(default_factory=dict)
    by_process: dict[int, JoinCounts] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    elsewhere: int = 0
    spans: int = 0
    busy: Union = field(default_factory=Union)

    @property
    def total(self) -> int:
        return sum(counts.total for counts in self.by_work.values())

    @property
    def attributed(self) -> int:
        return sum(counts.attributed for counts in self.by_work.values())


def read_for_join(trace: Trace, events: Iterable[Event]) -> Traced:
    """What a join needs of a trace, in one pass over its events."""
    traced = Traced(trace)
    for event in events:
        traced.take(event)
    return traced


def join(traced: Traced, report: Report, writer: Writer) -> JoinResult:
    """Joins, and writes the tables ``gpu_activities`` and ``spans``.

    Raises :class:`~gpu_narration._errors.NsightJoinError` where nothing in the report is of
    the trace's processes, or nothing tells how their clocks go together.
    """
    session = by_session(report.clock(), _realtime_offset(traced), _last_ns(report))
    matcher = Matcher(traced, report.domains(), session)
    seen = matcher.look(report.ranges())
    how, line = _matched(matcher, seen, session, report, traced)
    result = JoinResult(how, line, seen.ranges, seen.lost)
    attribution = Attribution(
        Paths(), _Nobody(), label=lambda _: "", call_name=report.string, ours=matcher
    )
    if how == "clock":
        ranges: Iterable[RangeRow] = spans_as_ranges(traced, line, report.threads())
        found = made_sure(attribution.launches(ranges, report.calls()), traced, line)
    else:
        found = attribution.launches(report.ranges(), report.calls())
    report.keep(found)
    gathered = _Gathered(traced, line, result)
    writer.activities(gathered.rows(report.activities()))
    writer.spans(gathered.spans())
    writer.names(
        (Work.KERNEL, number, name)
        for number in sorted(gathered.kernels)
        if (name := report.string(number)) is not None
    )
    return result


def _matched(
    matcher: Matcher, seen: Seen, session: ClockLine | None, report: Report, traced: Traced
) -> tuple[str, ClockLine]:
    """By what spans are known, and the clock that follows from it."""
    if seen.points:
        return "payload", fitted(seen.points)
    pids = report.pids()
    if not any(traced.of_pid(pid) for pid in pids):
        there = ", ".join(str(pid) for pid in sorted(pids)[:5]) or "none"
        ours = ", ".join(str(process.pid) for process in traced.processes[:5]) or "none"
        raise NsightJoinError(
            f"{report.path} is of other processes than the trace: {there}, not {ours}",
            meaning="report and trace must be of the same run",
            next_step="join the trace that was recorded under nsys with the report of that nsys",
        )
    if session is None:
        raise NsightJoinError(
            f"{report.path} has no ranges of this trace, and does not say when it began",
            meaning="nothing tells how its clock goes with that of the trace",
            next_step="record again under nsys profile --trace cuda,nvtx",
        )
    if seen.unnamed:
        points, missed = matcher.match_by_time(seen, session)
        seen.lost += missed
        seen.ranges += len(points)
        if points:
            return "name", fitted(points)
    return "clock", session


class _Nobody:
    """Listens to nothing."""

    def range_seen(self, row: RangeRow, name: int, *, outermost: bool) -> None:
        pass

    def call_seen(self, row: CallRow, path: int) -> None:
        pass


@dataclass(slots=True)
class _SpanTotals:
    request: str | None
    kernels: int = 0
    other_work: int = 0
    busy: Union = field(default_factory=Union)
    own: Union = field(default_factory=Union)
    first_ns: int = 0
    last_ns: int = 0
    lag_ns: int | None = None


class _Gathered:
    """Turns GPU work into rows, and adds it up for the spans that it is of."""

    def __init__(self, traced: Traced, line: ClockLine, result: JoinResult) -> None:
        self._traced = traced
        self._line = line
        self._result = result
        self._totals: dict[Identity, _SpanTotals] = {}
        self.kernels: set[int] = set()

    def rows(self, activities: Iterable[Activity]) -> Iterator[ActivityRow]:
        """The rows of the trace's processes; work comes in the order of its start."""
        for activity in activities:
            process = self._process(activity)
            if process is None:
                self._result.elsewhere += activity.is_busy
                continue
            if activity.work == Work.KERNEL and isinstance(activity.name, int):
                self.kernels.add(activity.name)
            yield self._row(activity, process)

    def spans(self) -> Iterator[SpanWork]:
        for identity, totals in sorted(self._totals.items()):
            yield SpanWork(
                identity.process, identity.event, totals.request, totals.kernels, totals.other_work,
                totals.busy.covered_ns, totals.own.covered_ns, totals.first_ns, totals.last_ns,
                totals.lag_ns,
            )  # fmt: skip

    def _row(self, activity: Activity, process: TracedProcess) -> ActivityRow:
        to_trace = self._line.to_trace
        start_ns, end_ns = to_trace(activity.start_ns), to_trace(activity.end_ns)
        event, launch = activity.event, activity.launch
        known = event is not None or launch is not None
        reason = None
        if not known:
            reason = why_not(activity)
            reason = reasons.NO_SPAN if reason == reasons.OUTSIDE else reason
        launched_ns = None if activity.launched_ns is None else to_trace(activity.launched_ns)
        if activity.is_busy:
            self._count(activity, process, reason)
            self._result.busy.add(start_ns, end_ns)
            if known:
                lag_ns = None if launched_ns is None else start_ns - launched_ns
                self._add(activity, process, (start_ns, end_ns), lag_ns)
        return ActivityRow(
            start_ns, end_ns, activity.work, activity.device, activity.stream, process.index,
            activity.correlation, activity.name, activity.size_bytes, activity.in_graph, launched_ns,
            None if activity.returned_ns is None else to_trace(activity.returned_ns),
            event, launch, activity.note, reason,
        )  # fmt: skip

    def _count(self, activity: Activity, process: TracedProcess, reason: str | None) -> None:
        result = self._result
        for counts in (
            result.by_work.setdefault(activity.work, JoinCounts()),
            result.by_process.setdefault(process.pid, JoinCounts()),
        ):
            counts.total += 1
            counts.attributed += reason is None
        if reason is not None:
            result.reasons[reason] = result.reasons.get(reason, 0) + 1

    def _add(
        self, activity: Activity, process: TracedProcess, place: tuple[int, int], lag_ns: int | None
    ) -> None:
        """To the launch, to the span, and to all round it."""
        innermost = True
        of: Identity | None = None
        if activity.event is not None:
            of = Identity(process.index, activity.event)
        if activity.launch is not None:
            of = Identity(process.index, activity.launch)
        while of is not None:
            self._add_to(of, activity, place, lag_ns, innermost=innermost)
            # The span in which a launch was recorded has the work itself, too.
            innermost = innermost and of.event == activity.launch
            of = self._traced.parent(of)

    def _add_to(
        self, of: Identity, activity: Activity, place: tuple[int, int], lag_ns: int | None,
        *, innermost: bool,
    ) -> None:  # fmt: skip
        totals = self._totals.get(of)
        if totals is None:
            span = self._traced.processes[of.process].spans.get(of.event)
            totals = self._totals[of] = _SpanTotals(None if span is None else span.request)
            totals.first_ns, totals.lag_ns = place[0], lag_ns
            self._result.spans += 1
        totals.kernels += activity.work == Work.KERNEL
        totals.other_work += activity.work != Work.KERNEL
        totals.last_ns = max(totals.last_ns, place[1])
        totals.busy.add(*place)
        if totals.lag_ns is None:
            totals.lag_ns = lag_ns
        if innermost:
            totals.own.add(*place)

    def _process(self, activity: Activity) -> TracedProcess | None:
        """The process of the trace that GPU work is of."""
        if activity.process is not None:
            return self._traced.processes[activity.process]
        if not isinstance(activity.pid, int):
            return None
        candidates = self._traced.of_pid(pid_of(activity.pid))
        return candidates[0] if candidates else None


def _realtime_offset(traced: Traced) -> int | None:
    known = (process.realtime_offset_ns for process in traced.processes)
    return next((offset for offset in known if offset is not None), None)


def _last_ns(report: Report) -> int:
    """The latest time that matters for what is known of the clock's error."""
    return max(abs(report.last_ns(spec)) for spec in (schema.NVTX, schema.RUNTIME, schema.KERNEL))
