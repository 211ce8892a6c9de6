"""What is in what: the parent of an event, across calls, threads and generators."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest

from gpu_narration import (
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


def test_spans_and_functions_nest_as_they_are_written(record):
    @traced
    def inner():
        mark("deep")

    @traced
    def outer():
        with span("t", "middle"):
            inner()
        mark("late")

    record.start()
    outer()
    mark("outside")
    assert parents(record.stop()) == {
        "outer": None, "middle": "outer", "inner": "middle", "deep": "inner", "late": "outer",
        "outside": None,
    }  # fmt: skip


def test_the_end_of_a_span_is_in_what_the_span_is_in(record):
    record.start()
    with span("t", "outer"), span("t", "inner"):
        pass
    recorded = record.stop()
    assert recorded.ends("inner")[0].span == recorded.begin("outer").id


def test_an_exception_leaves_all_spans_on_its_way(record):
    record.start()
    with pytest.raises(KeyError), span("t", "a"), span("t", "b"):
        raise KeyError("x")
    mark("after")
    recorded = record.stop()
    assert (parents(recorded)["after"], recorded.outcomes("a"), recorded.outcomes("b")) == (
        None, ["ERROR"], ["ERROR"],
    )  # fmt: skip


def test_threads_do_not_share_a_current_span(record):
    record.start()
    with span("t", "main"):
        in_thread(lambda: mark("other"))
        mark("same")
    assert parents(record.stop()) == {"main": None, "other": None, "same": "main"}


def test_many_threads_at_once_keep_their_own_nesting(record):
    barrier = threading.Barrier(8)

    def run(number):
        barrier.wait()
        for i in range(200):
            with span("t", f"s{number}"):
                trace_tiny("t", "inside", "{}", "", number, i)

    record.start()
    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorded = record.stop()
    names = {e.id: (e.names[1], e.thread) for e in recorded.events if e.phase.value == "begin"}
    found = [
        (names[e.span], (f"s{e.arguments[0].value}", e.thread)) for e in recorded.named("inside")
    ]
    assert (len(found), all(left == right for left, right in found)) == (1600, True)


def test_a_span_may_be_used_again(record):
    again = span("t", "again")
    record.start()
    for _ in range(3):
        with again:
            mark("inside")
    recorded = record.stop()
    begins = [event.id for event in recorded.named("again") if event.phase.value == "begin"]
    assert [event.span for event in recorded.named("inside")] == begins


def test_a_span_may_be_entered_within_itself(record):
    again = span("t", "again")
    record.start()
    with again, again:
        mark("inside")
    mark("outside")
    recorded = record.stop()
    first, second = [event for event in recorded.named("again") if event.phase.value == "begin"]
    ended = [event.span_id for event in recorded.ends("again")]
    assert (first.span, second.span, recorded.one("inside").span, ended, recorded.one("outside").span) == (
        None, first.id, second.id, [second.id, first.id], None,
    )  # fmt: skip


def test_a_span_that_is_dropped_while_open_ends_as_closed(record):
    record.start()
    span("t", "dropped").__enter__()
    mark("after")
    recorded = record.stop()
    assert (recorded.outcomes("dropped"), parents(recorded)["after"]) == (["CLOSED"], None)


@pytest.mark.parametrize("count", [2, 3, 12])
def test_spans_that_close_in_the_order_they_opened_leave_nothing_open(record, count):
    record.start()
    with ExitStack() as outside:
        spans = [span("t", f"s{i}") for i in range(count)]
        outside.enter_context(span("t", "outer"))
        for each in spans:
            each.__enter__()
        for i, each in enumerate(spans):
            each.__exit__(None, None, None)
            mark(f"after{i}")
    mark("end")
    found = parents(record.stop())
    assert (found["after0"], found[f"after{count - 1}"], found["end"]) == (
        f"s{count - 1}", "outer", None,
    )  # fmt: skip


def test_the_target_of_a_span_made_anew_is_on_its_end_too(record):
    record.start()
    for i in range(3):
        with span("t", f"act{i}", f"target{i}"):
            pass
    ends = [line for line in record.stop().lines if "completed" in line]
    assert [line.split()[1:4] for line in ends] == [
        ["t", f"act{i}", f"target{i}"] for i in range(3)
    ]


# ---- generators without a decorator, and in other threads ----


def test_a_generator_finished_in_another_thread_ends_once_and_leaves_no_trace_here(record):
    @traced
    def body():
        yield 1
        mark("second")

    record.start()
    generator = body()
    next(generator)
    in_thread(lambda: list(generator))
    mark("after")
    recorded = record.stop()
    found = parents(recorded)
    assert (found["second"], found["after"], recorded.outcomes("body")) == ("body", None, ["OK"])


def test_a_span_left_in_another_thread_is_no_longer_current_here(record):
    opened = span("t", "moved")
    record.start()
    opened.__enter__()
    in_thread(lambda: opened.__exit__(None, None, None))
    mark("after")
    recorded = record.stop()
    assert (parents(recorded)["after"], recorded.outcomes("moved")) == (None, ["OK"])


def test_a_span_in_a_plain_generator_that_is_closed_late_leaves_the_consumers_span(record):
    def body():
        with span("t", "held"):
            yield

    record.start()
    with span("t", "outer"):
        generator = body()
        next(generator)
        with span("t", "inner"):
            generator.close()
            mark("in_inner")
        mark("in_outer")
    mark("outside")
    found = parents(record.stop())
    assert (found["in_inner"], found["in_outer"], found["outside"]) == ("inner", "outer", None)
