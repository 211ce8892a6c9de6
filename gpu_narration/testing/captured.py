"""Recording a block and giving back the events in it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gpu_narration import recorder as recording
from gpu_narration._core import span
from gpu_narration.recorder import Recorder
from gpu_narration.tracefile import Event, Trace
from gpu_narration.tracefile.format import Value
from gpu_narration.tracefile.trace import ProcessTrace
from gpu_narration.views import text

#: How long the answers of GPU and driver are waited for, in a recording that goes on.
_PATIENCE_S = 2.0


@dataclass
class Captured:
    """What was recorded inside a block; empty until the block has ended.

    events: of this process, in the order of time, without the block's own scope.
    scope: the beginning of the block's own scope; None if a filter left it out.
    simulated: the GPU was a simulated one.
    joined: the block joined a recording that ran already, which goes on.
    notices: what is wrong with the trace, or lost.
    """

    events: list[Event] = field(default_factory=list)
    scope: Event | None = None
    simulated: bool = False
    joined: bool = False
    notices: list[str] = field(default_factory=list)
    _learned: dict[int, dict[str, Value]] = field(default_factory=dict, repr=False)

    def annotations(self, event: Event) -> dict[str, Value]:
        """What was learned of an event after it was recorded: GPU time, memory."""
        return self._learned.get(event.span_id if event.span_id is not None else event.id, {})

    def named(self, action: str) -> list[Event]:
        """The events with this action, function or target."""
        return [event for event in self.events if action in event.names[1:3]]

    def lines(self) -> list[str]:
        """The events as text, one line each."""
        return [text.line(event, self.annotations(event)) for event in self.events]


@contextmanager
def capture(
    name: str = "capture", *, actor: str = "testing", backend: str | None = None, vram: bool = True
) -> Iterator[Captured]:
    """Records the block; what it yields has the events once the block has ended.

    >>> from gpu_narration import trace_tiny
    >>> with capture(backend="mock") as captured:
    ...     trace_tiny("tokenizer", "decode", "token_{}", "Decoding token {} of {}", 5, 100)
    >>> captured.lines()
    ['TRACE tokenizer decode token_5 "Decoding token 5 of 100"']

    The block is a span ``actor name``; with ``vram`` memory is read at its edges.
    ``backend`` is as for :func:`gpu_narration.start`.  Where a recording runs already the
    block joins it, with that one's backend and filter, and leaves it running; so does the
    program where it calls ``start()`` in the block.  Else the block has a recording of
    its own, in a directory that is removed.

    Raises what :func:`gpu_narration.start` raises.
    """
    captured = Captured()
    running = recording.active()
    edges = _Edges()
    if running is not None:
        captured.joined = True
        try:
            with _inside(edges, actor, name, vram=vram, joins=running):
                yield captured
        finally:
            _read_joined(captured, running, edges)
        return
    with tempfile.TemporaryDirectory(prefix="gpu_narration-") as directory:
        own = recording.start_for_command(
            Path(directory) / "capture", overwrite=False, console=None,
            filter="", backend=backend, vram=vram, children=False,
        )  # fmt: skip
        try:
            with _inside(edges, actor, name, vram=vram):
                yield captured
        finally:
            recording.stop_for_command(own)
            captured.simulated = own.session.simulated
            _read(captured, own.path, edges)


@dataclass
class _Edges:
    """The block: the id of its scope.

    Where a filter leaves the scope out, ``before`` has the last event of each thread
    before the block.
    """

    span_id: int | None = None
    before: dict[int, int] = field(default_factory=dict)


@contextmanager
def _inside(
    edges: _Edges, actor: str, name: str, *, vram: bool, joins: Recorder | None = None
) -> Iterator[None]:
    with span(actor, name, vram=vram) as scope:
        edges.span_id = scope.id
        if scope.id is None and joins is not None:
            recording.flush()
            process = _own_process(joins.path)
            for event in () if process is None else process.events():
                edges.before[event.thread] = max(event.seq, edges.before.get(event.thread, 0))
        yield


def _read_joined(captured: Captured, running: Recorder, edges: _Edges) -> None:
    captured.simulated = running.session.simulated
    give_up = time.monotonic() + _PATIENCE_S
    while True:
        timer = running.session.timer
        answered = timer is None or not timer.pending
        recording.flush()
        _read(captured, running.path, edges)
        scope = captured.scope
        if answered and (scope is None or "vram_delta_bytes" in captured.annotations(scope)):
            return
        if time.monotonic() > give_up:
            return
        time.sleep(0.02)


def _own_process(path: Path) -> ProcessTrace | None:
    """What this process has in a trace: the last of its names, which go on with the time."""
    mine = [process for process in Trace(path).processes if process.pid == os.getpid()]
    return mine[-1] if mine else None


def _read(captured: Captured, path: Path, edges: _Edges) -> None:
    process = _own_process(path)
    if process is None:
        return
    events = list(process.events())
    if edges.span_id is None:
        captured.events = [e for e in events if e.seq > edges.before.get(e.thread, 0)]
    else:
        captured.scope, captured.events = _between(events, edges.span_id)
    told = {event.id for event in captured.events} | {edges.span_id}
    told |= {event.span_id for event in captured.events}
    captured._learned = {
        number: dict(learned)
        for number, learned in process.decoder.annotations.items()
        if number in told
    }
    captured.notices = [notice.text for notice in process.closing_notices()]


def _between(events: list[Event], span_id: int) -> tuple[Event | None, list[Event]]:
    """The beginning of a scope, and what lies between it and its end, by time."""
    begin = next((event for event in events if event.id == span_id), None)
    end = next((event for event in events if event.span_id == span_id), None)
    if begin is None:
        return None, []
    return begin, [
        event
        for event in events
        if event is not begin
        and event is not end
        and event.monotonic_ns >= begin.monotonic_ns
        and (end is None or event.monotonic_ns <= end.monotonic_ns)
    ]
