"""What the picture of a trace's memory shows and where, in pixels.

Both drawings (SVG and PNG) are made from this: they differ in ink only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len, chop_cells

from gpu_narration.timeline.decimate import Point, decimate
from gpu_narration.timeline.vram_devices import DeviceMemory, names
from gpu_narration.timeline.vram_scopes import ScopeName, ScopeRow
from gpu_narration.tracefile import Event
from gpu_narration.views.escape import safe
from gpu_narration.views.sentences import sentence
from gpu_narration.views.units import duration, size

GIB = 1 << 30

WIDTH, LEFT, RIGHT = 1200, 230, 40
LEGEND_TOP, LEGEND_ROW, LEGEND_COLUMNS = 44, 18, 2
PLOT_HEIGHT, LANE, KEY_ROW = 320, 20, 17
#: One reading alone, and memory that was never used, still have axes.
_SHORTEST_NS, _LOWEST_BYTES = 1_000_000, 64 << 20
#: Flags nearer to each other than so many pixels become one.
_NEAR = 44
#: How many scopes have a lane of their own, and how many narrations are told in words.
LANES, KEYS = 14, 12

#: Okabe and Ito's colours, told apart by people with any colour vision: five for devices
#: and two for scopes.
COLORS = ("#0072B2", "#CC79A7", "#E69F00", "#000000", "#56B4E9")
#: Strokes and gaps, for more devices than there are colours.
DASHES: tuple[tuple[int, ...], ...] = ((), (6, 3), (2, 2), (9, 2, 2, 2))
ROSE, FELL, SAME = "#D55E00", "#009E73", "#999999"


@dataclass(frozen=True, slots=True)
class Line:
    """One device.  ``spikes``: (time, level, peak) of peaks between two readings."""

    label: str
    legend: str
    color: str
    dash: int
    points: list[Point]
    spikes: list[tuple[int, int, int]]
    capacity: int | None


@dataclass(frozen=True, slots=True)
class Bar:
    """Calls of a scope that lie too near to each other to be told apart are one bar."""

    begin_ns: int
    end_ns: int
    color: str
    tip: str


@dataclass(frozen=True, slots=True)
class Lane:
    label: str
    bars: list[Bar]


@dataclass(frozen=True, slots=True)
class Flag:
    """Narrations at nearly the same place: ``label`` names them in the key."""

    time_ns: int
    label: str
    tip: str


@dataclass(slots=True)
class Picture:
    """Everything that is drawn; times are CLOCK_MONOTONIC, ``origin_ns`` is 0 s."""

    title: str
    origin_ns: int
    begin_ns: int
    end_ns: int
    top_bytes: int
    lines: list[Line]
    lanes: list[Lane]
    flags: list[Flag]
    key: list[str]
    notes: list[str]
    legend_rows: int = field(init=False)

    def __post_init__(self) -> None:
        self.legend_rows = -(-len(self.lines) // LEGEND_COLUMNS)

    @property
    def plot_top(self) -> int:
        return LEGEND_TOP + (self.legend_rows + 1) * LEGEND_ROW + 22

    @property
    def lanes_top(self) -> int:
        return self.plot_top + PLOT_HEIGHT + 12

    @property
    def axis_y(self) -> int:
        return self.lanes_top + LANE * len(self.lanes) + 6

    @property
    def key_top(self) -> int:
        return self.axis_y + 60

    @property
    def height(self) -> int:
        return self.key_top + KEY_ROW * (len(self.key) + len(self.notes)) + 8

    def x(self, time_ns: int) -> float:
        part = (time_ns - self.begin_ns) / max(1, self.end_ns - self.begin_ns)
        return LEFT + part * (WIDTH - LEFT - RIGHT)

    def y(self, used_bytes: int) -> float:
        return self.plot_top + PLOT_HEIGHT * (1 - used_bytes / self.top_bytes)

    def time_ticks(self) -> list[tuple[int, str]]:
        """Times and their labels in s."""
        first, last = ((time_ns - self.origin_ns) / 1e9 for time_ns in (self.begin_ns, self.end_ns))
        return [
            (self.origin_ns + round(seconds * 1e9), label)
            for seconds, label in _ticks(first, last, 10)
        ]

    def memory_ticks(self) -> list[tuple[int, str]]:
        """Bytes and their labels in GiB."""
        return [(round(gib * GIB), label) for gib, label in _ticks(0.0, self.top_bytes / GIB, 6)]


def picture(
    title: str,
    devices: Sequence[DeviceMemory],
    rows: Sequence[ScopeRow],
    marks: Sequence[Event],
    *,
    begin_ns: int,
    end_ns: int,
    origin_ns: int | None = None,
    pids: Sequence[int] = (),
    marks_left_out: int = 0,
) -> Picture:
    """The picture of some devices from ``begin_ns`` to ``end_ns``; each must have a reading.

    ``origin_ns`` is 0 s, where that is not ``begin_ns``.
    """
    marks = [mark for mark in marks if begin_ns <= mark.monotonic_ns <= end_ns]
    end_ns = max(end_ns, begin_ns + _SHORTEST_NS)
    origin_ns = begin_ns if origin_ns is None else origin_ns
    named = names(devices, pids)
    peak = max((device.peak_bytes or 0 for device in devices), default=0)
    capacity = max((device.total_bytes or 0 for device in devices), default=0)
    # A line of nothing below a far ceiling tells less than one that fills the picture.
    in_view = capacity if capacity and (peak == 0 or capacity <= 2 * peak) else 0
    top_bytes = max(math.ceil(1.12 * max(peak, in_view)), _LOWEST_BYTES)
    lines = [
        _line(device, named[id(device)], index, begin_ns, end_ns)
        for index, device in enumerate(devices)
    ]
    lanes, notes = _lanes(rows, begin_ns, end_ns)
    flags, key = _flags(marks, begin_ns, end_ns, origin_ns)
    if marks_left_out:
        notes.append(f"{marks_left_out} less important narrations are not marked.")
    return Picture(
        _short(safe(title), 120) + _simulated(devices),
        origin_ns, begin_ns, end_ns, top_bytes, lines, lanes, flags, key, notes,
    )  # fmt: skip


def _line(device: DeviceMemory, name: str, index: int, begin_ns: int, end_ns: int) -> Line:
    spikes: dict[int, tuple[int, int, int]] = {}
    before = None
    for reading in device.series:
        if not begin_ns <= reading.monotonic_ns <= end_ns:
            before = reading.used_bytes
            continue
        used, peak = reading.used_bytes, reading.peak_bytes
        if used is not None and peak is not None and peak > max(used, before or 0):
            column = (reading.monotonic_ns - begin_ns) * WIDTH // (end_ns - begin_ns)
            if column not in spikes or spikes[column][2] < peak:
                spikes[column] = (reading.monotonic_ns, max(used, before or 0), peak)
        before = used
    of = f" of {size(device.total_bytes)}" if device.total_bytes is not None else ""
    peak_text = size(device.peak_bytes) if device.peak_bytes is not None else "unknown"
    source = f" ({' and '.join(sorted(device.sources))})" if device.sources else ""
    lost = f"; lost: {device.lost}" if device.lost else ""
    return Line(
        safe(name),
        _short(safe(f"{name}: peak {peak_text}{of}{source}{lost}"), 66),
        COLORS[index % len(COLORS)],
        index // len(COLORS) % len(DASHES),
        decimate(_points(device, begin_ns, end_ns), begin_ns, end_ns, WIDTH - LEFT - RIGHT),
        list(spikes.values()),
        device.total_bytes,
    )


def _points(device: DeviceMemory, begin_ns: int, end_ns: int) -> Iterator[Point]:
    """What was read in a window, and what held at its edges."""
    held: list[int | None] = []  # the last value, once there is one
    begun = False
    for reading in device.series:
        if reading.monotonic_ns > end_ns:
            break
        if reading.monotonic_ns >= begin_ns:
            if held and not begun:
                yield begin_ns, held[0]
            begun = True
            yield reading.monotonic_ns, reading.used_bytes
        held = [reading.used_bytes]
    if held:
        if not begun:
            yield begin_ns, held[0]
        yield end_ns, held[0]


def _lanes(rows: Sequence[ScopeRow], begin_ns: int, end_ns: int) -> tuple[list[Lane], list[str]]:
    """A lane for each scope that moved memory, on whatever device, in the order of first calls."""
    scopes: dict[ScopeName, list[ScopeRow]] = {}
    for row in rows:
        if row.scope is not None and (row.rose or row.fell) and _is_seen(row, begin_ns, end_ns):
            scopes.setdefault(row.scope, []).append(row)
    moved = {scope: sum(max(row.rose, row.fell) for row in of) for scope, of in scopes.items()}
    kept = sorted(scopes, key=lambda scope: -moved[scope])[:LANES]
    kept.sort(key=lambda scope: min(min(row.begins_ns) for row in scopes[scope]))
    lanes = []
    for scope in kept:
        label = safe(" ".join(scope or ()))
        lanes.append(Lane(_short(label, 30), list(_bars(scopes[scope], label, begin_ns, end_ns))))
    notes = []
    if len(scopes) > len(kept):
        most = max(size_bytes for scope, size_bytes in moved.items() if scope not in kept)
        notes.append(
            f"{len(scopes) - len(kept)} more scopes moved at most {size(most)} each "
            "and have no lane."
        )
    return lanes, notes


def _is_seen(row: ScopeRow, begin_ns: int, end_ns: int) -> bool:
    return any(
        begin <= end_ns and end >= begin_ns
        for begin, end in zip(row.begins_ns, row.ends_ns, strict=True)
    )


def _bars(rows: Sequence[ScopeRow], label: str, begin_ns: int, end_ns: int) -> Iterator[Bar]:
    near_ns = 2 * max(1, (end_ns - begin_ns) // (WIDTH - LEFT - RIGHT))
    calls = sorted(
        (begin, end, net, row.device.name)
        for row in rows
        for begin, end, net in zip(row.begins_ns, row.ends_ns, row.nets, strict=True)
        if begin <= end_ns and end >= begin_ns
    )
    first = 0
    while first < len(calls):
        start_ns, stop_ns, net, _ = calls[first]
        after = first + 1
        while after < len(calls) and calls[after][0] <= stop_ns + near_ns:
            stop_ns = max(stop_ns, calls[after][1])
            net += calls[after][2]
            after += 1
        count = f"{after - first} calls" if after - first > 1 else "1 call"
        devices = ", ".join(sorted({call[3] for call in calls[first:after]}))
        yield Bar(
            max(start_ns, begin_ns), min(stop_ns, end_ns),
            ROSE if net > 0 else FELL if net < 0 else SAME,
            f"{label} on {devices}: {count} in {duration(stop_ns - start_ns)}, net {signed(net)}",
        )  # fmt: skip
        first = after


def _flags(
    marks: Sequence[Event], begin_ns: int, end_ns: int, origin_ns: int
) -> tuple[list[Flag], list[str]]:
    """Flags for the narrations, and the key that tells the most important in words."""
    told = _most_important(marks)
    numbers = {id(mark): number for number, mark in enumerate(told, 1)}
    key = [_short(f"{numbers[id(mark)]:>2}  {_told(mark, origin_ns)}", 150) for mark in told]
    if len(marks) > len(told):
        key.append(f"    … and {len(marks) - len(told)} more narrations, marked without a number")
    near_ns = _NEAR * max(1, (end_ns - begin_ns) // (WIDTH - LEFT - RIGHT))
    flags: list[Flag] = []
    group: list[Event] = []
    for mark in [*marks, None]:
        if group and (mark is None or mark.monotonic_ns - group[0].monotonic_ns > near_ns):
            flags.append(_flag(group, numbers, origin_ns))
            group = []
        if mark is not None:
            group.append(mark)
    return flags, key


def _most_important(marks: Sequence[Event]) -> list[Event]:
    """Those of the highest levels; of the level that they do not all fit in, evenly many."""
    chosen: list[Event] = []
    for level in sorted({mark.level for mark in marks}, reverse=True):
        of_level = [mark for mark in marks if mark.level is level]
        room = KEYS - len(chosen)
        count = min(room, len(of_level))
        chosen += [of_level[index * len(of_level) // count] for index in range(count)]
    return sorted(chosen, key=lambda mark: mark.monotonic_ns)


def _flag(group: Sequence[Event], numbers: dict[int, int], origin_ns: int) -> Flag:
    of_key = [numbers[id(mark)] for mark in group if id(mark) in numbers]
    label = ""
    if of_key:
        label = str(of_key[0]) if len(of_key) == 1 else f"{of_key[0]}\N{EN DASH}{of_key[-1]}"
    tips = [_told(mark, origin_ns) for mark in group[:8]]
    if len(group) > len(tips):
        tips.append(f"… and {len(group) - len(tips)} more")
    return Flag(group[0].monotonic_ns, label, "\n".join(tips))


def _told(mark: Event, origin_ns: int) -> str:
    seconds = (mark.monotonic_ns - origin_ns) / 1e9
    actor, action = safe(mark.names[0] or "?"), safe(mark.names[1] or "?")
    return f"{seconds:.3f} s  {mark.level.name} {actor} {action}: {safe(sentence(mark, {}))}"


def signed(count: int) -> str:
    """Bytes with their sign."""
    return f"+{size(count)}" if count > 0 else size(count)


def _simulated(devices: Iterable[DeviceMemory]) -> str:
    kinds = {device.simulated for device in devices}
    if kinds == {True}:
        return " (simulated)"
    return " (partly simulated)" if True in kinds else ""


def _short(text: str, cells: int) -> str:
    """At most so many columns of text."""
    if cell_len(text) <= cells:
        return text
    return chop_cells(text, cells - 1)[0] + "…"


def _ticks(bottom: float, top: float, wanted: int) -> list[tuple[float, str]]:
    """Some ``wanted`` round numbers from ``bottom`` to ``top``, and how they are written."""
    rough = (top - bottom) / wanted
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.ceil(bottom / step - 1e-9), math.floor(top / step + 1e-9)
    return [(n * step, f"{n * step:.{decimals}f}") for n in range(first, last + 1)]
