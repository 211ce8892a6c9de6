"""Ranges of coroutines and async generators: start/end, closed once, however they end."""

from __future__ import annotations

import pytest

from tests.support.nvtx import observe

#: Each opens exactly as many ranges as its number says, in push/pop and start/end.
WAYS_OUT = {
    "gather interleaves coroutines": (
        0, 6,
        """
import asyncio
@trace_fn
async def work(n):
    with span("a", "inside"):
        for _ in range(n):
            await asyncio.sleep(0)
async def main():
    await asyncio.gather(work(1), work(3), work(2))
asyncio.run(main())
""",
    ),
    "a task cancelled": (
        0, 2,
        """
import asyncio
@trace_fn
async def work():
    with span("a", "inside"):
        await asyncio.sleep(60)
async def main():
    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        pass
asyncio.run(main())
""",
    ),
    "a task that times out": (
        0, 1,
        """
import asyncio
@trace_fn
async def work():
    await asyncio.sleep(60)
async def main():
    try:
        async with asyncio.timeout(0.01):
            await work()
    except TimeoutError:
        pass
asyncio.run(main())
""",
    ),
    "a coroutine never awaited": (
        0, 0,
        """
@trace_fn
async def work(): pass
work().close()
""",
    ),
    "async generator run to its end": (
        0, 1,
        """
import asyncio
@trace_fn
async def count():
    for i in range(3):
        yield i
async def main():
    assert [i async for i in count()] == [0, 1, 2]
asyncio.run(main())
""",
    ),
    "async generator left by break": (
        0, 1,
        """
import asyncio
@trace_fn
async def count():
    for i in range(3):
        yield i
async def main():
    async for i in count():
        break
asyncio.run(main())
""",
    ),
    "async generator closed": (
        0, 1,
        """
import asyncio
from contextlib import aclosing
@trace_fn
async def count():
    for i in range(3):
        yield i
async def main():
    async with aclosing(count()) as counting:
        await anext(counting)
asyncio.run(main())
""",
    ),
    "AsyncExitStack held over awaits": (
        0, 2,
        """
import asyncio, contextlib
async def work(name):
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(span("a", name))
        await asyncio.sleep(0)
async def main():
    await asyncio.gather(work("one"), work("two"))
asyncio.run(main())
""",
    ),
    "to_thread": (
        1, 1,
        """
import asyncio
@trace_fn
def block(): pass
@trace_fn
async def work():
    await asyncio.to_thread(block)
asyncio.run(work())
""",
    ),
    "stop in an open coroutine": (
        0, 2,
        """
import asyncio
@trace_fn
async def work():
    with span("a", "inside"):
        await asyncio.sleep(0)
        narration.stop()
        await asyncio.sleep(0)
asyncio.run(work())
""",
    ),
    "stop in an open async generator": (
        0, 1,
        """
import asyncio
@trace_fn
async def count():
    yield 1
    narration.stop()
    yield 2
async def main():
    async for i in count():
        pass
asyncio.run(main())
""",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("pushed", "started", "body"), WAYS_OUT.values(), ids=WAYS_OUT)
def test_each_way_out_of_a_coroutine_closes_its_range(tmp_path, pushed, started, body):
    """GIVEN a way to leave a coroutine WHEN a program takes it THEN each range was closed once."""
    seen = observe(tmp_path, body)

    assert seen.log.unbalanced() == []
    assert (seen.log.count("push"), seen.log.count("start")) == (pushed, started)


def test_plain_calls_keep_push_and_pop_under_an_event_loop(tmp_path):
    """GIVEN a coroutine that makes a plain call WHEN it runs THEN only the call is pushed.

    What attributes kernels to ranges (Nsight Compute's filter, projections in
    Nsight Systems) looks at push/pop alone, and a plain call cannot be suspended.
    """
    seen = observe(
        tmp_path,
        """
        import asyncio
        @trace_fn
        def launch(): pass
        @trace_fn
        async def serve():
            launch()
            await asyncio.sleep(0)
            launch()
        asyncio.run(serve())
        """,
    )

    assert seen.log.shape() == [
        "start serve", "push launch", "pop", "push launch", "pop", "end",
    ]  # fmt: skip


def test_a_coroutines_range_ends_with_it_and_not_at_an_await(tmp_path):
    """GIVEN two tasks that take turns WHEN the first ends last THEN so does its range."""
    seen = observe(
        tmp_path,
        """
        import asyncio
        @trace_fn
        async def slow():
            await asyncio.sleep(0.05)
        @trace_fn
        async def fast():
            await asyncio.sleep(0)
        async def main():
            await asyncio.gather(slow(), fast())
        asyncio.run(main())
        """,
    )

    started = {call.message: call.range for call in seen.log.of("start")}
    assert [call.range for call in seen.log.of("end")] == [started["fast"], started["slow"]]
