"""dump(): what a flight recorder holds goes into the trace, once, and it goes on."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

import gpu_narration
from gpu_narration import OptionError, trace_tiny
from gpu_narration.flight import ExceptionHook
from gpu_narration.recorder import Recorder
from gpu_narration.tracefile import Event, Note, Trace, Trouble
from gpu_narration.views import text

RING_BYTES = 512 * 1024
PADDING = "x" * 900


def begin(path: Path, **options: object) -> Recorder:
    quiet: dict[str, object] = {
        "backend": "none", "vram": False, "nvtx": "off", "children": False, "mode": "flight",
        "ring_bytes": RING_BYTES, **options,
    }  # fmt: skip
    return gpu_narration.start(path, **quiet)  # type: ignore[arg-type]


def fill(first: int, last: int) -> None:
    for i in range(first, last):
        trace_tiny("app", "step", "", "{} {}", i, PADDING)


def events(path: Path) -> list[Event]:
    return list(Trace(path).events())


def numbers(path: Path) -> list[object]:
    return [event.arguments[0].value for event in events(path)]


def dumps(path: Path) -> list[Note]:
    return [note for note in Trace(path).processes[0].notes if note.topic == "dump"]


def in_segments(path: Path, copy: Path) -> list[object]:
    """The numbers of the events that the segments alone hold."""
    copy.mkdir()
    for file in path.iterdir():
        if file.suffix != ".ring":
            (copy / file.name).write_bytes(file.read_bytes())
    return numbers(copy)


# ---- what a dump writes ----


def test_before_a_dump_the_segments_hold_no_event(tmp_path: Path) -> None:
    recorder = begin(tmp_path / "t.gnt")
    fill(0, 10)
    recorder.flush()
    assert in_segments(recorder.path, tmp_path / "copy") == []
    recorder.stop()


def test_after_a_dump_the_segments_hold_what_the_ring_held(tmp_path: Path) -> None:
    recorder = begin(tmp_path / "t.gnt")
    fill(0, 10)
    assert recorder.dump() is True
    assert in_segments(recorder.path, tmp_path / "copy") == list(range(10))
    recorder.stop()


def test_several_dumps_write_no_event_twice_and_keep_the_order(tmp_path: Path) -> None:
    recorder = begin(tmp_path / "t.gnt")
    for first in range(0, 300, 7):
        fill(first, min(first + 7, 300))
        recorder.dump()
    recorder.stop()
    assert numbers(recorder.path) == list(range(300))


def test_recorded_is_what_the_trace_has_and_what_was_forgotten(tmp_path: Path) -> None:
    """GIVEN dumps between rounds that overfill the ring THEN the account is exact."""
    recorder = begin(tmp_path / "t.gnt")
    for round_ in range(6):
        fill(round_ * 2000, (round_ + 1) * 2000)
        recorder.dump()
    fill(12_000, 12_005)
    stats = recorder.stop()
    trace = Trace(recorder.path)
    there = len(list(trace.events()))
    assert stats["records"] == 12_005
    assert stats["forgotten"] > 0
    assert there + stats["forgotten"] == 12_005
    assert [n.count for n in trace.notices()] == [stats["forgotten"]]


def test_the_account_holds_while_threads_record_and_end(tmp_path: Path) -> None:
    recorder = begin(tmp_path / "t.gnt")
    for _ in range(4):
        threads = [threading.Thread(target=fill, args=(0, 500)) for _ in range(4)]
        for thread in threads:
            thread.start()
        recorder.dump()
        for thread in threads:
            thread.join()
    stats = recorder.stop()
    assert stats["records"] == 8000
    assert len(events(recorder.path)) + stats["forgotten"] == 8000


def test_order_is_kept_per_thread_over_dumps(tmp_path: Path) -> None:
    """GIVEN a ring that holds it all WHEN it is dumped again and again THEN no thread's order breaks."""
    recorder = begin(tmp_path / "t.gnt", ring_bytes=16 << 20)
    threads = [threading.Thread(target=fill, args=(0, 2000)) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        recorder.dump()
    for thread in threads:
        thread.join()
    recorder.stop()
    by_thread: dict[int, list[object]] = {}
    for event in events(recorder.path):
        by_thread.setdefault(event.thread, []).append(event.arguments[0].value)
    assert list(by_thread.values()) == [list(range(2000))] * 4


# ---- what a dump notes ----


def test_the_trace_notes_the_reason_and_the_counts(tmp_path: Path) -> None:
    recorder = begin(tmp_path / "t.gnt")
    fill(0, 10)
    recorder.dump("the queue is full")
    recorder.stop()
    (note,) = dumps(recorder.path)
    assert note.fields == {"reason": "the queue is full", "records": 10, "forgotten": 0}


def test_a_dump_has_its_place_in_time(tmp_path: Path) -> None:
    recorder = begin(tmp_path / "t.gnt")
    fill(0, 1)
    recorder.dump()
    fill(1, 2)
    recorder.stop()
    first, second = events(recorder.path)
    (note,) = dumps(recorder.path)
    assert first.monotonic_ns <= note.monotonic_ns <= second.monotonic_ns


def test_its_line_says_what_happened(tmp_path: Path) -> None:
    recorder = begin(tmp_path / "t.gnt")
    recorder.dump("why\nnot")
    recorder.stop()
    assert text.note_line(dumps(recorder.path)[0]) == (
        r'INFO gpu_narration dump reason="why\nnot" records=0 forgotten=0 '
        '"The flight recorder wrote out what it held"'
    )


# ---- where there is nothing to dump ----


def test_in_stream_mode_a_dump_is_a_flush(tmp_path: Path) -> None:
    recorder = begin(tmp_path / "t.gnt", mode="stream")
    fill(0, 10)
    assert recorder.dump("why") is True
    assert in_segments(recorder.path, tmp_path / "copy") == list(range(10))
    recorder.stop()
    assert dumps(recorder.path) == []


def test_where_nothing_records_a_dump_is_false() -> None:
    assert gpu_narration.dump() is False


def test_a_recorder_that_stopped_dumps_nothing_of_the_next_one(tmp_path: Path) -> None:
    first = begin(tmp_path / "a.gnt")
    first.stop()
    second = begin(tmp_path / "b.gnt")
    assert first.dump() is False
    second.stop()
    assert dumps(second.path) == []


# ---- exceptions that nobody handles ----


def fail() -> None:
    raise ValueError("boom")


def fail_in_thread() -> None:
    thread = threading.Thread(target=fail, name="worker")
    thread.start()
    thread.join()


@pytest.fixture
def quiet_threads(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What the program's own hook for threads was told."""
    told: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda arguments: told.append(arguments.exc_type))
    return told


def test_an_exception_in_a_thread_dumps_and_names_it(
    tmp_path: Path, quiet_threads: list[object]
) -> None:
    recorder = begin(tmp_path / "t.gnt")
    fail_in_thread()
    recorder.stop()
    (note,) = dumps(recorder.path)
    assert note.fields["reason"] == "unhandled ValueError in thread worker"


def test_the_programs_hook_is_told_as_well(tmp_path: Path, quiet_threads: list[object]) -> None:
    recorder = begin(tmp_path / "t.gnt")
    fail_in_thread()
    recorder.stop()
    assert quiet_threads == [ValueError]


def test_switched_off_no_exception_dumps(tmp_path: Path, quiet_threads: list[object]) -> None:
    recorder = begin(tmp_path / "t.gnt", dump_on_exception=False)
    fail_in_thread()
    recorder.stop()
    assert dumps(recorder.path) == []


def test_in_stream_mode_the_hooks_are_left_alone(tmp_path: Path) -> None:
    before = sys.excepthook, threading.excepthook
    recorder = begin(tmp_path / "t.gnt", mode="stream")
    assert (sys.excepthook, threading.excepthook) == before
    recorder.stop()


def test_a_thread_that_exits_is_no_exception(tmp_path: Path, quiet_threads: list[object]) -> None:
    recorder = begin(tmp_path / "t.gnt")
    thread = threading.Thread(target=sys.exit)
    thread.start()
    thread.join()
    recorder.stop()
    assert dumps(recorder.path) == []


def test_after_the_end_the_very_same_hooks_are_back(tmp_path: Path) -> None:
    before = sys.excepthook, threading.excepthook
    recorder = begin(tmp_path / "t.gnt")
    assert sys.excepthook is not before[0]
    recorder.stop()
    assert sys.excepthook is before[0]
    assert threading.excepthook is before[1]


def test_a_hook_that_the_program_put_over_ours_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    reasons: list[str] = []
    hook = ExceptionHook(reasons.append)
    ours, called = sys.excepthook, []

    def over(*arguments: object) -> None:
        called.append(arguments)
        ours(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(sys, "excepthook", over)
    monkeypatch.setattr(sys, "stderr", None)  # the report itself has nowhere to go
    hook.remove()
    sys.excepthook(ValueError, ValueError(), None)
    assert sys.excepthook is over
    assert (len(called), reasons) == (1, [])


# ---- options ----


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "stream", "dump_signal": "SIGUSR1"}, "needs mode='flight'"),
        ({"dump_signal": "USR1", "control_signal": "SIGUSR1"}, "are both SIGUSR1"),
        ({"dump_signal": "SIGKILL"}, "SIGKILL cannot be handled"),
        ({"control_signal": "SIGFOO"}, "control_signal='SIGFOO'"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_made(
    tmp_path: Path, options: dict[str, object], words: str
) -> None:
    with pytest.raises(OptionError) as caught:
        begin(tmp_path / "t.gnt", **options)
    assert words in str(caught.value)
    assert caught.value.next_step
    assert list(tmp_path.iterdir()) == []


def test_a_live_flight_is_read_with_what_its_ring_holds(tmp_path: Path) -> None:
    """GIVEN a flight that was dumped and goes on THEN a reader sees both parts, once."""
    recorder = begin(tmp_path / "t.gnt")
    fill(0, 5)
    recorder.dump()
    fill(5, 9)
    trace = Trace(recorder.path)
    seen = [event.arguments[0].value for event in trace.events()]
    troubles = [notice.trouble for notice in trace.notices()]
    recorder.stop()
    assert seen == list(range(9))
    assert troubles == [Trouble.RUNNING]
