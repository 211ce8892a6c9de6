"""Which event of ours an NVTX range stands for: by its payload, else by its name and time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gpu_narration.nsight import schema
from gpu_narration.nsight.rows import RangeRow
from gpu_narration.nsight.schema import pid_of, tid_of
from gpu_narration.timeline.nsys.attribution import Identity
from gpu_narration.timeline.nsys.clocks import ClockLine, fitted
from gpu_narration.timeline.nsys.traced import Traced, TracedProcess, TracedSpan

DOMAIN = "gpu_narration"

#: Points for the clock are thinned beyond this many.
_POINTS_MAX = 20_000
#: So many make a line worth a second look.
_POINTS_MIN = 8


@dataclass(slots=True)
class Seen:
    """What a report holds of our ranges and marks.

    ranges, lost: ranges of ours that have a span in the trace, and those that have none.
    points: (report, trace) times of the same moments.
    unnamed: ranges of ours without a payload, by (process, thread, name).
    """

    ranges: int = 0
    lost: int = 0
    points: list[tuple[int, int]] = field(default_factory=list)
    unnamed: dict[tuple[int, int, str], list[int]] = field(
        default_factory=lambda: defaultdict(list)
    )


class Matcher:
    """Tells which event of a trace a range stands for.

    ``domains`` are the report's, by (pid, domain id); ``line`` is what is known of the clock
    so far, for what only the time can tell.
    """

    def __init__(
        self, traced: Traced, domains: Mapping[tuple[int, int], str], line: ClockLine | None
    ) -> None:
        self._traced = traced
        self._domains = domains
        self._line = line
        self._named_pids = {pid for pid, _ in domains}
        self._by_time: dict[tuple[int, int, int], Identity] = {}

    # ---- attribution.Ours ----

    def identify(self, row: RangeRow) -> Identity | None:
        """The span, launch or narration that a row stands for; None if it is none of ours."""
        process = self._process(row)
        if process is None:
            return None
        if not isinstance(row.payload, int):
            return self._by_time.get((process.index, row.begun_on, row.start_ns))
        identity = Identity(process.index, row.payload)
        if row.kind == schema.MARK:
            known = row.payload in process.launches or row.payload in process.narrations
            return identity if known else None
        return identity if self._span(row, process) is not None else None

    def is_launch(self, mark: Identity) -> bool:
        return mark.event in self._traced.processes[mark.process].launches

    def parent(self, event: Identity) -> Identity | None:
        return self._traced.parent(event)

    def is_inside(self, inner: Identity, outer: Identity) -> bool:
        return self._traced.is_inside(inner, outer)

    # ---- before it ----

    def look(self, rows: Iterable[RangeRow]) -> Seen:
        """One pass over the ranges of a report: what is there of ours, and when."""
        seen = Seen()
        every, count = 1, 0
        for row in rows:
            if row.begun_on != row.global_tid or row.kind == schema.MARK:
                continue
            process = self._process(row)
            if process is None:
                continue
            if not isinstance(row.payload, int):
                if row.name in process.nvtx_names:
                    seen.unnamed[process.index, row.begun_on, row.name].append(row.start_ns)
                continue
            span = self._span(row, process)
            if span is None:
                seen.lost += 1
                continue
            seen.ranges += 1
            count += 1
            if count % every == 0:
                seen.points.append((row.start_ns, span.begin_ns))
                if len(seen.points) >= _POINTS_MAX:
                    seen.points, every = seen.points[::2], every * 2
        return seen

    def match_by_time(self, seen: Seen, line: ClockLine) -> tuple[list[tuple[int, int]], int]:
        """Finds the spans of ranges without payload, by thread, name and time.

        Gives the points of those that were found, and how many ranges were not: none, or
        more than one, of the spans is near enough for the clock's error.
        """
        points, missed = self._matched(seen, line)
        if missed and len(points) >= _POINTS_MIN:
            # With a better clock fewer are near enough.
            points, missed = self._matched(seen, fitted(points))
        return points, missed

    def _matched(self, seen: Seen, line: ClockLine) -> tuple[list[tuple[int, int]], int]:
        spans = self._spans_by_name()
        points: list[tuple[int, int]] = []
        missed = 0
        self._by_time.clear()
        for (index, global_tid, name), starts in seen.unnamed.items():
            known = spans.get((index, tid_of(global_tid), name), [])
            for report_ns, found in paired(starts, known, line):
                if found is None:
                    missed += 1
                    continue
                begin_ns, event = found
                points.append((report_ns, begin_ns))
                self._by_time[index, global_tid, report_ns] = Identity(index, event)
        return points, missed

    def _spans_by_name(self) -> dict[tuple[int, int, str], list[tuple[int, int]]]:
        """(begin, event id) in the order of time, by (process, native thread id, NVTX name)."""
        spans: dict[tuple[int, int, str], list[tuple[int, int]]] = defaultdict(list)
        for process in self._traced.processes:
            for event, span in process.spans.items():
                tid = process.native_ids.get(span.thread)
                if tid is not None:
                    spans[process.index, tid, span.nvtx_name].append((span.begin_ns, event))
        for known in spans.values():
            known.sort()
        return spans

    def _process(self, row: RangeRow) -> TracedProcess | None:
        """The process of the trace that a range of our domain is of."""
        pid = pid_of(row.begun_on)
        candidates = self._traced.of_pid(pid)
        if not candidates or not self._is_ours(row, pid):
            return None
        if len(candidates) == 1:
            return candidates[0]
        return self._at(candidates, row.start_ns)

    def _span(self, row: RangeRow, process: TracedProcess) -> TracedSpan | None:
        """The span whose id is a range's payload; where no domain says whose the range is, it
        must have the span's name as well.
        """
        span = process.spans.get(row.payload) if isinstance(row.payload, int) else None
        if span is None or pid_of(row.begun_on) in self._named_pids:
            return span
        return span if row.name == span.nvtx_name else None

    def _is_ours(self, row: RangeRow, pid: int) -> bool:
        """Whether a range is in our domain; where no domain of its process has a name, the
        window may have cut off what names them, and the payload decides.
        """
        if row.domain is None or pid not in self._named_pids:
            return True
        return self._domains.get((pid, row.domain)) == DOMAIN

    def _at(self, candidates: list[TracedProcess], report_ns: int) -> TracedProcess | None:
        """Of several processes with one pid, that which recorded then."""
        if self._line is None:
            return None
        at_ns, error_ns = self._line.to_trace(report_ns), self._line.error_ns(report_ns)
        then = [
            process
            for process in candidates
            if process.first_ns is not None
            and process.last_ns is not None
            and process.first_ns - error_ns <= at_ns <= process.last_ns + error_ns
        ]
        return then[0] if len(then) == 1 else None


def paired(
    starts: Sequence[int], known: Sequence[tuple[int, int]], line: ClockLine
) -> Iterator[tuple[int, tuple[int, int] | None]]:
    """Pairs ranges of one name and thread with the spans of it, both in the order of time.

    Where there are as many of both, and each pair is within the clock's error, they are paired
    in order; else a range goes to the only span that is near enough.
    """
    if len(starts) == len(known):
        pairs = list(zip(starts, known, strict=True))
        if all(abs(line.to_trace(at) - span[0]) <= line.error_ns(at) for at, span in pairs):
            yield from pairs
            return
    for at in starts:
        expected_ns, error_ns = line.to_trace(at), line.error_ns(at)
        first = bisect_left(known, expected_ns - error_ns, key=lambda span: span[0])
        last = bisect_right(known, expected_ns + error_ns, key=lambda span: span[0])
        yield at, known[first] if last - first == 1 else None
