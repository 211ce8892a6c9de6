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
from gpu_narration.tracefile import Event, Phase, Trace
from gpu_narration.tracefile.format import Value
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
            with _inside(edges, actor, name, vram=vram):
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
    """The block: the id of its scope, and the time, for where there is no scope."""

    span_id: int | None = None
    begin_ns: int = 0
    end_ns: int = 0


@contextmanager
def _inside(edges: _Edges, actor: str, name: str, *, vram: bool) -> Iterator[None]:
    with span(actor, name, vram=vram) as scope:
        edges.span_id, edges.begin_ns = scope.id, time.monotonic_ns()
        try:
            yield
        finally:
            edges.end_ns = time.monotonic_ns()


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


def _read(captured: Captured, path: Path, edges: _Edges) -> None:
    trace = Trace(path)
    mine = [process for process in trace.processes if process.pid == os.getpid()]
    if not mine:
        return
    process = mine[-1]  # a name begins with the pid and goes on with the time
    begin_ns, end_ns = edges.begin_ns, edges.end_ns
    events = list(process.events())
    if edges.span_id is not None:
        for event in events:
            if event.id == edges.span_id:
                captured.scope, begin_ns = event, event.monotonic_ns
            if event.span_id == edges.span_id:
                end_ns = event.monotonic_ns
    captured.events = [
        event
        for event in events
        if begin_ns <= event.monotonic_ns <= end_ns
        and edges.span_id not in {event.id, event.span_id}
    ]
    told = {event.id for event in captured.events if event.phase is not Phase.END}
    told |= {event.span_id for event in captured.events if event.span_id is not None}
    if edges.span_id is not None:
        told.add(edges.span_id)
    captured._learned = {
        number: dict(learned)
        for number, learned in process.decoder.annotations.items()
        if number in told
    }
    captured.notices = [notice.text for notice in process.closing_notices()]
