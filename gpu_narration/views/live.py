"""One look at a running trace, or at the machine, as so many lines of so many columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from gpu_narration._types import Level
from gpu_narration.timeline.live import LiveMove, LiveState, LiveWork
from gpu_narration.timeline.vram_devices import DeviceMemory
from gpu_narration.tracefile import Event
from gpu_narration.views.escape import safe
from gpu_narration.views.sentences import sentence
from gpu_narration.views.units import duration, size

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

#: Below so many columns, what is said elsewhere too is left out.
_NARROW = 90
_NARROWEST, _SHORTEST = 30, 6
_STYLES = {Level.WARN: "yellow", Level.ERROR: "red", Level.FATAL: "bold red"}
_EIGHTHS = "▏▎▍▌▋▊▉"

#: A list of the screen: its title, and what makes at most so many lines of it.
_Section = tuple[str, Callable[[int], list[Text]]]


class LiveView:
    """The state, drawn to fit the console; ``voice`` is whose words narrations are in.

    ``last_line`` is kept at the bottom of the screen; without one only what there is to
    say is drawn.
    """

    def __init__(self, state: LiveState, *, voice: str = "human", last_line: str = "") -> None:
        self._state = state
        self._voice = voice
        self._last_line = last_line

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # The last line has no end: it would push the first one off the screen.
        lines = self.lines(options.max_width, options.height or console.height)
        yield Text("\n", no_wrap=True, end="" if self._last_line else "\n").join(lines)

    def lines(self, width: int, height: int) -> list[Text]:
        """At most ``height`` lines of at most ``width`` columns."""
        width, height = max(width, _NARROWEST), max(height, _SHORTEST)
        state = self._state
        top = [self._header(width)]
        top += [Text(safe(note), "yellow") for note in state.notes]
        bottom = [Text(self._last_line, "dim")] if self._last_line else []
        room = height - len(top) - len(bottom)
        most_devices = max(1, room - 4) if len(state.devices) <= 4 else max(1, room // 2)
        devices = self._devices(width, min(most_devices, max(room, 0)))
        room -= len(devices)
        lines = [*top, *devices, *self._sections(width, room)]
        lines = lines[: height - len(bottom)]
        if bottom:
            lines += [Text()] * (height - len(bottom) - len(lines))
        lines += bottom
        for line in lines:
            line.truncate(width, overflow="ellipsis")
        return lines

    # ---- above ----

    def _header(self, width: int) -> Text:
        state = self._state
        header = Text(safe(state.title), "bold")
        style = {"running": "green", "machine": "green", "died": "red"}.get(state.status, "")
        parts: list[tuple[str, str]] = [(state.status, style)] if state.status != "machine" else []
        if state.since_ns is not None:
            parts.append((duration(max(0, state.now_ns - state.since_ns)), ""))
        if state.events_per_s is not None:
            parts.append((f"{state.events_per_s:,.0f} events/s", ""))
        if state.dropped is not None:
            parts.append((f"{state.dropped:,} dropped", "bold red" if state.dropped else ""))
        if state.events is not None and width >= _NARROW:
            parts.append((f"{state.events:,} events", ""))
        if state.processes > 1 and width >= _NARROW:
            parts.append((f"{state.processes} processes", ""))
        for text, style in parts:
            header.append("  ").append(text, style)
        return header

    def _devices(self, width: int, most: int) -> list[Text]:
        devices = self._state.devices
        shown = devices if len(devices) <= most else devices[: max(most - 1, 0)]
        label = max((len(self._name(device, width)) for device in shown), default=0)
        lines = [self._device(device, width, label) for device in shown]
        if len(shown) < len(devices):
            lines.append(Text(f"… and {len(devices) - len(shown)} more devices", "dim"))
        return lines

    def _name(self, device: DeviceMemory, width: int) -> str:
        name = safe(self._state.names.get(id(device), device.name))
        return name if width >= _NARROW else name.replace(" simulated", " sim.")[:20]

    def _device(self, device: DeviceMemory, width: int, label: int) -> Text:
        line = Text(f"{self._name(device, width):<{label}}  ")
        used, total, last = device.last_bytes, device.total_bytes, device.series.last
        if last is None or used is None or last.used_bytes is None:
            return line.append(f"unknown: {safe(device.lost or 'not read yet')}", "red")
        numbers = f"  {size(used):>9}"
        if total:
            numbers += f" of {size(total):>9}  {100 * used / total:3.0f} %"
        if device.peak_bytes is not None and width >= _NARROW:
            numbers += f"  peak {size(device.peak_bytes):>9}"
        if width >= _NARROW:
            numbers += f"  {safe('+'.join(sorted(device.sources)))}"
        cells = width - label - 2 - len(numbers)
        if total and cells >= 6:
            line.append_text(_bar(used / total, (device.peak_bytes or used) / total, cells))
        return line.append(numbers)

    # ---- below ----

    def _sections(self, width: int, room: int) -> list[Text]:
        """As many of the lists as there is room for, the most wanted first."""
        state = self._state
        wanted: list[_Section] = []
        if state.moves or state.devices:
            wanted.append(("moved last (how long ago)", lambda most: self._moves(width, most)))
        if state.work:
            untimed = f" ({state.untimed:,} without)" if state.untimed else ""
            title = f"GPU time, elapsed on stream{untimed}"
            wanted.append((title, lambda most: self._work(width, most)))
        if state.narrations:
            wanted.append(("narrations (how long ago)", self._narrations))
        wanted = wanted[: max(0, room // 3)]  # a blank, a title and one line each
        lines: list[Text] = []
        for index, (title, make) in enumerate(wanted):
            share = (room - len(lines)) // (len(wanted) - index) - 2
            lines += [Text(), Text(title, "bold"), *make(share)]
        return lines

    def _moves(self, width: int, most: int) -> list[Text]:
        if not self._state.moves:
            return [Text("  nothing has moved yet", "dim")]
        return [self._move(move, width) for move in self._state.moves[:most]]

    def _move(self, move: LiveMove, width: int) -> Text:
        line = Text(f"{self._ago(move.monotonic_ns):>9}  ")
        line.append(f"{self._name(move.device, width)}  ")
        if move.used_bytes is None or move.before_bytes is None:
            line.append("unknown", "red")
        else:
            change = move.used_bytes - move.before_bytes
            style = "yellow" if change > 0 else "green"
            line.append(f"{'+' if change > 0 else ''}{size(change)}".rjust(10), style)
            if width >= _NARROW:
                line.append(f"  to {size(move.used_bytes):>9}")
        if self._state.status != "machine":
            line.append("  ")
            line.append(safe(move.scope) if move.scope is not None else "outside all scopes")
        if move.correlation is not None and width >= _NARROW:
            line.append(f"  {safe(move.correlation)}", "dim")
        return line

    def _work(self, width: int, most: int) -> list[Text]:
        return [_work_line(work, width) for work in self._state.work[:most]]

    def _narrations(self, most: int) -> list[Text]:
        return [self._narration(event) for event in self._state.narrations[:most]]

    def _narration(self, event: Event) -> Text:
        line = Text(f"{self._ago(event.monotonic_ns):>9}  ")
        line.append(f"{event.level.name} ", _STYLES.get(event.level, "green"))
        line.append(f"{safe(event.names[0] or '?')}: {safe(sentence(event, {}, self._voice))}")
        return line

    def _ago(self, monotonic_ns: int) -> str:
        seconds = max(0, self._state.now_ns - monotonic_ns) / 1e9
        return f"{seconds:.1f} s" if seconds < 600 else f"{seconds / 60:.0f} min"


def _work_line(work: LiveWork, width: int) -> Text:
    calls = "1 call" if work.calls == 1 else f"{work.calls:,} calls"
    line = Text(f"{duration(work.elapsed_ns):>9}  ")
    line.append(f"{safe(work.name)}{'' if work.is_launch else ' (span)'}")
    line.append(f"  {calls}", "dim")
    if width >= _NARROW:
        line.append(f"  longest {duration(work.longest_ns)}", "dim")
        if work.device is not None and work.stream is not None:
            line.append(f"  gpu{work.device} stream {work.stream}", "dim")
    if work.simulated:
        line.append("  simulated", "dim")
    return line


def _bar(part: float, peak: float, cells: int) -> Text:
    """A bar of so many cells, filled to ``part``, with a mark at the peak."""
    part, peak = min(max(part, 0.0), 1.0), min(max(peak, 0.0), 1.0)
    eighths = round(part * cells * 8)
    full, rest = divmod(eighths, 8)
    filled = "█" * full + (_EIGHTHS[rest - 1] if rest else "")
    style = "red" if part >= 0.9 else "yellow" if part >= 0.75 else "green"
    text = Text(filled, style)
    empty = "░" * (cells - len(filled))
    mark = min(cells - 1, int(peak * cells)) - len(filled)
    if 0 <= mark < len(empty):
        empty = f"{empty[:mark]}│{empty[mark + 1 :]}"
    return text.append(empty, "dim")


def plain(state: LiveState, *, width: int, height: int, voice: str = "human") -> Sequence[str]:
    """The same for a file or a pipe: nothing but text, and no more lines than there is to say."""
    lines = LiveView(state, voice=voice).lines(width, height)
    return [line.plain.rstrip() for line in lines]
