"""Which scope moved how much device memory, so that nothing counts twice.

Two things tell: *moves*, the state changes, each of which names the innermost open span
of its process; and *edges*, readings at the beginning and the end of spans that asked
for them.  For one call of a scope on one device:

- ``net`` includes the scopes inside.  With edges it is the difference between them,
  without them the sum of the call's own moves and of the calls inside.
- ``own`` is net less that of the calls inside, so the own figures of all scopes and of
  what was outside all of them add up to what the device did.
- Edges of calls that overlap without being inside each other both see all that moves:
  those are *shared*, and count by their moves alone.
- What was told inside a call but lies outside its edges belongs to the scope round it;
  what its edges saw and a later reading tells again is not counted again.

A call that ends after the one round it is not part of that one.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from gpu_narration.timeline.vram_devices import DeviceMemory

#: (actor, name); None where a move lies outside all spans, or was another process's.
ScopeName = tuple[str, str] | None
OUTSIDE: ScopeName = None
OTHERS = ("", "another process")

#: How many ended calls are remembered for moves that are told late.
_REMEMBERED = 4096
#: How old an edge may be that a move tells again, where the move does not say since when
#: it looked: twice the slowest period of sampling.
_LATE_NS = 2_000_000_000
#: A difference between edges and moves smaller than this is noise of the threshold
#: below which moves are not told: 2 MiB, on large devices 1/8192 of the memory.
_NOISE_BYTES, _NOISE_FRACTION = 2 << 20, 8192


@dataclass(slots=True)
class ScopeRow:
    """All calls of one scope that memory of one device was read or moved in; bytes.

    rose, fell, net: with the scopes inside, recursion counted once.  own: without them.
    largest_rise: in one call, or told at once.  peak: highest reading in it.
    calls: all calls of the scope, ``open`` those without an end.  known: those whose
    memory is known.  shared, unknown: the others, by reason.
    live, cached: of a caching pool, where it said so.
    unsure: moves that may belong to another scope, by reason.
    """

    scope: ScopeName
    device: DeviceMemory
    rose: int = 0
    fell: int = 0
    net: int = 0
    own: int = 0
    largest_rise: int = 0
    peak: int | None = None
    live: int | None = None
    cached: int | None = None
    calls: int = 0
    open: int = 0
    known: int = 0
    sources: set[str] = field(default_factory=set)
    requests: set[str] = field(default_factory=set)
    shared: dict[str, int] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    unsure: dict[str, int] = field(default_factory=dict)
    begins_ns: array[int] = field(default_factory=lambda: array("q"))
    ends_ns: array[int] = field(default_factory=lambda: array("q"))
    nets: array[int] = field(default_factory=lambda: array("q"))


@dataclass(slots=True)
class Edges:
    """What was read at the edges of a call.  ``shared``: why it is not the call's alone."""

    device: DeviceMemory
    delta: int
    peak: int
    source: str
    live: int | None = None
    cached: int | None = None
    shared: str | None = None


@dataclass(slots=True)
class Move:
    """A state change.  ``window_ns``: since the reading before it; None where it is not said."""

    device: DeviceMemory
    monotonic_ns: int
    change: int
    peak: int
    source: str
    window_ns: int | None = None
    unsure: str | None = None


@dataclass(slots=True)
class _Tally:
    """Of one call on one device; ``own`` are its moves, ``told`` those inside too."""

    own_rose: int = 0
    own_fell: int = 0
    inner_rose: int = 0
    inner_fell: int = 0
    told: int = 0
    largest: int = 0
    peak: int | None = None
    moves: int = 0
    sources: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Call:
    """One call of a scope, while it is open and a little longer."""

    name: tuple[str, str]
    parent: Call | None
    begin_ns: int
    correlation: str | None
    edges: Edges | None = None
    reason: str | None = None
    reason_device: DeviceMemory | None = None
    ended: bool = False
    tallies: dict[int, tuple[DeviceMemory, _Tally]] = field(default_factory=dict)

    def tally(self, device: DeviceMemory) -> _Tally:
        return self.tallies.setdefault(id(device), (device, _Tally()))[1]

    def around(self) -> Iterator[Call]:
        """The calls round it that are still open, from the inside out."""
        call = self.parent
        while call is not None:
            if not call.ended:
                yield call
            call = call.parent


