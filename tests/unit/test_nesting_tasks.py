"""What is in what under an event loop, and which request it belongs to."""

from __future__ import annotations

import asyncio
import contextvars
import threading

from gpu_narration import (
    correlation,
    correlation_id,
    set_correlation_id,
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


# ---- tasks ----


def run(record, main):
    record.start()
    asyncio.run(main())
    return parents(record.stop())


def test_two_tasks_that_interleave_keep_their_own_spans(record):
    async def task(name):
        with span("t", name):
            for step in range(3):
                mark(f"{name}{step}")
                await asyncio.sleep(0)
        mark(f"{name}_after")

    async def main():
        await asyncio.gather(task("a"), task("b"))

    found = run(record, main)
    assert found == {
        "a": None, "b": None, **{f"{n}{i}": n for n in "ab" for i in range(3)},
        "a_after": None, "b_after": None,
    }  # fmt: skip


def test_two_traced_coroutines_that_interleave_keep_their_own_spans(record):
    @traced
    async def leaf(name):
        mark(f"{name}_first")
        await asyncio.sleep(0)
        mark(f"{name}_second")

    @traced
    async def a():
        await leaf("a")
        mark("a_end")

    @traced
    async def b():
        await leaf("b")
        mark("b_end")

    async def main():
        with span("t", "main"):
            await asyncio.gather(a(), b())
            mark("main_end")

    record.start()
    asyncio.run(main())
    recorded = record.stop()
    begins = {e.id: e for e in recorded.events if e.phase.value == "begin"}
    chain = {e.names[1]: begins[begins[e.span].span].names[1] for e in recorded.events if e.names[1].endswith(("first", "second"))}  # fmt: skip
    found = parents(recorded)
    assert (chain, found["a"], found["b"], found["a_end"], found["b_end"], found["main_end"]) == (
        {"a_first": "a", "a_second": "a", "b_first": "b", "b_second": "b"},
        "main", "main", "a", "b", "main",
    )  # fmt: skip


def test_a_task_made_in_a_span_is_in_it_even_when_the_span_is_over(record):
    async def child():
        mark("child")
        with span("t", "child_span"):
            await asyncio.sleep(0)
            mark("child_deep")

    async def main():
        with span("t", "maker"):
            task = asyncio.create_task(child())
        mark("after")
        await task
        mark("end")

    found = run(record, main)
    assert found == {
        "maker": None, "child": "maker", "child_span": "maker", "child_deep": "child_span",
        "after": None, "end": None,
    }  # fmt: skip


def test_a_thread_of_to_thread_is_in_the_span_that_asked_for_it(record):
    async def main():
        with span("t", "asking"):
            await asyncio.to_thread(mark, "inside")
        await asyncio.to_thread(mark, "outside")

    found = run(record, main)
    assert (found["inside"], found["outside"]) == ("asking", None)


def test_a_traced_function_in_to_thread_nests_there(record):
    @traced
    def blocking():
        with span("t", "there"):
            mark("deep")

    async def main():
        with span("t", "asking"):
            await asyncio.to_thread(blocking)
            mark("back")

    found = run(record, main)
    assert (found["blocking"], found["there"], found["deep"], found["back"]) == (
        "asking", "blocking", "there", "asking",
    )  # fmt: skip


def test_a_span_round_the_loop_holds_its_tasks(record):
    async def main():
        mark("main")
        await asyncio.gather(asyncio.create_task(other()), asyncio.sleep(0))

    async def other():
        with span("t", "task"):
            await asyncio.sleep(0)
        mark("other")

    record.start()
    with span("t", "round"):
        asyncio.run(main())
        mark("after")
    assert parents(record.stop()) == {
        "round": None, "main": "round", "task": "round", "other": "round", "after": "round",
    }  # fmt: skip


def test_callbacks_of_the_loop_are_in_the_span_that_scheduled_them(record):
    async def main():
        with span("t", "scheduling"):
            asyncio.get_running_loop().call_soon(mark, "callback")
        await asyncio.sleep(0)

    assert run(record, main)["callback"] == "scheduling"


def test_spans_closed_out_of_order_in_a_task_are_closed_after_an_await_too(record):
    async def main():
        first, second = span("t", "first"), span("t", "second")
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        second.__exit__(None, None, None)
        await asyncio.sleep(0)
        mark("after")

    assert run(record, main)["after"] is None


def test_task_groups_nest_like_the_code(record):
    async def child(name):
        with span("t", name):
            await asyncio.sleep(0)
            mark(f"in_{name}")

    async def main():
        with span("t", "group"):
            async with asyncio.TaskGroup() as group:
                group.create_task(child("x"))
                group.create_task(child("y"))
        mark("after")

    found = run(record, main)
    assert (found["x"], found["y"], found["in_x"], found["in_y"], found["after"]) == (
        "group", "group", "x", "y", None,
    )  # fmt: skip


def test_two_loops_in_two_threads_do_not_meet(record):
    async def main(name):
        with span("t", name):
            for _ in range(50):
                await asyncio.sleep(0)
                mark(f"in_{name}")

    record.start()
    threads = [threading.Thread(target=lambda n=n: asyncio.run(main(n))) for n in ("x", "y")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorded = record.stop()
    x, y = recorded.begin("x").id, recorded.begin("y").id
    assert (
        {event.span for event in recorded.named("in_x")},
        {event.span for event in recorded.named("in_y")},
    ) == ({x}, {y})


# ---- correlation ----


def test_tasks_and_their_threads_inherit_the_correlation(record):
    async def task(name):
        with correlation(name):
            mark(f"{name}_task")
            await asyncio.sleep(0)
            await asyncio.to_thread(mark, f"{name}_thread")
            await asyncio.sleep(0)
            mark(f"{name}_late")
        mark(f"{name}_out")

    async def main():
        await asyncio.gather(task("r1"), task("r2"))

    record.start()
    asyncio.run(main())
    found = {event.names[1]: event.correlation for event in record.stop().events}
    assert found == {
        f"{n}_{where}": (None if where == "out" else n)
        for n in ("r1", "r2") for where in ("task", "thread", "late", "out")
    }  # fmt: skip


def test_a_correlation_within_a_correlation_ends_at_the_outer_one(record):
    record.start()
    with correlation("outer"):
        with correlation("inner"):
            mark("in")
        mark("between")
    assert [event.correlation for event in record.stop().events] == ["inner", "outer"]


def test_a_correlation_without_a_name_gets_one_of_its_own():
    with correlation() as first, correlation() as second:
        assert (correlation_id(), first != second) == (second, True)


def test_a_correlation_set_for_good_lasts_in_its_context_alone(record):
    def inside():
        set_correlation_id("kept")
        mark("inside")

    record.start()
    contextvars.copy_context().run(inside)
    mark("outside")
    found = {event.names[1]: event.correlation for event in record.stop().events}
    assert found == {"inside": "kept", "outside": None}


def test_thousands_of_correlations_are_told_apart(record):
    record.start()
    for i in range(3000):
        with correlation(f"job-{i}"):
            mark("inside")
    assert [e.correlation for e in record.stop().events] == [f"job-{i}" for i in range(3000)]


def test_a_thread_starts_without_a_correlation(record):
    record.start()
    with correlation("main"):
        in_thread(lambda: mark("other"))
    assert record.stop().events[0].correlation is None
