"""Spans that are open while recordings begin and end, and while filters change."""

from __future__ import annotations

import asyncio
import threading

import pytest

from gpu_narration import (
    set_filter,
    span,
    trace_fn,
    trace_tiny,
)

traced = trace_fn(actor="t")


def mark(name):
    """An event to look for."""
    trace_tiny("t", name, "", "")


def parents(recorded):
    """Of each event but the ends: the name of the span it is in."""
    names = {event.id: event.names[1] for event in recorded.events if event.phase.value == "begin"}
    return {
        event.names[1]: names.get(event.span, event.span)
        for event in recorded.events
        if event.phase.value != "end"
    }


def in_thread(call):
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()


# ---- recordings that begin and end in the middle ----


def test_a_span_that_outlives_its_recording_is_not_in_the_next(record):
    record.start()
    with span("t", "old"):
        first = record.stop()
        record.start()
        mark("inside")
    mark("after")
    second = record.stop()
    assert (first.outcomes("old"), parents(second)) == ([], {"inside": None, "after": None})


def test_a_span_opened_before_the_recording_leaves_nothing_in_it(record):
    with span("t", "before"):
        record.start()
        mark("inside")
    assert parents(record.stop()) == {"inside": None}


def test_a_task_whose_span_outlives_the_recording_is_in_no_span_of_the_next(record):
    async def main():
        record.start()
        with span("t", "old"):
            await asyncio.sleep(0)
            record.stop()
            record.start()
            mark("inside")
            await asyncio.sleep(0)
            mark("later")
        mark("after")

    asyncio.run(main())
    assert parents(record.stop()) == {"inside": None, "later": None, "after": None}


def test_a_generator_that_outlives_its_recording_goes_on_unrecorded(record):
    @traced
    def body():
        for i in range(4):
            mark(f"step{i}")
            yield i

    record.start()
    generator = body()
    got = [next(generator)]
    record.stop()
    got.append(next(generator))
    record.start()
    got += generator
    assert (got, parents(record.stop())) == ([0, 1, 2, 3], {"step2": None, "step3": None})


def test_a_function_in_whose_midst_recordings_change_still_returns(record):
    @traced
    def restarting():
        record.stop()
        record.start()
        return 7

    record.start()
    assert (restarting(), record.stop().events) == (7, [])


# ---- filters that change while threads run ----


def test_threads_follow_a_filter_that_changes_and_every_begin_has_its_end(record):
    def busy():
        for _ in range(2000):
            with span("t", "work"):
                mark("inside")

    record.start()
    threads = [threading.Thread(target=busy) for _ in range(4)]
    for thread in threads:
        thread.start()
    changes = 0
    while any(thread.is_alive() for thread in threads):
        changes += 1
        set_filter("t=off" if changes % 2 else "")
    for thread in threads:
        thread.join()
    recorded = record.stop()
    begun = [event.id for event in recorded.named("work") if event.phase.value == "begin"]
    assert sorted(begun) == sorted(event.span_id for event in recorded.ends("work"))


def test_a_bad_filter_is_refused_and_the_old_one_stays(record):
    record.start(filter="t=off")
    with pytest.raises(ValueError, match="unknown level"):
        set_filter("t=loud")
    mark("kept_out")
    assert record.stop().events == []
