"""gpu_narration.testing.capture(): the events of a block."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

import pytest

import gpu_narration as gn
from gpu_narration import span, trace_tiny
from gpu_narration.testing import Captured, capture
from gpu_narration.tracefile import Trace
from tests.support.recording import QUIET, simulated_gpu

GIB = 1 << 30


def _actions(captured: Captured) -> list[str | None]:
    return [event.names[1] for event in captured.events]


def test_a_block_gives_its_events_and_no_others() -> None:
    trace_tiny("app", "before", "", "")
    with capture(backend="none") as captured:
        trace_tiny("app", "inside", "step_{}", "Step {}", 3)
    trace_tiny("app", "after", "", "")

    assert captured.lines() == ['TRACE app inside step_3 "Step 3"']
    assert gn.stats() is None


def test_what_was_learned_later_is_there() -> None:
    with capture(backend="mock") as captured, span("app", "load", vram=True):
        simulated_gpu().malloc(GIB)

    begin, _ = captured.named("load")
    assert captured.annotations(begin)["vram_delta_bytes"] == GIB
    assert captured.simulated


def test_the_block_itself_is_a_scope_that_looks_at_memory() -> None:
    with capture("step", actor="app", backend="mock") as captured:
        simulated_gpu().malloc(GIB)

    assert captured.scope is not None
    assert captured.scope.names[:2] == ("app", "step")
    assert captured.annotations(captured.scope)["vram_delta_bytes"] == GIB


def test_events_of_other_threads_are_in_it() -> None:
    with capture(backend="none") as captured:
        thread = threading.Thread(target=trace_tiny, args=("app", "elsewhere", "", ""))
        thread.start()
        thread.join()

    assert _actions(captured) == ["elsewhere"]


def test_a_block_that_raises_has_its_events_too() -> None:
    def block() -> None:
        with capture(backend="none") as captured:
            caught.append(captured)
            trace_tiny("app", "inside", "", "")
            raise ZeroDivisionError

    caught: list[Captured] = []
    with pytest.raises(ZeroDivisionError):
        block()
    [captured] = caught

    assert _actions(captured) == ["inside"]
    assert gn.stats() is None


def test_nothing_is_left_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with capture(backend="none"):
        trace_tiny("app", "inside", "", "")

    assert list(tmp_path.iterdir()) == []


def test_a_recording_that_runs_is_joined_and_goes_on(tmp_path: Path) -> None:
    """GIVEN a recording WHEN a block is captured THEN only its events come, and it still runs."""
    recorder = gn.start(tmp_path / "own", **{**QUIET, "backend": "mock", "vram": True})
    try:
        trace_tiny("app", "before", "", "")
        with capture() as captured, span("app", "load", vram=True):
            simulated_gpu().malloc(GIB)
        trace_tiny("app", "after", "", "")
        assert gn.stats() is not None
    finally:
        gn.stop()

    assert captured.joined
    assert [name for name in _actions(captured) if name != "state_change"] == ["load", "load"]
    assert captured.annotations(captured.named("load")[0])["vram_delta_bytes"] == GIB
    kept = [event.names[1] for event in Trace(recorder.path).events()]
    assert {"before", "capture", "load", "after"} <= set(kept)


def test_a_program_that_starts_and_stops_a_recording_inside_joins_the_blocks(
    tmp_path: Path,
) -> None:
    with capture(backend="none") as captured:
        with gn.start(tmp_path / "app"):
            trace_tiny("app", "inside", "", "")
        gn.stop()
        trace_tiny("app", "still_inside", "", "")

    assert _actions(captured) == ["inside", "still_inside"]
    assert not (tmp_path / "app.gnt").exists()


def test_a_recording_that_the_environment_asks_for_is_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPU_NARRATION_FILE", str(tmp_path / "app.gnt"))
    monkeypatch.setenv("GPU_NARRATION_BACKEND", "none")
    from gpu_narration import recorder

    with capture() as captured:
        trace_tiny("app", "inside", "", "")
    try:
        assert captured.joined
        assert _actions(captured) == ["inside"]
        assert (tmp_path / "app.gnt").is_dir()
    finally:
        running = recorder.active()
        assert running is not None
        recorder.stop_for_command(running)


def test_a_block_whose_own_scope_is_filtered_out_has_its_events_all_the_same(
    tmp_path: Path,
) -> None:
    gn.start(tmp_path / "own", **{**QUIET, "filter": "testing=off"})
    try:
        trace_tiny("app", "before", "", "")
        with capture() as captured:
            trace_tiny("app", "inside", "", "")
    finally:
        gn.stop()

    assert captured.scope is None
    assert _actions(captured) == ["inside"]
