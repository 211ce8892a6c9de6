"""What a report amounts to: its ranges, whose the GPU work is, and where the time went."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gpu_narration.nsight import schema
from gpu_narration.nsight.facts import TableCount
from gpu_narration.nsight.report import Report
from gpu_narration.nsight.rows import Activity, CallRow, RangeRow, Work
from gpu_narration.nsight.schema import Lack, pid_of
from gpu_narration.timeline.nsys import reasons
from gpu_narration.timeline.nsys.attribution import Attribution
from gpu_narration.timeline.nsys.median import Median
from gpu_narration.timeline.nsys.paths import Paths, shared_name
from gpu_narration.timeline.nsys.table import (
    CallTotals,
    DeviceTotals,
    KernelTotals,
    ProcessTotals,
    RangeTotals,
    Union,
    WorkCounts,
)

#: Kernels of further names are counted under one.
_KERNEL_NAMES_MAX = 20_000


@dataclass(slots=True)
class Explanation:
    """The tables of a report.

    begin_ns, end_ns: the window, on the report's clock: from the first range, call or work
        in it to the last; None if there is none.
    ranges: by name, the most GPU time first.
    unattributed: GPU work in no range, when a GPU worked for it, and its reasons by count.
    busy: when at least one GPU worked at all.
    wrong_by_correlation_alone: rows that a join of kernels and calls which ignores the
        process would have too many.
    """

    version: str | None
    begin_ns: int | None
    end_ns: int | None
    ranges: list[RangeTotals]
    processes: list[ProcessTotals]
    devices: list[DeviceTotals]
    calls: list[CallTotals]
    kernels: list[KernelTotals]
    work: WorkCounts
    attributed: WorkCounts
    unattributed: WorkCounts
    unattributed_busy: Union
    reasons: dict[str, WorkCounts]
    busy: Union
    lag: Median
    graph_nodes: int
    wrong_by_correlation_alone: int
    warnings: list[str]
    lacks: list[Lack]
    malformed: dict[str, TableCount]

    @property
    def window_ns(self) -> int:
        if self.begin_ns is None or self.end_ns is None:
            return 0
        return self.end_ns - self.begin_ns


def explain(report: Report, *, by_name: bool = True) -> Explanation:
    """Explains a report in two passes; its memory does not grow with the report.

    ``by_name`` leaves out of a range's name what belongs to one call alone, as PyTorch's
    ``op_id``; without it each is a row of its own.
    """
    paths = Paths()
    totals = Totals(report, paths)
    domains = report.domains()

    def label(row: RangeRow) -> str:
        name = row.name or "(no name)"
        name = shared_name(name) if by_name else name
        domain = None if row.domain is None else domains.get((pid_of(row.begun_on), row.domain))
        return name if domain is None else f"{domain}:{name}"

    attribution = Attribution(paths, totals, label=label, call_name=report.string)
    report.keep(attribution.launches(report.ranges(), report.calls()))
    totals.take_all(report.activities())
    return totals.explanation()


@dataclass(slots=True)
class _Window:
    begin_ns: int | None = None
    end_ns: int | None = None

    def see(self, start_ns: int, end_ns: int) -> None:
        if self.begin_ns is None or start_ns < self.begin_ns:
            self.begin_ns = start_ns
        if self.end_ns is None or end_ns > self.end_ns:
            self.end_ns = end_ns


@dataclass(slots=True)
class Totals:
    """Adds up what an attribution tells and the GPU work that comes after it."""

    report: Report
    paths: Paths
    window: _Window = field(default_factory=_Window)
    ranges: dict[int, RangeTotals] = field(default_factory=dict)
    on_path: dict[int, tuple[RangeTotals, ...]] = field(default_factory=dict)
    processes: dict[int | None, ProcessTotals] = field(default_factory=dict)
    devices: dict[object, DeviceTotals] = field(default_factory=dict)
    calls: dict[int | None, CallTotals] = field(default_factory=dict)
    kernels: dict[int | None, KernelTotals] = field(default_factory=dict)
    process_names: dict[int, str] = field(default_factory=dict)
    uuids: dict[int, str] = field(default_factory=dict)
    devices_differ: bool = False
    work: WorkCounts = field(default_factory=WorkCounts)
    attributed: WorkCounts = field(default_factory=WorkCounts)
    unattributed: WorkCounts = field(default_factory=WorkCounts)
    unattributed_busy: Union = field(default_factory=Union)
    reasons: dict[str, WorkCounts] = field(default_factory=dict)
    busy: Union = field(default_factory=Union)
    lag: Median = field(default_factory=Median)
    graph_nodes: int = 0

    def __post_init__(self) -> None:
        self.process_names = self.report.processes()
        self.uuids = self.report.gpus()
        self.devices_differ = self.report.devices_differ()

    # ---- what an attribution tells ----

    def range_seen(self, row: RangeRow, name: int, *, outermost: bool) -> None:
        totals = self._range(name)
        totals.calls += 1
        if row.end_ns is None:
            totals.open += 1
            self.window.see(row.start_ns, row.start_ns)
            return
        self.window.see(row.start_ns, row.end_ns)
        if outermost:
            totals.cpu_ns += row.end_ns - row.start_ns

    def call_seen(self, row: CallRow, path: int) -> None:
        self.window.see(row.start_ns, row.end_ns)
        call = self.calls.get(row.name)
        if call is None:
            call = self.calls[row.name] = self._call(row.name)
        took_ns = row.end_ns - row.start_ns
        call.calls += 1
        call.total_ns += took_ns
        for totals in self._on(path):
            totals.api_ns += took_ns
            totals.waiting_ns += took_ns if call.waits else 0

    # ---- GPU work ----

    def take_all(self, activities: Iterable[Activity]) -> None:
        """Takes in GPU work, in the order of its start."""
        for activity in activities:
            self.take(activity)

    def take(self, activity: Activity) -> None:
        if not activity.is_busy:
            return
        start_ns, end_ns = activity.start_ns, activity.end_ns
        self.window.see(start_ns, end_ns)
        rows = self._on(activity.path) if activity.path else ()
        idle = self._device(activity)
        process = self._process(activity.pid)
        process.busy.add(start_ns, end_ns)
        self.busy.add(start_ns, end_ns)
        self.graph_nodes += activity.in_graph
        lag_ns = None
        if activity.work == Work.KERNEL:
            self._kernel(activity)
            if activity.launched_ns is not None:
                lag_ns = start_ns - activity.launched_ns
                self.lag.add(lag_ns)
        counted = [self.work, process.work, *(row.work for row in rows)]
        if rows:
            counted += [self.attributed, process.attributed]
            rows[-1].own.add(start_ns, end_ns)
        else:
            reason = why_not(activity)
            counted += [self.unattributed, self.reasons.setdefault(reason, WorkCounts())]
            self.unattributed_busy.add(start_ns, end_ns)
        for counts in counted:
            _count(counts, activity)
        for row in rows:
            row.busy.add(start_ns, end_ns)
            if lag_ns is not None:
                row.lag.add(lag_ns)
            if idle is not None:
                row.idle.add(*idle)

    def explanation(self) -> Explanation:
        report = self.report
        specs = (
            schema.NVTX,
            schema.RUNTIME,
            schema.KERNEL,
            schema.COPY,
            schema.MEMSET,
            schema.GRAPH,
        )
        counts = {spec.name: report.count(spec) for spec in specs}
        return Explanation(
            version=report.adapter.version.text,
            begin_ns=self.window.begin_ns,
            end_ns=self.window.end_ns,
            ranges=sorted(
                self.ranges.values(), key=lambda row: (-row.busy.covered_ns, -row.cpu_ns, row.name)
            ),
            processes=sorted(self.processes.values(), key=lambda row: (row.pid is None, row.pid)),
            devices=sorted(
                self.devices.values(), key=lambda row: (row.index is None, row.index, row.pid or 0)
            ),
            calls=sorted(self.calls.values(), key=lambda row: (-row.total_ns, row.name)),
            kernels=sorted(self.kernels.values(), key=lambda row: (-row.total_ns, row.name)),
            work=self.work,
            attributed=self.attributed,
            unattributed=self.unattributed,
            unattributed_busy=self.unattributed_busy,
            reasons=dict(sorted(self.reasons.items(), key=lambda item: (-item[1].total, item[0]))),
            busy=self.busy,
            lag=self.lag,
            graph_nodes=self.graph_nodes,
            wrong_by_correlation_alone=report.wrong_by_correlation_alone(),
            warnings=report.adapter.warnings(),
            lacks=report.adapter.lacks,
            malformed={name: count for name, count in counts.items() if count.malformed},
        )

    # ---- rows ----

    def _range(self, name: int) -> RangeTotals:
        row = self.ranges.get(name)
        if row is None:
            row = self.ranges[name] = RangeTotals(self.paths.names[name])
        return row

    def _on(self, path: int) -> tuple[RangeTotals, ...]:
        rows = self.on_path.get(path)
        if rows is None:
            rows = tuple(self._range(name) for name in self.paths.distinct(path))
            self.on_path[path] = rows
        return rows

    def _call(self, name: int | None) -> CallTotals:
        text = (None if name is None else self.report.string(name)) or "(no name)"
        return CallTotals(text, waits="Synchronize" in text)

    def _kernel(self, activity: Activity) -> None:
        name = activity.name if isinstance(activity.name, int) else None
        row = self.kernels.get(name)
        if row is None:
            text = "(no name)" if name is None else self.report.string(name) or f"kernel {name}"
            if len(self.kernels) >= _KERNEL_NAMES_MAX:
                name, text = -1, "(further names)"
            row = self.kernels.setdefault(name, KernelTotals(text))
        row.count += 1
        row.total_ns += activity.end_ns - activity.start_ns

    def _process(self, global_pid: int | None) -> ProcessTotals:
        row = self.processes.get(global_pid)
        if row is None:
            pid = pid_of(global_pid) if isinstance(global_pid, int) else None
            name = None if pid is None else self.process_names.get(pid)
            row = self.processes[global_pid] = ProcessTotals(pid, name)
        return row

    def _device(self, activity: Activity) -> tuple[int, int] | None:
        """Counts work of a GPU; how long that was idle before it, and how much of that starved."""
        key: object = activity.device
        if self.devices_differ:
            key = activity.pid, activity.device
        device = self.devices.get(key)
        if device is None:
            index = activity.device if isinstance(activity.device, int) else None
            uuid = None if index is None else self.uuids.get(index)
            differs = self.devices_differ and isinstance(activity.pid, int)
            pid = pid_of(activity.pid) if differs and activity.pid is not None else None
            device = self.devices[key] = DeviceTotals(index, pid, uuid)
        idle = idle_before(activity, device.busy.until_ns)
        if idle is not None:
            device.idle.add(*idle)
        device.busy.add(activity.start_ns, activity.end_ns)
        _count(device.work, activity)
        return idle


def idle_before(activity: Activity, until_ns: int | None) -> tuple[int, int] | None:
    """How long a GPU that was busy until then was idle before this began, and for how much of
    that the call which asked for this had not been made; None if it was not idle.
    """
    if until_ns is None or activity.start_ns <= until_ns:
        return None
    gap_ns = activity.start_ns - until_ns
    launched_ns = activity.launched_ns
    starved_ns = 0 if launched_ns is None else min(max(launched_ns - until_ns, 0), gap_ns)
    return gap_ns, starved_ns


def why_not(activity: Activity) -> str:
    """Why GPU work belongs to no range."""
    if activity.launched_ns is not None:
        return activity.reason or reasons.OUTSIDE
    if not activity.correlation:
        return reasons.NO_CORRELATION
    if activity.pid is None:
        return reasons.NO_PROCESS
    return reasons.NO_CALL


def _count(counts: WorkCounts, activity: Activity) -> None:
    match activity.work:
        case Work.KERNEL:
            counts.kernels += 1
        case Work.COPY:
            counts.copies += 1
            if isinstance(activity.size_bytes, int):
                counts.copied_bytes += activity.size_bytes
        case Work.MEMSET:
            counts.memsets += 1
        case Work.GRAPH:
            counts.graphs += 1
