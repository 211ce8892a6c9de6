"""Random programs as Nsight Systems would report them, and the truth beside them.

The truth comes from how the program was made: a range knows the calls that were made in it.
Sums are taken over single nanoseconds, not by the arithmetic that is tested.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import count

from gpu_narration.timeline.nsys import reasons
from tests.support.nsys_export import PUSH_POP, START_END, Export

PIDS = (111, 112)
NAMES = ("step", "forward", "attention", "mlp", "sample; DROP TABLE NVTX_EVENTS; --", 'it\'s "x"')


@dataclass
class RangeTruth:
    """What is true of all ranges of one name."""

    calls: int = 0
    cpu_ns: int = 0
    kernels: int = 0
    copies: int = 0
    busy: set[int] = field(default_factory=set)
    own: set[int] = field(default_factory=set)
    lags: list[int] = field(default_factory=list)


@dataclass
class Truth:
    """What is true of a whole program."""

    ranges: dict[str, RangeTruth] = field(default_factory=lambda: defaultdict(RangeTruth))
    kernels: int = 0
    attributed_kernels: int = 0
    graph_nodes: int = 0
    reasons: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    busy: set[int] = field(default_factory=set)
    busy_of_process: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))


@dataclass(frozen=True)
class _Work:
    """A kernel or copy and how it came about; ``path`` is what its own thread had open."""

    pid: int
    tid: int
    path: tuple[str, ...]
    called: int
    start: int
    end: int
    cut: bool
    is_kernel: bool


class RandomProgram:
    """Two processes of two threads, three streams, graphs, work that overlaps or was cut off.

    Both processes count their correlation ids from 1, as real ones do.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.export = Export()
        self.truth = Truth()
        self._spanning: list[tuple[int, int, int, int, str]] = []
        self._work: list[_Work] = []
        for pid in PIDS:
            self._correlations = count(1)
            for tid in (pid, pid + 50):
                self._now = self._random.randrange(100)
                self._block(pid, tid, (), self._random.randrange(1, 4))
        for work in self._work:
            self._settle(work)
        for rows in self.export.rows.values():
            self._random.shuffle(rows)

    def _block(self, pid: int, tid: int, path: tuple[str, ...], depth: int) -> None:
        for _ in range(self._random.randrange(1, 4)):
            self._pass()
            if depth and self._random.random() < 0.7:
                self._range(pid, tid, path, depth)
            else:
                self._call(pid, tid, path)
        self._pass()

    def _range(self, pid: int, tid: int, path: tuple[str, ...], depth: int) -> None:
        name = self._random.choice(NAMES)
        begin = self._now
        self._block(pid, tid, (*path, name), depth - 1)
        spans = self._random.random() < 0.3
        self.export.range(
            pid, tid, begin, self._now, name, kind=START_END if spans else PUSH_POP,
            ended_by=tid if spans else None, registered=self._random.random() < 0.5,
        )  # fmt: skip
        if spans:
            self._spanning.append((pid, tid, begin, self._now, name))
        truth = self.truth.ranges[name]
        truth.calls += 1
        if name not in path:
            truth.cpu_ns += self._now - begin

    def _call(self, pid: int, tid: int, path: tuple[str, ...]) -> None:
        at, correlation = self._now, next(self._correlations)
        what = self._random.random()
        cut = what > 0.9
        graph = what < 0.2
        if not cut:
            name = "cudaGraphLaunch_v10000" if graph else "cudaLaunchKernel_v7000"
            self.export.call(pid, tid, at, at + 3, correlation, name)
        for node in range(self._random.randrange(2, 5) if graph else 1):
            start = at + self._random.randrange(1, 60)
            end = start + self._random.randrange(0, 30)
            where = {"device": PIDS.index(pid), "stream": self._random.randrange(3)}
            node_id = node + 1 if graph else None
            is_kernel = self._random.random() < 0.8
            add = self.export.kernel if is_kernel else self.export.copy
            add(pid, start, end, correlation, graph_node=node_id, **where)
            self._work.append(_Work(pid, tid, path, at, start, end, cut, is_kernel))
            self.truth.graph_nodes += graph

    def _settle(self, work: _Work) -> None:
        """Whose the work is, once all ranges are known."""
        truth, path, reason = self.truth, work.path, None
        if work.cut:
            path, reason = (), reasons.NO_CALL
        elif not path:
            elsewhere = [
                name
                for pid, tid, begin, end, name in self._spanning
                if pid == work.pid and tid != work.tid and begin <= work.called < end
            ]
            path = tuple(elsewhere) if len(elsewhere) == 1 else ()
            reason = reasons.AMBIGUOUS if elsewhere else reasons.OUTSIDE
        time = set(range(work.start, work.end))
        truth.busy |= time
        truth.busy_of_process[work.pid] |= time
        truth.kernels += work.is_kernel
        if not path:
            assert reason is not None
            truth.reasons[reason] += 1
            return
        truth.attributed_kernels += work.is_kernel
        truth.ranges[path[-1]].own |= time
        for name in set(path):
            row = truth.ranges[name]
            row.busy |= time
            row.copies += not work.is_kernel
            if work.is_kernel:
                row.kernels += 1
                row.lags.append(work.start - work.called)

    def _pass(self) -> None:
        self._now += self._random.randrange(1, 20)
