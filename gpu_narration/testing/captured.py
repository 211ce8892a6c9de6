"""Recording a block and giving the events in it."""

from __future__ import annotations

import itertools
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from gpu_narration import _core
from gpu_narration import recorder as recording
from gpu_narration._core import span
from gpu_narration._errors import OptionError
from gpu_narration._types import Kind
from gpu_narration.contexts import context
from gpu_narration.recorder import Recorder
from gpu_narration.testing.assertions import Assertions
from gpu_narration.testing.carried import FIELD, capture_id, carried
from gpu_narration.tracefile import Event, Trace
from gpu_narration.tracefile.format import Value
from gpu_narration.tracefile.trace import ProcessTrace
from gpu_narration.views import text

if TYPE_CHECKING:
    from gpu_narration.testing.coverage import NarrationCoverage

#: How long the answers of GPU and driver are waited for, in a recording that goes on.
_PATIENCE_S = 2.0

_numbers = itertools.count(1)


class Captured(Assertions):
    """What was recorded inside a block; inside it, what was recorded so far.

    scope: the beginning of the block's own scope; None if a filter left it out, or before
        the block has ended.
    simulated: the GPU was a simulated one.
    joined: the block joined a recording that ran already, which goes on.
    notices: what is wrong with the trace, or lost.
    """

    def __init__(self) -> None:
        self.scope: Event | None = None
        self.simulated = False
        self.joined = False
        self.notices: list[str] = []
        self._events: list[Event] = []
        self._learned: dict[int, dict[str, Value]] = {}
        self._coverage: NarrationCoverage | None = None
        #: Where snapshots lie that have no path, and whether they are to be written.
        self._snapshot: Path | None = None
        self._updates = False
        #: While the block is open: where it is recorded.
        self._open: tuple[Recorder, _Edges] | None = None

    @property
    def events(self) -> list[Event]:
        """Of this process, in the order of time, without the block's own scope."""
        if self._open is not None:
            recorder, edges = self._open
            _core.flush(10_000, True)
            _read(self, recorder.path, edges)
        return self._events

    def annotations(self, event: Event) -> dict[str, Value]:
        """What was learned of an event after it was recorded: GPU time, memory."""
        return self._learned.get(event.span_id if event.span_id is not None else event.id, {})

    def watch(self, *modules: ModuleType | str) -> NarrationCoverage:
        """Looks from now on which functions of these modules speak, until the block ends."""
        if self._coverage is None:
            from gpu_narration.testing.coverage import NarrationCoverage

            self._coverage = NarrationCoverage()
            self._coverage.start()
        for module in modules:
            self._coverage.watch(module)
        return self._coverage

    def silent(self) -> list[str]:
        """Functions of the watched modules that ran and said nothing, as ``module:name``.

        Raises OptionError where :meth:`watch` was not called.
        """
        if self._coverage is None:
            raise OptionError("no module is watched", next_step="call watch(module) first")
        return self._coverage.silent()

    def assert_snapshot(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        voice: str = "human",
        everything: bool = False,
        replace: Mapping[str, str] | None = None,
        update: bool | None = None,
    ) -> None:
        """That the narrations, as stable text, are those in a file.

        path: default, in the fixture ``narrations``, a file of the test's name beside it.
        voice: human, cute or story.
        everything: trace events as well.
        replace: regular expressions and what stands for what they find.
        update: write the file instead; default ``pytest --narrations-update``.
        """
        __tracebackhide__ = True
        from gpu_narration.testing import snapshots

        where = self._snapshot if path is None else Path(path)
        if where is None:
            raise OptionError("a snapshot needs a path here", next_step="give one")
        lines = [
            text.line(event, self.annotations(event), voice)
            for event in self.events
            if everything or event.kind is Kind.NARRATION
        ]
        snapshots.check(
            where, snapshots.stable(lines, replace),
            update=self._updates if update is None else update,
            how="run pytest with --narrations-update",
        )  # fmt: skip