class ScopeMemory:
    """Collects calls and moves in the order of time.  ``correlation`` leaves one request's."""

    def __init__(self, correlation: str | None = None) -> None:
        self._correlation = correlation
        self._rows: dict[tuple[ScopeName, int], ScopeRow] = {}
        self._calls: dict[tuple[int, int], Call] = {}
        self._ended: OrderedDict[tuple[int, int], Call] = OrderedDict()
        self._count: dict[ScopeName, int] = {}
        self._open: dict[ScopeName, int] = {}
        self._edged: dict[int, list[Call]] = {}
        #: By device: what edges saw and no move has told yet, with the time of the edge.
        self._untold: dict[int, deque[tuple[int, int]]] = {}

    def find(self, process: int, span: int | None) -> Call | None:
        """The call with this event id, open or ended not long ago."""
        if span is None:
            return None
        return self._calls.get((process, span)) or self._ended.get((process, span))

    def begin(self, process: int, span: int, call: Call) -> None:
        self._calls[process, span] = call
        self._count[call.name] = self._count.get(call.name, 0) + 1
        if call.edges is None:
            return
        others = self._edged.setdefault(id(call.edges.device), [])
        for other in others:
            if not any(outer is other for outer in call.around()):
                for one, two in ((call, other), (other, call)):
                    assert one.edges is not None
                    one.edges.shared = one.edges.shared or f"overlapped {' '.join(two.name)}"
        others.append(call)

    def end(self, process: int, span: int, end_ns: int) -> None:
        call = self._calls.pop((process, span), None)
        if call is None:
            return
        self._finish(call, end_ns)
        self._ended[process, span] = call
        if len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)

    def move(self, move: Move, call: Call | None, name: ScopeName = OUTSIDE) -> None:
        """Takes in a move in a call; ``name`` says where it belongs if there is no call."""
        rest = move.change - self._told_before(move)
        if call is None or call.ended:
            self._add_to_row(name if call is None else call.name, move, rest, call)
            call = None if call is None else next(call.around(), None)
            if call is not None:
                tally = call.tally(move.device)
                tally.inner_rose += max(rest, 0)
                tally.inner_fell += max(-rest, 0)
                tally.told += rest
            return
        tally = call.tally(move.device)
        tally.moves += 1
        tally.own_rose += max(rest, 0)
        tally.own_fell += max(-rest, 0)
        tally.told += rest
        tally.largest = max(tally.largest, rest)
        tally.sources.add(move.source)
        if move.unsure is not None and self._takes(call):
            _count(self._row(call.name, move.device).unsure, move.unsure)
        tally.peak = max(tally.peak or 0, move.peak)

    def close(self, end_ns: int) -> list[ScopeRow]:
        """At the end of the trace; the rows, what rose most first."""
        for call in sorted(self._calls.values(), key=lambda call: -call.begin_ns):
            self._open[call.name] = self._open.get(call.name, 0) + 1
            call.edges = None  # an end that never came was not read
            self._finish(call, end_ns)
        self._calls.clear()
        for row in self._rows.values():
            row.calls = self._count.get(row.scope, 0)
            row.open = self._open.get(row.scope, 0)
        return sorted(
            self._rows.values(),
            key=lambda row: (-row.rose, -row.fell, row.device.index, row.scope or ("", "")),
        )

    # ---- one call ends ----

    def _finish(self, call: Call, end_ns: int) -> None:
        if call.edges is not None:
            call.tally(call.edges.device).sources.add(call.edges.source)
        elif call.reason_device is not None:
            call.tally(call.reason_device)
        for device, tally in call.tallies.values():
            edges = call.edges if call.edges is not None and call.edges.device is device else None
            self._settle(call, device, tally, edges, end_ns)
        if call.edges is not None:
            edged = self._edged[id(call.edges.device)]
            edged[:] = [other for other in edged if other is not call]
        call.tallies = {}
        call.ended = True

    def _settle(
        self, call: Call, device: DeviceMemory, tally: _Tally, edges: Edges | None, end_ns: int
    ) -> None:
        inner = tally.inner_rose - tally.inner_fell
        rose, fell = tally.own_rose + tally.inner_rose, tally.own_fell + tally.inner_fell
        outside = 0
        if edges is not None and edges.shared is None:
            rose, fell = _fit(rose, fell, edges.delta)
            tally.largest = max(min(tally.largest, rose), edges.delta if not tally.moves else 0)
            outside = self._beyond(device, tally.told - edges.delta, tally.told, end_ns)
        if edges is not None:
            tally.peak = max(tally.peak or 0, edges.peak)
        net = rose - fell
        outer = next(call.around(), None)
        if outer is not None:
            _merge(outer.tally(device), tally, rose, fell, outside)
        elif outside:
            self._outside(device, outside)
        if self._takes(call):
            row = self._row(call.name, device)
            self._note(row, call, device, tally, edges)
            if not any(other.name == call.name for other in call.around()):
                row.rose += rose
                row.fell += fell
                row.net += net
            row.own += net - inner
            row.begins_ns.append(call.begin_ns)
            row.ends_ns.append(end_ns)
            row.nets.append(net)

    def _note(
        self, row: ScopeRow, call: Call, device: DeviceMemory, tally: _Tally, edges: Edges | None
    ) -> None:
        row.sources |= tally.sources
        row.largest_rise = max(row.largest_rise, tally.largest)
        if tally.peak is not None:
            row.peak = max(row.peak or 0, tally.peak)
        if call.correlation is not None:
            row.requests.add(call.correlation)
        told = bool(tally.moves or tally.inner_rose or tally.inner_fell or device.moves)
        if edges is not None and edges.shared is not None:
            _count(row.shared, edges.shared)
            row.known += told
        elif call.reason_device is device and call.reason is not None:
            _count(row.unknown, call.reason)
            row.known += told
        else:
            row.known += 1
        if edges is not None and edges.live is not None:
            row.live = (row.live or 0) + edges.live
        if edges is not None and edges.cached is not None:
            row.cached = (row.cached or 0) + edges.cached

    def _beyond(self, device: DeviceMemory, excess: int, told: int, end_ns: int) -> int:
        """What was told in a call and is not its own; what it saw untold is kept in mind."""
        noise = max(_NOISE_BYTES, (device.total_bytes or 0) // _NOISE_FRACTION)
        if told and (excess > 0) == (told > 0) and abs(excess) >= noise:
            return max(min(excess, told), 0) if told > 0 else min(max(excess, told), 0)
        if excess:
            self._untold.setdefault(id(device), deque(maxlen=_REMEMBERED)).append((end_ns, -excess))
        return 0

    def _told_before(self, move: Move) -> int:
        """How much of a move edges have counted already."""
        untold = self._untold.pop(id(move.device), ())
        since_ns = move.monotonic_ns - (_LATE_NS if move.window_ns is None else move.window_ns)
        seen = sum(size for when_ns, size in untold if when_ns >= since_ns)
        if (seen > 0) != (move.change > 0):
            return 0
        return min(seen, move.change) if move.change > 0 else max(seen, move.change)

    # ---- rows ----

    def _outside(self, device: DeviceMemory, change: int) -> None:
        if self._correlation is None:
            row = self._row(OUTSIDE, device)
            row.rose += max(change, 0)
            row.fell += max(-change, 0)
            row.net += change
            row.own += change
            row.known += 1

    def _add_to_row(self, name: ScopeName, move: Move, rest: int, call: Call | None) -> None:
        if self._correlation is not None and (
            call is None or call.correlation != self._correlation
        ):
            return
        row = self._row(name, move.device)
        row.rose += max(rest, 0)
        row.fell += max(-rest, 0)
        row.net += rest
        row.own += rest
        row.known += 1
        row.largest_rise = max(row.largest_rise, rest)
        row.peak = max(row.peak or 0, move.peak)
        row.sources.add(move.source)
        if move.unsure is not None:
            _count(row.unsure, move.unsure)

    def _takes(self, call: Call) -> bool:
        return self._correlation is None or call.correlation == self._correlation

    def _row(self, name: ScopeName, device: DeviceMemory) -> ScopeRow:
        key = (name, id(device))
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = ScopeRow(name, device)
        return row


def _merge(outer: _Tally, inner: _Tally, rose: int, fell: int, outside: int) -> None:
    """Makes a call that ended part of the one round it."""
    outer.inner_rose += rose
    outer.inner_fell += fell
    outer.own_rose += max(outside, 0)
    outer.own_fell += max(-outside, 0)
    outer.told += inner.told
    outer.moves += bool(outside)
    outer.largest = max(outer.largest, inner.largest, outside)
    outer.sources |= inner.sources
    if inner.peak is not None:
        outer.peak = max(outer.peak or 0, inner.peak)


def _fit(rose: int, fell: int, delta: int) -> tuple[int, int]:
    """Rises and falls that come to what the edges say: told ones shrink before new ones come."""
    excess = rose - fell - delta
    if excess > 0:
        less = min(rose, excess)
        return rose - less, fell + excess - less
    less = min(fell, -excess)
    return rose - excess - less, fell - less


def _count(counts: dict[str, int], reason: str) -> None:
    counts[reason] = counts.get(reason, 0) + 1
