"""Captures at the same time: each has its own events, and none of another's."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import gpu_narration as gn
from gpu_narration.contexts.executors import ContextThreadPoolExecutor
from gpu_narration.testing import Captured, capture
from gpu_narration.tracefile import Trace
from tests.conftest import Record


def say(action: str) -> None:
    gn.trace_tiny("app", action, "", "")


def actions(captured: Captured) -> list[str | None]:
    return [event.names[1] for event in captured.events]


# ---- inside a block ----


def test_events_can_be_looked_at_while_the_block_runs() -> None:
    with capture(backend="none") as captured:
        assert actions(captured) == []
        say("one")
        assert actions(captured) == ["one"]
        say("two")
        assert actions(captured) == ["one", "two"]
    assert actions(captured) == ["one", "two"]


def test_what_was_learned_can_be_looked_at_too() -> None:
    with capture(backend="mock") as captured:
        with gn.span("app", "load", vram=True):
            pass
        begin, _ = captured.named("load")
        assert "vram_before_bytes" in captured.annotations(begin)


# ---- at the same time ----


def test_requests_that_overlap_are_captured_apart() -> None:
    """GIVEN 20 tasks that take turns, each captured by itself."""

    async def request(name: str) -> list[str | None]:
        with capture(backend="none", vram=False, isolated=True) as captured:
            for _ in range(3):
                say(name)
                await asyncio.sleep(0)
            await asyncio.create_task(inner(name))
            await asyncio.to_thread(say, name)
            await asyncio.get_running_loop().run_in_executor(None, say, name)
        return actions(captured)

    async def inner(name: str) -> None:
        say(name)

    async def requests() -> list[list[str | None]]:
        return await asyncio.gather(*(request(f"r{i}") for i in range(20)))

    assert asyncio.run(requests()) == [[f"r{i}"] * 6 for i in range(20)]
    assert gn.stats() is None


def test_threads_that_overlap_are_captured_apart() -> None:
    seen: dict[str, list[str | None]] = {}
    barrier = threading.Barrier(4)

    def request(name: str) -> None:
        with capture(backend="none", vram=False, isolated=True) as captured:
            barrier.wait(20)
            thread = threading.Thread(target=say, args=(name,))
            thread.start()
            thread.join()
            say(name)
            barrier.wait(20)
        seen[name] = actions(captured)

    threads = [threading.Thread(target=request, args=(f"r{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {f"r{i}": [f"r{i}"] * 2 for i in range(4)}


def test_a_pool_that_captures_share_tells_their_work_apart() -> None:
    with ThreadPoolExecutor(1) as pool, ContextThreadPoolExecutor(1) as ours:
        for name in ("first", "second"):
            with capture(backend="none", isolated=True) as captured:
                pool.submit(say, name).result()
                ours.submit(say, name).result()
            assert actions(captured) == [name, name]
        with capture(backend="none", isolated=True) as captured:
            pool.submit(say, "third").result()
        assert actions(captured) == ["third"]


def test_a_thread_of_an_earlier_block_is_not_in_a_later_one() -> None:
    go, done = threading.Event(), threading.Event()

    def late() -> None:
        go.wait(20)
        say("late")
        done.set()

    with capture(backend="none"):
        thread = threading.Thread(target=late)
        thread.start()
    with capture(backend="none") as captured:
        go.set()
        done.wait(20)
        say("own")
    thread.join()
    assert actions(captured) == ["own"]


def test_without_isolation_a_thread_of_nobodys_is_in_the_block() -> None:
    go, done = threading.Event(), threading.Event()

    def other() -> None:
        go.wait(20)
        say("other")
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with capture(backend="none") as captured, capture(backend="none", isolated=True) as isolated:
        go.set()
        done.wait(20)
    thread.join()
    assert "other" in actions(captured)
    assert actions(isolated) == []


def test_a_block_inside_a_block_is_part_of_it() -> None:
    with capture(backend="none", isolated=True) as outer:
        say("before")
        with capture(backend="none", isolated=True) as inner:
            say("inside")
    assert actions(inner) == ["inside"]
    assert [action for action in actions(outer) if action != "capture"] == ["before", "inside"]


def test_the_block_that_began_the_recording_may_end_first() -> None:
    first_has_ended, second_has_begun = threading.Event(), threading.Event()
    later: list[Captured] = []

    def second() -> None:
        with capture(backend="none", isolated=True) as captured:
            second_has_begun.set()
            first_has_ended.wait(20)
            say("later")
        later.append(captured)

    thread = threading.Thread(target=second)
    with capture(backend="none", isolated=True) as first:
        thread.start()
        second_has_begun.wait(20)
        say("first")
    first_has_ended.set()
    thread.join()
    assert gn.stats() is None
    assert "first" in actions(first)
    assert "later" not in actions(first)
    assert actions(later[0]) == ["later"]


def test_ids_that_are_set_inside_stay_in_the_block() -> None:
    with capture(backend="none", isolated=True) as captured:
        with gn.context("req-1", job_id="j"), gn.correlation("other"):
            say("one")
        gn.set_correlation_id(None)
        with gn.context.from_headers({}):
            say("two")
    assert actions(captured) == ["one", "two"]


def test_a_line_does_not_show_which_capture_it_is_of() -> None:
    with capture(backend="none") as captured, gn.context("r", job_id="j"):
        say("one")
    assert captured.lines() == ['TRACE app one job_id="j" correlation_id="r" ""']


def test_threads_get_none_of_the_blocks_other_ids() -> None:
    seen: list[gn.Ids | None] = []
    with capture(backend="none"), gn.context("r", job_id="j"):
        thread = threading.Thread(target=lambda: seen.append(gn.context.current()))
        thread.start()
        thread.join()
    (ids,) = seen
    assert ids is not None
    assert (ids.correlation_id, list(ids.fields)) == (None, ["capture_id"])


def test_nothing_stays_patched() -> None:
    before = threading.Thread.start, ThreadPoolExecutor.submit
    with capture(backend="none"), capture(backend="none"):
        assert threading.Thread.start is not before[0]
    assert (threading.Thread.start, ThreadPoolExecutor.submit) == before


def test_a_recording_that_ran_already_goes_on_with_all_of_it(record: Record) -> None:
    recorder = record.start()
    with capture(isolated=True) as captured:
        say("inside")
    assert captured.joined
    record.stop()
    assert "inside" in [event.names[1] for event in Trace(recorder.path).events()]
