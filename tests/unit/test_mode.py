"""What happens when the ring is full: nothing is lost uncounted, in any mode."""

from __future__ import annotations

import threading
from pathlib import Path

import gpu_narration
from gpu_narration import trace_tiny
from gpu_narration.recorder import Recorder
from gpu_narration.tracefile import Event, Notice, Trace, Trouble

RING_BYTES = 512 * 1024
PADDING = "x" * 900


def begin(path: Path, **options: object) -> Recorder:
    return gpu_narration.start(
        path, backend="none", vram=False, nvtx="off", children=False,
        **{"ring_bytes": RING_BYTES, **options},  # type: ignore[arg-type]
    )  # fmt: skip


def fill(count: int) -> None:
    for i in range(count):
        trace_tiny("app", "step", "", "{} {}", i, PADDING)


def read(path: Path) -> tuple[list[Event], list[Notice]]:
    trace = Trace(path)
    return list(trace.events()), trace.notices()


def numbers(events: list[Event]) -> list[int]:
    return [value for event in events if isinstance(value := event.arguments[0].value, int)]


# ---- on_full="drop" ----


def test_every_call_is_recorded_or_counted_as_dropped(tmp_path: Path) -> None:
    """GIVEN a ring that fills in a moment THEN recorded + dropped is the number of calls."""
    calls = 40_000
    recorder = begin(tmp_path / "t.gnt", on_full="drop")
    fill(calls)
    stats = recorder.stop()
    events, _ = read(tmp_path / "t.gnt")
    assert stats["dropped"] > 0, "the test must fill the ring"
    assert len(events) + stats["dropped"] == calls


def told_dropped(notices: list[Notice]) -> int:
    return sum(notice.count for notice in notices if notice.trouble is Trouble.DROPPED)


def test_the_trace_tells_how_many_were_dropped(tmp_path: Path) -> None:
    """GIVEN drops WHEN room came again THEN the event after them tells how many."""
    recorder = begin(tmp_path / "t.gnt", on_full="drop")
    fill(40_000)
    recorder.flush()
    trace_tiny("app", "last", "", "{}", 1)
    stats = recorder.stop()
    events, notices = read(tmp_path / "t.gnt")
    assert events[-1].names[1] == "last"
    assert told_dropped(notices) == stats["dropped"] > 0


def test_the_trace_tells_of_drops_after_which_nothing_came(tmp_path: Path) -> None:
    recorder = begin(tmp_path / "t.gnt", on_full="drop")
    fill(40_000)
    stats = recorder.stop()
    assert told_dropped(read(tmp_path / "t.gnt")[1]) == stats["dropped"] > 0


def test_drops_of_many_threads_are_counted_exactly(tmp_path: Path) -> None:
    threads = [threading.Thread(target=fill, args=(10_000,)) for _ in range(4)]
    recorder = begin(tmp_path / "t.gnt", on_full="drop")
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stats = recorder.stop()
    events, _ = read(tmp_path / "t.gnt")
    assert len(events) + stats["dropped"] == 40_000


def test_what_is_kept_stays_in_order_and_once(tmp_path: Path) -> None:
    recorder = begin(tmp_path / "t.gnt", on_full="drop")
    fill(40_000)
    recorder.stop()
    kept = numbers(read(tmp_path / "t.gnt")[0])
    assert kept == sorted(set(kept))


def test_reading_twice_counts_no_drop_twice(tmp_path: Path) -> None:
    recorder = begin(tmp_path / "t.gnt", on_full="drop")
    fill(40_000)
    recorder.flush()
    fill(1)
    recorder.stop()
    trace = Trace(tmp_path / "t.gnt")
    list(trace.events())
    once = trace.notices()
    list(trace.events())
    assert trace.notices() == once


# ---- on_full="wait" ----


def test_waiting_loses_nothing(tmp_path: Path) -> None:
    """GIVEN the same tiny ring WHEN threads wait for it THEN all their events are there."""
    recorder = begin(tmp_path / "t.gnt")
    fill(20_000)
    stats = recorder.stop()
    events, notices = read(tmp_path / "t.gnt")
    assert numbers(events) == list(range(20_000))
    assert (stats["dropped"], notices) == (0, [])


