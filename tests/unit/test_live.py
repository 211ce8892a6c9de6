"""What is kept of a running trace, and how it is laid out in so many lines and columns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.cells import cell_len

import gpu_narration
from gpu_narration import correlation, narrate, span, trace_tiny
from gpu_narration._types import Kind
from gpu_narration.cuda import MockGpu, MockKernel, kernel
from gpu_narration.timeline.live import LiveMove, LiveState, LiveTrace, LiveWork
from gpu_narration.timeline.vram_devices import Devices, names
from gpu_narration.tracefile.follow import Follower
from gpu_narration.views.live import plain
from gpu_narration.views.live_object import live_object
from tests.support.recording import QUIET, ManualClock, recorded, recorded_on_mock
from tests.support.vram import GIB, MIB, VramStory

S = 1_000_000_000


def state(devices: int = 1, moves: int = 3, work: int = 3, narrations: int = 3) -> LiveState:
    """A state with so much of everything."""
    known = Devices()
    for index in range(devices):
        device = known.of(0, index, simulated=False)
        device.read(0, {"used_bytes": 12 * GIB, "total_bytes": 16 * GIB, "source": "sampled"})
        device.read(S, {"before_bytes": 12 * GIB, "used_bytes": 8 * GIB, "total_bytes": 16 * GIB})
    listed = list(known)
    story = VramStory()
    return LiveState(
        "app.gnt", "running", 10 * S, 0, listed, names(listed),
        [LiveMove(9 * S, listed[0], GIB, 8 * GIB, f"scope{n}", f"req-{n}") for n in range(moves)],
        [LiveWork(f"kernel{n}", True, 0, 7, False, 3, 31_000, 12_000) for n in range(work)],
        [story.narrate(9 * S, f"Narration {n}") for n in range(narrations)],
        events=1234, events_per_s=56.7, dropped=0, processes=1,
    )  # fmt: skip


def shown(made: LiveState, width: int = 140, height: int = 40) -> list[str]:
    return list(plain(made, width=width, height=height))


@pytest.mark.parametrize("width", [30, 60, 80, 90, 140, 250])
@pytest.mark.parametrize("height", [6, 10, 20, 50])
@pytest.mark.parametrize("devices", [0, 1, 16])
def test_no_line_is_wider_and_no_more_lines_are_made_than_there_is_room(
    width: int, height: int, devices: int
) -> None:
    made = state(devices, 50, 50, 50) if devices else LiveState("t.gnt", "running", 0, None)
    lines = shown(made, width, height)
    assert len(lines) <= height
    assert max(cell_len(line) for line in lines) <= width


def test_a_wide_screen_has_everything() -> None:
    lines = shown(state())
    assert lines[0] == "app.gnt  running  10.00 s  57 events/s  0 dropped  1,234 events"
    assert lines[1].startswith("gpu0  █")
    assert lines[1].endswith("8.0 GiB of  16.0 GiB   50 %  peak  12.0 GiB  sampled")
    assert lines[3:5] == [
        "moved last (how long ago)", "    1.0 s  gpu0    +7.0 GiB  to   8.0 GiB  scope0  req-0"
    ]  # fmt: skip
    assert "  31.0 µs  kernel0  3 calls  longest 12.0 µs  gpu0 stream 7" in lines
    assert "    1.0 s  INFO app: Narration 0" in lines


def test_a_narrow_screen_has_the_same_without_details() -> None:
    lines = shown(state(), width=60)
    assert lines[0] == "app.gnt  running  10.00 s  57 events/s  0 dropped"
    assert lines[1].endswith("  8.0 GiB of  16.0 GiB   50 %")
    assert "    1.0 s  gpu0    +7.0 GiB  scope0" in lines
    assert "  31.0 µs  kernel0  3 calls" in lines


def test_the_bar_is_as_full_as_the_device_with_a_mark_at_its_peak() -> None:
    bar = shown(state(), width=60)[1].split()[1]
    assert bar.index("░") == round(len(bar) / 2)
    assert bar.index("│") == len(bar) * 3 // 4


def test_a_low_screen_keeps_the_memory_and_drops_the_last_lists() -> None:
    titles = (
        "moved last (how long ago)",
        "GPU time, elapsed on stream",
        "narrations (how long ago)",
    )
    for height, wanted in ((20, 3), (10, 2), (6, 1)):
        lines = shown(state(), height=height)
        assert lines[1].startswith("gpu0")
        assert [title for title in titles if title in lines] == list(titles[:wanted])


def test_sixteen_devices_leave_room_for_what_moved_them() -> None:
    lines = shown(state(devices=16), height=24)
    assert any(line.startswith("… and ") and line.endswith("more devices") for line in lines)
    assert "moved last (how long ago)" in lines


def test_dropped_events_and_a_lost_device_are_said() -> None:
    made = state()
    made.dropped = 1_234
    made.devices[0].read(2 * S, {"used_bytes": None, "reason": "GpuIsLost: gone\x1b[2J"})
    lines = shown(made)
    assert "1,234 dropped" in lines[0]
    assert lines[1] == r"gpu0  unknown: GpuIsLost: gone\x1b[2J"


def test_names_cannot_reach_the_terminal() -> None:
    made = state()
    made.title = "a\x1b[31m[red]\n"
    made.moves = [LiveMove(0, made.devices[0], 0, 1, "\x1b]0;x\x07", "\u202e")]
    text = "\n".join(shown(made))
    assert not any(character in text for character in "\x1b\x07\u202e")
    assert "[red]" in text  # no markup either


def test_the_state_is_json() -> None:
    record = json.loads(json.dumps(live_object(state())))
    assert record["devices"][0]["used_bytes"] == 8 * GIB
    assert record["moves"][0]["scope"] == "scope0"
    assert record["events_per_s"] == 56.7


# ---- following ----


def _program(gpu: MockGpu, clock: ManualClock) -> None:
    stream = gpu.stream()
    with correlation("req-1"), span("engine", "load", gpu=True, vram=True, stream=stream):
        gpu.malloc(GIB)
        for _ in range(3):
            kernel(MockKernel("saxpy", 31_000), every=1)((1,), (1,), (), stream=stream)
    narrate("engine", "ready", "", "Ready")
    clock.step(1_000_000)


def test_a_trace_comes_to_its_memory_its_work_and_its_narrations(tmp_path: Path) -> None:
    seen = recorded_on_mock(tmp_path, _program, vram=True)
    live = LiveTrace(seen.trace.path)
    live.catch_up()
    made = live.state()
    assert (made.status, made.dropped, live.ended) == ("ended", 0, True)
    assert [(device.name, device.last_bytes) for device in made.devices] == [("gpu0", GIB)]
    assert [(move.scope, move.used_bytes, move.correlation) for move in made.moves] == [
        ("load", GIB, "req-1")
    ]  # fmt: skip
    assert [(work.name, work.calls, work.elapsed_ns, work.is_launch) for work in made.work] == [
        ("engine load", 1, 93_000, False), ("saxpy", 3, 93_000, True)
    ]  # fmt: skip
    assert [event.names[3] for event in made.narrations] == ["Ready"]
    assert made.events == len(seen.events)


def test_events_of_the_last_seconds_make_the_rate(tmp_path: Path) -> None:
    """GIVEN 500 events and a look at the last of them, at once and much later."""
    seen = recorded(tmp_path, lambda: [trace_tiny("a", "b", "c", "d") for _ in range(500)])
    live = LiveTrace(seen.trace.path)
    live.catch_up()
    last_ns = seen.events[-1].monotonic_ns
    rate = live.state(now_ns=last_ns).events_per_s
    assert rate is not None
    assert rate >= 250
    assert live.state(now_ns=last_ns + 60 * S).events_per_s == 0


def test_a_trace_that_grows_is_seen_growing(tmp_path: Path) -> None:
    recorder = gpu_narration.start(tmp_path / "t", **QUIET)
    live = LiveTrace(recorder.path)
    counts = []
    for _ in range(2):
        trace_tiny("a", "b", "c", "d")
        gpu_narration.flush()
        live.catch_up()
        counts.append((live.state().events, live.state().status))
    gpu_narration.stop()
    assert counts == [(1, "running"), (2, "running")]


def test_a_large_trace_is_read_in_parts_that_come_to_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GIVEN many events with values THEN no part is the whole, and together they are."""
    monkeypatch.setattr("gpu_narration.tracefile.follow._READ_BYTES", 256 << 10)

    def program() -> None:
        for index in range(40_000):
            trace_tiny("a", "b", "target_{}", "x" * 40, index)

    seen = recorded(tmp_path, program)
    follower = Follower(seen.trace.path)
    parts = []
    while not (batch := follower.poll(most_bytes=100_000)).ended:
        parts.append(len(batch.events))
    assert sum(parts) == 40_000
    assert len([count for count in parts if count]) > 2