@contextmanager
def capture(
    name: str = "capture",
    *,
    actor: str = "testing",
    backend: str | None = None,
    vram: bool = True,
    isolated: bool = False,
) -> Iterator[Captured]:
    """Records the block; what it yields has the events, inside the block and after it.

    >>> from gpu_narration import trace_tiny
    >>> with capture(backend="mock") as captured:
    ...     trace_tiny("tokenizer", "decode", "token_{}", "Decoding token {} of {}", 5, 100)
    >>> captured.lines()
    ['TRACE tokenizer decode token_5 "Decoding token 5 of 100"']

    The block is a span ``actor name``; with ``vram`` memory is read at its edges.
    ``backend`` is as for :func:`gpu_narration.start`.  Where a recording runs already the
    block joins it, with that one's backend and filter, and leaves it running; so does the
    program where it calls ``start()`` in the block.  Else the block has a recording of
    its own, in a directory that is removed; blocks that overlap share it.

    Events of other blocks that are captured at the same time, or were before, are left
    out, with those of the tasks and threads that these began.  With ``isolated`` so is
    all that was not begun in the block: for one request among many.

    Raises what :func:`gpu_narration.start` raises.
    """
    captured = Captured()
    outer = capture_id()
    own = f"{next(_numbers)}"
    edges = _Edges(f"{outer}/{own}" if outer else own, isolated, vram)
    with _recording(captured, backend=backend, vram=vram) as shared:
        try:
            with (
                carried(),
                context(capture_id=edges.capture_id),
                _inside(edges, actor, name, vram=vram, joins=shared.recorder),
            ):
                captured._open = shared.recorder, edges
                yield captured
        finally:
            captured._open = None
            if captured._coverage is not None:
                captured._coverage.stop()
            captured.simulated = shared.recorder.session.simulated
            if shared.ends_with_its_last():
                _read(captured, shared.recorder.path, edges)
            else:
                _read_joined(captured, shared.recorder, edges)


@dataclass
class _Edges:
    """The block: its id in the context of its events, and that of its scope.

    Where a filter leaves the scope out, ``before`` has the last event of each thread
    before the block.
    """

    capture_id: str
    isolated: bool
    vram: bool
    span_id: int | None = None
    before: dict[int, int] = field(default_factory=dict)

    def has(self, event: Event) -> bool:
        """Whether an event is of this block, by its context."""
        given = event.context.get(FIELD)
        if not isinstance(given, str):
            return not self.isolated
        return given == self.capture_id or given.startswith(f"{self.capture_id}/")


@dataclass
class _Shared:
    """A recording that blocks share: ours, or one that ran already (``directory`` is None)."""

    recorder: Recorder
    directory: tempfile.TemporaryDirectory[str] | None = None
    users: int = 0
    ended: bool = False

    def ends_with_its_last(self) -> bool:
        """Ends it if it is ours and no other block uses it; whether it has ended."""
        with _lock:
            if self.directory is not None and self.users == 1:
                self._end()
            return self.ended

    def leave(self) -> None:
        """A block has read what it wants; the last of them cleans up."""
        with _lock:
            self.users -= 1
            if self.directory is not None and not self.users:
                self._end()  # the others left while this one read
                self.directory.cleanup()

    def _end(self) -> None:
        if not self.ended:
            recording.stop_for_command(self.recorder)
            self.ended = True


_lock = threading.Lock()
_ours: _Shared | None = None


@contextmanager
def _recording(captured: Captured, *, backend: str | None, vram: bool) -> Iterator[_Shared]:
    global _ours  # noqa: PLW0603 - one recording a process
    with _lock:
        running = recording.active()
        captured.joined = running is not None
        if running is None:
            directory = tempfile.TemporaryDirectory(prefix="gpu_narration-")
            try:
                own = recording.start_for_command(
                    Path(directory.name) / "capture", overwrite=False, console=None,
                    filter="", backend=backend, vram=vram, children=False,
                )  # fmt: skip
            except BaseException:
                directory.cleanup()
                raise
            _ours = _Shared(own, directory)
        shared = _ours if _ours is not None and _ours.recorder is recording.active() else None
        if shared is None:
            assert running is not None
            shared = _Shared(running)
        shared.users += 1
    try:
        yield shared
    finally:
        shared.leave()


@contextmanager
def _inside(
    edges: _Edges, actor: str, name: str, *, vram: bool, joins: Recorder
) -> Iterator[None]:  # fmt: skip
    with span(actor, name, vram=vram) as scope:
        edges.span_id = scope.id
        if scope.id is None:
            recording.flush()
            process = _own_process(joins.path)
            for event in () if process is None else process.events():
                edges.before[event.thread] = max(event.seq, edges.before.get(event.thread, 0))
        yield


def _read_joined(captured: Captured, running: Recorder, edges: _Edges) -> None:
    give_up = time.monotonic() + _PATIENCE_S
    while True:
        timer = running.session.timer
        answered = timer is None or not timer.pending
        recording.flush()
        _read(captured, running.path, edges)
        scope = captured.scope
        if answered and (scope is None or not edges.vram or _is_read(captured, scope)):
            return
        if time.monotonic() > give_up:
            return
        time.sleep(0.02)


def _is_read(captured: Captured, scope: Event) -> bool:
    """Whether memory was read at the scope's edges, or could not be."""
    return not captured.annotations(scope).keys().isdisjoint(("vram_delta_bytes", "vram_reason"))


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
        inside = [event for event in events if event.seq > edges.before.get(event.thread, 0)]
    else:
        captured.scope, inside = _between(events, edges.span_id)
    captured._events = [event for event in inside if edges.has(event)]
    told = {event.id for event in captured._events} | {edges.span_id}
    told |= {event.span_id for event in captured._events}
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
