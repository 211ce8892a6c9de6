"""Counting the events of a trace without decoding them."""

from __future__ import annotations

import threading

import gpu_narration
from gpu_narration import correlation, span, trace_tiny
from gpu_narration.tracefile import Trace, count_events
from tests.conftest import Record
from tests.support.damage import fragments_of, segment_of


def work(count: int) -> None:
    for i in range(count):
        trace_tiny("app", "step", "", "{} {}", i, "x" * (i % 300))
        if i % 7 == 0:
            with correlation(f"job-{i}"), span("app", "part"):
                trace_tiny("app", "inside", "", "")


def test_what_is_counted_is_what_is_decoded(record: Record) -> None:
    """GIVEN threads with spans and correlations THEN both ways find as many events of each."""
    record.start()
    threads = [threading.Thread(target=work, args=(500 * n,)) for n in range(1, 4)]
    for thread in threads:
        thread.start()
    work(100)
    for thread in threads:
        thread.join()
    done = record.stop()
    decoded: dict[int, int] = {}
    for event in done.events:
        decoded[event.thread] = decoded.get(event.thread, 0) + 1
    counts = {count.thread: count for count in count_events(done.trace) if count.events}
    assert {thread: count.events for thread, count in counts.items()} == decoded
    assert all(not (count.missing or count.damaged_bytes) for count in counts.values())
    assert all(count.states > 0 for count in counts.values())


def test_a_hole_is_missing_exactly(record: Record) -> None:
    """GIVEN a destroyed chunk THEN as many records are missing as it held."""
    recorder = record.start()
    for i in range(1000):
        trace_tiny("app", "step", "", "{} {}", i, "x" * 500)
    record.stop()
    segment = segment_of(recorder.path)
    data = bytearray(segment.read_bytes())
    hole = fragments_of(segment)[3]
    data[hole : hole + 4] = bytes(4)
    segment.write_bytes(data)
    (count,) = [count for count in count_events(Trace(recorder.path)) if count.events]
    assert count.missing > 100
    assert count.events + count.missing == 1000


def test_dropped_events_are_counted_apart(record: Record) -> None:
    recorder = record.start(on_full="drop", ring_bytes=512 << 10)
    for i in range(50_000):
        trace_tiny("app", "step", "", "{}", "y" * 900)
        if i % 1000 == 0:
            gpu_narration.flush()
    recorder.stop()
    trace = Trace(recorder.path)
    (count,) = [count for count in count_events(trace) if count.events]
    dropped = recorder.stats()["dropped"]
    assert count.events + dropped == 50_000
    assert 0 <= dropped - count.dropped <= 1000  # the last ones have no chunk to be told in
    assert count.missing == 0
