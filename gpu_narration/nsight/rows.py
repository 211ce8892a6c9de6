"""The rows of a report, as everything above this room sees them.

Times are integer ns on the report's clock.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class RangeRow(NamedTuple):
    """An NVTX range or mark.

    global_tid: the thread whose work it may hold: the one that began it, and of a start/end
        range also each other thread of its process that made CUDA calls.
    begun_on: the thread that began it.
    kind: MARK, PUSH_POP or START_END of :mod:`~gpu_narration.nsight.schema`.
    end_ns: None of a range that was still open at the end of the capture.
    payload: its int64 payload; of ranges in our domain the event's id.
    end_tid: of a start/end range, the ``globalTid`` of the thread that ended it.
    """

    global_tid: int
    begun_on: int
    start_ns: int
    end_ns: int | None
    kind: int
    name: str | None
    domain: int | None
    payload: int | None
    end_tid: int | None


class CallRow(NamedTuple):
    """A call of the CUDA runtime or driver; ``name`` is a string id."""

    global_tid: int
    start_ns: int
    end_ns: int
    correlation: int | None
    name: int | None


class Launch(NamedTuple):
    """A call and what it belongs to, as it is kept until GPU work asks for it.

    pid: the caller's ``globalPid``.
    path: of a path of ranges, see :mod:`~gpu_narration.timeline.nsys.paths`; 0 is none.
    event, launch, note: ids of events of ours: the innermost span, the launch that was
        marked right before, and the newest other event in that span before the call.
    reason: why it belongs to nothing.
    """

    correlation: int
    pid: int
    start_ns: int
    end_ns: int
    name: int | None
    path: int
    process: int | None = None
    event: int | None = None
    launch: int | None = None
    note: int | None = None
    reason: str | None = None


class Work(StrEnum):
    """What an activity is; syncs and memory operations keep no GPU busy."""

    KERNEL = "kernel"
    COPY = "copy"
    MEMSET = "memset"
    GRAPH = "graph"
    SYNC = "sync"
    ALLOC = "alloc"
    FREE = "free"


#: What a GPU is busy with.
BUSY = frozenset({Work.KERNEL, Work.COPY, Work.MEMSET, Work.GRAPH})


class Activity(NamedTuple):
    """Something that a GPU did, and the call that asked for it as far as that is known.

    name: a string id of a kernel, the kind of a copy (``copyKind``), the id of a graph.
    in_graph: whether it is a node of a CUDA graph.
    launched_ns: when its call began; None if the call is not in the report, and then so are
        the fields behind it, which :class:`Launch` explains.
    """

    start_ns: int
    end_ns: int
    work: str
    device: int | None
    stream: int | None
    pid: int | None
    correlation: int | None
    name: int | None
    size_bytes: int | None
    in_graph: int
    launched_ns: int | None
    returned_ns: int | None
    call: int | None
    path: int | None
    process: int | None
    event: int | None
    launch: int | None
    note: int | None
    reason: str | None

    @property
    def is_busy(self) -> bool:
        return self.work in BUSY
