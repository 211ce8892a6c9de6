"""Stream capture and graphs of the simulated GPU.

A capture grows a graph of nodes.  Each stream in it keeps its *frontier*, the
nodes that the next one depends on; an event recorded in the capture remembers
the frontier, and a stream that waits for it joins the capture with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gpu_narration.cuda.backend import Stream
from gpu_narration.cuda.mock_errors import cuda_error

#: Node numbers of one capture.
Frontier = frozenset[int]


@dataclass(frozen=True, slots=True)
class GraphNode:
    """A launch in a graph; ``after`` are the places in the graph it waits for."""

    name: str
    duration_ns: int
    after: Frontier


@dataclass(frozen=True, slots=True)
class MockGraph:
    """What a capture gave: launched as a whole, it takes as long as its longest path."""

    name: str
    device: int
    nodes: Sequence[GraphNode]
    #: Events that were recorded into the graph, none of which can ever be read.
    records: int
    _launch: Callable[[MockGraph, Stream | None], None] = field(repr=False, compare=False)

    @property
    def length_ns(self) -> int:
        """How long one launch runs."""
        ends: list[int] = []
        for node in self.nodes:  # each after all it waits for
            begin = max((ends[index] for index in node.after), default=0)
            ends.append(begin + node.duration_ns)
        return max(ends, default=0)

    def launch(self, stream: Stream | None = None) -> None:
        """Enqueues one run, on the legacy default stream if none is given."""
        self._launch(self, stream)


@dataclass(slots=True, eq=False)
class Capture:
    """A capture under way; ``origin`` is the stream it began on."""

    origin: object
    nodes: list[GraphNode] = field(default_factory=list)
    #: By stream of the capture.
    frontiers: dict[object, Frontier] = field(default_factory=dict)
    records: int = 0
    invalidated: bool = False

    def __post_init__(self) -> None:
        self.frontiers[self.origin] = frozenset()

    def add(self, stream: object, name: str, duration_ns: int) -> None:
        """A launch on one of the capture's streams."""
        self.check()
        self.nodes.append(GraphNode(name, duration_ns, self.frontiers[stream]))
        self.frontiers[stream] = frozenset({len(self.nodes) - 1})

    def join(self, stream: object, frontier: Frontier) -> None:
        """A stream waits for an event of the capture; one from outside joins by it."""
        self.check()
        self.frontiers[stream] = self.frontiers.get(stream, frozenset()) | frontier

    def record(self, stream: object) -> Frontier:
        """An event is recorded on one of the capture's streams."""
        self.check()
        self.records += 1
        return self.frontiers[stream]

    def check(self) -> None:
        """Raises 901 if the capture is of no use any more."""
        if self.invalidated:
            raise cuda_error(901)

    def finish(self) -> None:
        """Raises if what was captured is no graph."""
        self.check()
        joined = self._ancestors(self.frontiers[self.origin])
        if any(not frontier <= joined for frontier in self.frontiers.values()):
            raise cuda_error(904)

    def _ancestors(self, frontier: Frontier) -> set[int]:
        found: set[int] = set()
        waiting = list(frontier)
        while waiting:
            index = waiting.pop()
            if index not in found:
                found.add(index)
                waiting.extend(self.nodes[index].after)
        return found
