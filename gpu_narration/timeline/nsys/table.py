"""The rows of a report's tables, and how GPU work adds up in them.

Work comes in the order of its start, so a union of intervals needs no more than the end
of the last one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gpu_narration.timeline.nsys.median import Median


@dataclass(slots=True)
class Union:
    """The time that intervals cover which come in the order of their start."""

    covered_ns: int = 0
    until_ns: int | None = None

    def add(self, start_ns: int, end_ns: int) -> None:
        if self.until_ns is None or start_ns >= self.until_ns:
            self.covered_ns += end_ns - start_ns
            self.until_ns = end_ns
        elif end_ns > self.until_ns:
            self.covered_ns += end_ns - self.until_ns
            self.until_ns = end_ns


@dataclass(slots=True)
class Idle:
    """Stretches in which a GPU did nothing, by what ended them.

    starved_ns: the part before the call was made that ended them: nothing was there
        to be done yet.
    """

    gaps: int = 0
    total_ns: int = 0
    longest_ns: int = 0
    starved_ns: int = 0

    def add(self, gap_ns: int, starved_ns: int) -> None:
        self.gaps += 1
        self.total_ns += gap_ns
        self.starved_ns += starved_ns
        self.longest_ns = max(self.longest_ns, gap_ns)


@dataclass(slots=True)
class WorkCounts:
    """GPU work by what it is."""

    kernels: int = 0
    copies: int = 0
    memsets: int = 0
    graphs: int = 0
    copied_bytes: int = 0

    @property
    def total(self) -> int:
        return self.kernels + self.copies + self.memsets + self.graphs


@dataclass(slots=True)
class RangeTotals:
    """All ranges of one name, with what is in them, inner ranges included.

    calls: ranges begun; ``open`` of them have no end in the report.
    cpu_ns: the time of those with an end, added up over threads; of ranges inside one of the
        same name only the outer.
    api_ns, waiting_ns: of that, in CUDA calls, and in those that wait for the GPU.
    busy: when at least one GPU worked for it; ``own``, for it and no range inside.
    lag: from the beginning of the launch call to the start of the kernel.
    idle: how long a GPU did nothing until work of this came, counted for each GPU.
    """

    name: str
    calls: int = 0
    open: int = 0
    cpu_ns: int = 0
    api_ns: int = 0
    waiting_ns: int = 0
    work: WorkCounts = field(default_factory=WorkCounts)
    busy: Union = field(default_factory=Union)
    own: Union = field(default_factory=Union)
    lag: Median = field(default_factory=Median)
    idle: Idle = field(default_factory=Idle)


@dataclass(slots=True)
class ProcessTotals:
    """GPU work of one process; ``pid`` is None where the report does not say it."""

    pid: int | None
    name: str | None
    work: WorkCounts = field(default_factory=WorkCounts)
    attributed: WorkCounts = field(default_factory=WorkCounts)
    busy: Union = field(default_factory=Union)


@dataclass(slots=True)
class DeviceTotals:
    """One GPU; ``index`` is None where the report does not say which.

    pid: where an index means something in this process only, else None.
    """

    index: int | None
    pid: int | None
    uuid: str | None
    work: WorkCounts = field(default_factory=WorkCounts)
    busy: Union = field(default_factory=Union)
    idle: Idle = field(default_factory=Idle)


@dataclass(slots=True)
class CallTotals:
    """All CUDA calls of one name, added up over threads."""

    name: str
    calls: int = 0
    total_ns: int = 0
    waits: bool = False


@dataclass(slots=True)
class KernelTotals:
    """All kernels of one name; ``total_ns`` is a sum, so overlapping ones count twice."""

    name: str
    count: int = 0
    total_ns: int = 0
