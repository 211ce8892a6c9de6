"""Fixtures of all tests: a recording in a temporary directory, and its events."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import gpu_narration
from gpu_narration._errors import internal_error
from gpu_narration.recorder import Recorder
from gpu_narration.tracefile import Event, Trace
from gpu_narration.views import text

# A shell without job control has what it runs in the background ignore SIGINT, and processes
# inherit that: tests of Ctrl-C would wait for what cannot come.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

#: A recording of the calls alone: no GPU, no NVML, no NVTX, no environment changed.
QUIET = {"backend": "none", "vram": False, "nvtx": "off", "children": False}


@dataclass
class Recorded:
    """What a recording holds."""

    events: list[Event]
    trace: Trace
    lines: list[str]

    def named(self, action: str) -> list[Event]:
        """The events with this action, state or function name."""
        return [event for event in self.events if action in event.names[1:3]]

    def one(self, action: str) -> Event:
        """The only event with this name."""
        (event,) = self.named(action)
        return event

    def begin(self, action: str) -> Event:
        """The beginning of the only span with this name."""
        (event,) = (event for event in self.named(action) if event.phase.value == "begin")
        return event

    def ends(self, action: str) -> list[Event]:
        """The ends of the spans with this name."""
        return [event for event in self.named(action) if event.phase.value == "end"]

    def outcomes(self, action: str) -> list[str]:
        """How the spans with this name ended."""
        return [event.outcome.name for event in self.ends(action) if event.outcome is not None]


@dataclass
class Record:
    """Starts recordings under a directory; the helper behind the fixture."""

    directory: Path
    count: int = 0
    _recorder: Recorder | None = field(default=None, repr=False)

    def start(self, **options: object) -> Recorder:
        """Begins a new recording."""
        self.count += 1
        path = self.directory / f"trace{self.count}.gnt"
        self._recorder = gpu_narration.start(path, **{**QUIET, **options})  # type: ignore[arg-type]
        return self._recorder

    def stop(self) -> Recorded:
        """Ends it; what it holds."""
        assert self._recorder is not None
        self._recorder.stop()
        trace = Trace(self._recorder.path)
        events = list(trace.events())
        assert trace.notices() == []
        lines = [text.line(event, trace.annotations(event)) for event in events]
        return Recorded(events, trace, lines)


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """Starts and stops quiet recordings in the test's own directory."""
    return Record(tmp_path)


@pytest.fixture(autouse=True)
def nothing_goes_wrong_unseen() -> Iterator[None]:
    """No failure of ours was contained, and no recording is left running."""
    internal_error.counts.clear()
    yield
    running = gpu_narration.stats() is not None
    gpu_narration.stop()
    counts = dict(internal_error.counts)
    internal_error.counts.clear()
    assert counts == {}
    assert not running, "a recording was left running"