def test_kinds_that_are_skipped_are_counted_with_the_time_of_the_last(tmp_path: Path) -> None:
    def program() -> None:
        for _ in range(1000):
            trace_tiny("a", "b", "c", "d")
        narrate("a", "end", "", "The end")

    seen = recorded(tmp_path, program)
    batch = Follower(seen.trace.path, skip=frozenset({Kind.TINY})).poll()
    assert [event.names[1] for event in batch.events] == ["end"]
    assert sum(count for _, count in batch.skipped) == 1000
    assert batch.skipped[-1][0] == seen.events[-2].monotonic_ns


def test_reading_in_parts_loses_no_annotation(tmp_path: Path) -> None:
    seen = recorded_on_mock(tmp_path, _program, vram=True)
    follower = Follower(seen.trace.path)
    found, ended = [], False
    while not ended:
        batch = follower.poll(most_bytes=1)
        found += batch.annotated
        ended = batch.ended
    whole = {
        (process.index, event_id)
        for process in seen.trace.processes
        for event_id in process.decoder.annotations
    }
    assert set(found) == whole
    assert all(follower.forget(*key).keys() & {"gpu_ns", "vram_delta_bytes"} for key in whole)


def test_what_was_learned_is_not_kept_for_ever(tmp_path: Path) -> None:
    seen = recorded_on_mock(tmp_path, _program, vram=True)
    live = LiveTrace(seen.trace.path)
    live.catch_up()
    left = {
        event_id for tail in live._follower._tails.values() for event_id in tail.decoder.annotations
    }
    assert left == set()


def test_work_of_very_many_names_ends_in_one_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu_narration.timeline.live._ROWS", 2)

    def program(gpu: MockGpu, clock: ManualClock) -> None:
        for number in range(5):
            kernel(MockKernel(f"k{number}", 1000), every=1)((1,), (1,), ())
        clock.step(1_000_000)
        assert MIB
        del gpu

    live = LiveTrace(recorded_on_mock(tmp_path, program).trace.path)
    live.catch_up()
    assert {(work.name, work.calls) for work in live.state().work} == {
        ("k0", 1), ("k1", 1), ("(other work)", 3)
    }  # fmt: skip
