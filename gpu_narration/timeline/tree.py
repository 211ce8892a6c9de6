"""The spans of a trace as a tree by their nesting: who called what, and what each cost.

A node is a way to get there: the spans from the outermost one inwards, by actor and name.
A span inside one of the same name belongs to that one's node, so recursion has one row and
its time counts once.  Launches are leaves.  What a filter hides counts for the span round it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from gpu_narration._types import SPAN_KINDS, Kind, Outcome
from gpu_narration.nsight.sidecar import Joined
from gpu_narration.timeline.distribution import Distribution
from gpu_narration.timeline.gpu_time import Place, place_of
from gpu_narration.timeline.intervals import Intervals, union
from gpu_narration.timeline.summary import Annotations
from gpu_narration.timeline.values import is_number
from gpu_narration.timeline.vram import VramHistory
from gpu_narration.timeline.vram_scopes import ScopeRow
from gpu_narration.tracefile import Event, Phase
from gpu_narration.tracefile.format import Value

TreeKey = Literal["cpu", "gpu", "lag", "vram"]
TREE_KEYS: tuple[TreeKey, ...] = ("cpu", "gpu", "lag", "vram")

#: How many ended spans are remembered for work that outlives them.
_REMEMBERED = 4096
#: What :class:`VramHistory` calls the memory of spans that no node is of.
_NOWHERE = ("", "")


@dataclass(slots=True, eq=False)
class Node:
    """All calls that were reached in one way; times in ns, memory in bytes.

    calls: of spans their beginnings and the ends whose beginning is lost.
    cpu_ns, own_ns: between the edges of spans that ended, and the part of it in no span that
        is shown below; None of launches.
    stream_ns: elapsed on stream of the ``stream_timed`` calls that say it.
    busy_ns: when at least one launch here or below was running, of the ``placed`` ones; a union.
    launches: here and below; ``placed`` of them have a place on the timeline.
    lag: from a launch's call to its start, of the placed ones here and below; where there are
        none, from the beginning of a span to the start of its work.
    kernel_busy_ns, kernels, joined: by a join with a report: for so many calls it knows work.
    net_bytes: what memory moved by, added up over devices; None where nothing is known.
    """

    actor: str
    name: str
    is_launch: bool
    parent: Node | None
    number: int
    children: dict[tuple[str, str, bool], Node] = field(default_factory=dict, repr=False)
    simulated: bool = False
    calls: int = 0
    failed: int = 0
    open: int = 0
    cpu_ns: int = 0
    own_ns: int = 0
    stream_ns: int = 0
    stream_timed: int = 0
    launches: int = 0
    placed: int = 0
    busy_ns: int | None = None
    lag: Distribution = field(default_factory=Distribution)
    joined: int = 0
    kernels: int = 0
    kernel_busy_ns: int = 0
    net_bytes: int | None = None
    peak_bytes: int | None = None
    memory_doubts: dict[str, int] = field(default_factory=dict)
    _covered: Intervals = field(default_factory=Intervals)
    _start_lag: Distribution = field(default_factory=Distribution)

    @property
    def lag_ns(self) -> int | None:
        """The median of ``lag``."""
        figures = self.lag.figures
        return None if figures is None else figures.median_ns

    @property
    def gpu_ns(self) -> int | None:
        """The largest of what is known of its time on the GPU."""
        known = [
            self.stream_ns if self.stream_timed else None,
            self.busy_ns,
            self.kernel_busy_ns if self.joined else None,
        ]
        return max((ns for ns in known if ns is not None), default=None)


@dataclass(slots=True, eq=False)
class _Call:
    """A span: ``node`` is its own, or where it is hidden that of the span round it."""

    node: Node | None
    parent: _Call | None
    hidden: bool
    #: The nodes of the spans that are open here, its own included.
    nodes: frozenset[Node]
    #: Whether none round it has its node.
    outermost: bool
    ended: bool = False
    inner: Intervals = field(default_factory=Intervals)


class SpanTree:
    """Collects the events of a trace, in the order of time.

    ``actors`` leaves the spans and launches of some, ``correlation`` those of one request.
    ``uuids`` is what :func:`~gpu_narration.timeline.vram_devices.uuids_of` gives.
    """

    def __init__(
        self,
        annotations: Annotations,
        *,
        actors: frozenset[str] = frozenset(),
        correlation: str | None = None,
        uuids: Mapping[tuple[int, int], str] | None = None,
        joined: Joined | None = None,
    ) -> None:
        self.roots: dict[tuple[str, str, bool], Node] = {}
        #: Spans whose outer span is not in the trace any more: they stand at the top.
        self.adrift = 0
        self._annotations = annotations
        self._actors = actors
        self._correlation = correlation
        self._joined = joined
        self._nodes: list[Node] = []
        self._calls: dict[tuple[int, int], _Call] = {}
        self._ended: OrderedDict[tuple[int, int], _Call] = OrderedDict()
        self._memory = VramHistory(
            annotations, uuids=uuids, correlation=correlation, name_of=self._memory_name
        )

    def take(self, event: Event) -> None:
        """Takes in an event."""
        if event.phase is Phase.BEGIN:
            self._begin(event)
        elif event.phase is Phase.END and event.kind in SPAN_KINDS:
            self._end(event)
        elif event.kind is Kind.LAUNCH and self._correlation in (None, event.correlation):
            self._launch(event)
        self._memory.take(event)

    def close(self) -> list[Node]:
        """After the last event: all nodes, each behind the one round it."""
        for call in self._calls.values():
            if not call.hidden and call.node is not None:
                call.node.open += 1
        self._calls.clear()
        for row in self._memory.close():
            self._add_memory(row)
        # A node is made after the one round it, so backwards the inner ones come first.
        for node in reversed(self._nodes):
            _sum_up(node)
        return self._nodes

    # ---- events ----

    def _begin(self, event: Event) -> None:
        self._calls[event.process, event.id] = self._call(event)

    def _call(self, event: Event) -> _Call:
        parent = self._find(event.process, event.span)
        if event.span is not None and parent is None:
            self.adrift += 1
        around = parent
        while around is not None and around.ended:
            around = around.parent
        nodes: frozenset[Node] = frozenset() if around is None else around.nodes
        outer = None if parent is None else parent.node
        if not self._wanted(event):
            return _Call(outer, parent, True, nodes, False)
        node = self._node(outer, event.names[0] or "?", event.names[1] or "?", is_launch=False)
        node.calls += 1
        return _Call(node, parent, False, nodes | {node}, node not in nodes)

    def _end(self, event: Event) -> None:
        key = event.process, event.span_id or 0
        call = self._calls.pop(key, None)
        if call is None:
            call = self._call(event)  # its beginning is lost
        call.ended = True
        self._ended[key] = call
        if len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)
        elapsed_ns = event.elapsed_ns or 0
        began_ns = event.monotonic_ns - elapsed_ns
        outer = call.parent
        if outer is not None and not outer.ended:
            if call.hidden:
                for start_ns, end_ns in call.inner:
                    outer.inner.add(start_ns, end_ns)
            else:
                outer.inner.add(began_ns, event.monotonic_ns)
        node = call.node
        if node is None or call.hidden:
            return
        node.failed += event.outcome is Outcome.ERROR
        learned = self._annotations(event)
        node.simulated |= learned.get("simulated") is True
        node.own_ns += elapsed_ns - _inside(call.inner, began_ns, event.monotonic_ns)
        if not call.outermost:
            return
        node.cpu_ns += elapsed_ns
        if _take_stream_time(node, learned):
            place = place_of(learned, began_ns)
            if isinstance(place, Place):
                node._start_lag.add(place.start_ns - began_ns)
        self._take_joined(node, event)

    def _launch(self, event: Event) -> None:
        call = self._find(event.process, event.span)
        node = None if call is None else call.node
        known = {**event.fields, **self._annotations(event)}
        place: Place | str = "not timed"
        if _gpu_ns(known) is not None:
            place = place_of(known, event.monotonic_ns)
        if self._wanted(event):
            node = self._node(node, event.names[0] or "?", event.names[2] or "?", is_launch=True)
            node.calls += 1
            node.failed += "error" in known
            _take_stream_time(node, known)
            self._take_joined(node, event)
        if node is None:
            return
        node.launches += 1
        node.simulated |= known.get("simulated") is True
        if isinstance(place, Place):
            node.placed += 1
            node.lag.add(place.start_ns - event.monotonic_ns)
            node._covered.add(place.start_ns, place.end_ns)

    def _take_joined(self, node: Node, event: Event) -> None:
        if self._joined is None:
            return
        work = self._joined.of(event.process, event.span_id or event.id)
        if work is not None:
            node.joined += 1
            node.kernels += work.kernels
            node.kernel_busy_ns += work.busy_ns

    # ---- nodes ----

    def _wanted(self, event: Event) -> bool:
        if self._correlation is not None and event.correlation != self._correlation:
            return False
        return not self._actors or event.names[0] in self._actors

    def _find(self, process: int, span: int | None) -> _Call | None:
        if span is None:
            return None
        return self._calls.get((process, span)) or self._ended.get((process, span))

    def _node(self, outer: Node | None, actor: str, name: str, *, is_launch: bool) -> Node:
        key = actor, name, is_launch
        siblings = self.roots if outer is None else outer.children
        node = siblings.get(key)
        if node is None:
            node = next(
                (above for above in _upwards(outer) if _key(above) == key),
                None,
            )  # recursion
        if node is None:
            node = Node(actor, name, is_launch, outer, len(self._nodes))
            self._nodes.append(node)
            siblings[key] = node
        return node

    def _memory_name(self, event: Event) -> tuple[str, str]:
        call = self._calls.get((event.process, event.id))
        if call is None or call.node is None:
            return _NOWHERE
        return str(call.node.number), ""

    def _add_memory(self, row: ScopeRow) -> None:
        number = row.scope[0] if row.scope is not None and row.scope[1] == "" else ""
        if not number:
            return
        node = self._nodes[int(number)]
        node.simulated |= row.device.simulated
        for counts in (row.shared, row.unknown, row.unsure):
            for reason, count in counts.items():
                node.memory_doubts[reason] = node.memory_doubts.get(reason, 0) + count
        if row.known:
            node.net_bytes = (node.net_bytes or 0) + row.net
        if row.peak is not None:
            node.peak_bytes = max(node.peak_bytes or 0, row.peak)


def _upwards(node: Node | None) -> Iterator[Node]:
    while node is not None:
        yield node
        node = node.parent


def _key(node: Node) -> tuple[str, str, bool]:
    return node.actor, node.name, node.is_launch


def _gpu_ns(known: Mapping[str, Value]) -> int | None:
    elapsed_ns = known.get("gpu_ns")
    return elapsed_ns if is_number(elapsed_ns) and elapsed_ns >= 0 else None


def _take_stream_time(node: Node, known: Mapping[str, Value]) -> bool:
    elapsed_ns = _gpu_ns(known)
    if elapsed_ns is None:
        return False
    node.stream_ns += elapsed_ns
    node.stream_timed += 1
    return True


def _inside(inner: Intervals, began_ns: int, ended_ns: int) -> int:
    """How much of a span its inner ones cover."""
    return sum(
        max(min(end_ns, ended_ns) - max(start_ns, began_ns), 0) for start_ns, end_ns in inner
    )


def _sum_up(node: Node) -> None:
    """Adds the nodes below, which are summed up already, and lets go of their intervals."""
    below = node.children.values()
    node._covered = union([node._covered, *(child._covered for child in below)])
    for child in below:
        node.launches += child.launches
        node.placed += child.placed
        if child.placed:
            node.lag.extend(child.lag)
        child._covered = Intervals()
    if node.placed:
        node.busy_ns = node._covered.covered_ns
    else:
        node.lag = node._start_lag


def ordered(nodes: Iterable[Node], key: TreeKey, limit: int = 0) -> list[tuple[Node, int]]:
    """Nodes and how deep each lies: the largest first at each depth, each before those below.

    ``limit`` of them unless it is 0: the largest of all, and beyond that what is round them.
    """
    figure = _FIGURES[key]
    nodes = sorted(nodes, key=lambda node: _place(figure(node), node))
    if limit:
        nodes = sorted(_largest(nodes, limit), key=lambda node: _place(figure(node), node))
    below: dict[Node | None, list[Node]] = {}
    for node in nodes:
        below.setdefault(node.parent, []).append(node)
    rows: list[tuple[Node, int]] = []
    waiting = [(node, 0) for node in reversed(below.get(None, []))]
    while waiting:
        node, depth = waiting.pop()
        rows.append((node, depth))
        waiting += [(child, depth + 1) for child in reversed(below.get(node, []))]
    return rows


def _largest(nodes: Iterable[Node], limit: int) -> set[Node]:
    shown: set[Node] = set()
    for node in nodes:
        if len(shown) >= limit:
            break
        shown.update(_upwards(node))
    return shown


def _place(figure: int | None, node: Node) -> tuple[bool, int, int, str, str]:
    """The largest first, what is unknown last; equal ones by CPU time, then by name."""
    return figure is None, -(figure or 0), -node.cpu_ns, node.actor, node.name


_FIGURES: dict[TreeKey, Callable[[Node], int | None]] = {
    "cpu": lambda node: None if node.is_launch else node.cpu_ns,
    "gpu": lambda node: node.gpu_ns,
    "lag": lambda node: node.lag_ns,
    "vram": lambda node: node.net_bytes,
}