# ---- mode="flight" ----


def test_flight_keeps_the_newest_without_a_gap(tmp_path: Path) -> None:
    calls = 5_000
    recorder = begin(tmp_path / "t.gnt", mode="flight")
    fill(calls)
    recorder.stop()
    kept = numbers(read(tmp_path / "t.gnt")[0])
    assert 0 < len(kept) < calls
    assert kept == list(range(calls - len(kept), calls))


def test_flight_keeps_about_as_much_as_the_ring_holds(tmp_path: Path) -> None:
    ring_bytes = 2 * RING_BYTES
    recorder = begin(tmp_path / "t.gnt", mode="flight", ring_bytes=ring_bytes)
    fill(5_000)
    recorder.stop()
    kept = len(read(tmp_path / "t.gnt")[0]) * len(PADDING)
    assert ring_bytes // 2 < kept <= ring_bytes


def test_flight_says_how_many_are_gone(tmp_path: Path) -> None:
    """GIVEN a flight recording of one thread THEN kept and overwritten are all calls."""
    calls = 5_000
    recorder = begin(tmp_path / "t.gnt", mode="flight")
    fill(calls)
    recorder.stop()
    events, notices = read(tmp_path / "t.gnt")
    assert {notice.trouble for notice in notices} == {Trouble.OVERWRITTEN}
    assert len(events) + told_forgotten(notices) == calls


def told_forgotten(notices: list[Notice]) -> int:
    return sum(notice.count for notice in notices if notice.trouble is Trouble.OVERWRITTEN)


def test_flight_tells_of_the_events_of_threads_that_left_nothing(tmp_path: Path) -> None:
    """GIVEN threads that ended long ago THEN what they recorded is in the count all the same."""
    recorder = begin(tmp_path / "t.gnt", mode="flight")
    for _ in range(3):
        thread = threading.Thread(target=fill, args=(100,))
        thread.start()
        thread.join()
    fill(5_000)
    stats = recorder.stop()
    events, notices = read(tmp_path / "t.gnt")
    assert len(events) + told_forgotten(notices) == 5_300
    assert told_forgotten(notices) == stats["forgotten"]


def test_flight_counts_events_and_not_the_marks_between_them(tmp_path: Path) -> None:
    """GIVEN a correlation that changes with each event THEN those changes are no events."""
    recorder = begin(tmp_path / "t.gnt", mode="flight")
    for i in range(5_000):
        gpu_narration.set_correlation_id(f"request-{i % 7}")
        fill(1)
    gpu_narration.set_correlation_id(None)
    stats = recorder.stop()
    events, _ = read(tmp_path / "t.gnt")
    assert stats["records"] == 5_000
    assert len(events) + stats["forgotten"] == 5_000


def test_flight_notes_at_the_end_what_it_forgot(tmp_path: Path) -> None:
    recorder = begin(tmp_path / "t.gnt", mode="flight")
    fill(5_000)
    stats = recorder.stop()
    noted = Trace(tmp_path / "t.gnt").processes[0].note("end")
    assert noted["forgotten"] == stats["forgotten"] > 0


def test_a_stream_forgets_nothing(tmp_path: Path) -> None:
    recorder = begin(tmp_path / "t.gnt")
    fill(5_000)
    assert recorder.stop()["forgotten"] == 0


def test_flight_keeps_all_while_the_ring_is_not_full(tmp_path: Path) -> None:
    recorder = begin(tmp_path / "t.gnt", mode="flight")
    fill(50)
    recorder.stop()
    events, notices = read(tmp_path / "t.gnt")
    assert (numbers(events), notices) == (list(range(50)), [])


def test_names_survive_though_the_events_that_made_them_do_not(tmp_path: Path) -> None:
    recorder = begin(tmp_path / "t.gnt", mode="flight")
    fill(5_000)
    recorder.stop()
    assert {event.names[:2] for event in read(tmp_path / "t.gnt")[0]} == {("app", "step")}
