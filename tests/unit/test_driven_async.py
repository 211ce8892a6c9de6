"""Coroutines and async generators of traced functions: one span each, ended once."""

from __future__ import annotations

import asyncio
import gc
import inspect
import types

import pytest

from gpu_narration import span, trace_fn, trace_tiny

traced = trace_fn(actor="t")


@traced
def count(n):
    yield n


# ---- coroutines ----


@traced
async def work(seconds=0.0, error=None):
    await asyncio.sleep(seconds)
    if error is not None:
        raise error
    return 7


def test_a_coroutine_ends_with_its_result(record):
    record.start()
    assert asyncio.run(work()) == 7
    recorded = record.stop()
    assert (recorded.outcomes("work"), recorded.ends("work")[0].arguments[0].value) == (["OK"], 7)


def test_a_coroutine_that_raises_ends_with_the_error(record):
    record.start()
    with pytest.raises(KeyError):
        asyncio.run(work(error=KeyError("x")))
    assert record.stop().outcomes("work") == ["ERROR"]


def test_a_cancelled_task_ends_as_cancelled(record):
    async def main():
        task = asyncio.create_task(work(60))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    record.start()
    asyncio.run(main())
    recorded = record.stop()
    assert recorded.outcomes("work") == ["CANCELLED"]
    assert "was cancelled" in recorded.lines[-1]


def test_a_timeout_ends_the_span_as_cancelled(record):
    async def main():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(work(60), 0.01)

    record.start()
    asyncio.run(main())
    assert record.stop().outcomes("work") == ["CANCELLED"]


def test_a_coroutine_closed_half_way_ends_as_closed(record):
    record.start()
    coroutine = work(0)
    coroutine.send(None)
    coroutine.close()
    assert record.stop().outcomes("work") == ["CLOSED"]


def del_unawaited():
    work()
    gc.collect()


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_coroutine_never_awaited_has_no_span_and_its_warning(record):
    record.start()
    with pytest.warns(RuntimeWarning, match="never awaited"):
        del_unawaited()
    assert record.stop().events == []


def test_the_objects_pass_for_what_they_are():
    coroutine, generator = work(), count(1)
    answers = [
        asyncio.iscoroutine(coroutine), inspect.iscoroutine(coroutine),
        inspect.isawaitable(coroutine), inspect.isgenerator(generator),
    ]  # fmt: skip
    coroutine.close()
    assert answers == [True] * 4


def test_while_recording_the_objects_pass_for_what_they_are(record):
    record.start()
    coroutine, generator = work(), count(1)
    answers = [
        asyncio.iscoroutine(coroutine), inspect.iscoroutine(coroutine),
        inspect.isawaitable(coroutine), inspect.isgenerator(generator),
        inspect.getcoroutinestate(coroutine), inspect.getgeneratorstate(generator),
        coroutine.__name__, generator.__qualname__,
    ]  # fmt: skip
    coroutine.close()
    record.stop()
    assert answers == [True] * 4 + ["CORO_CREATED", "GEN_CREATED", "work", "count"]


@pytest.mark.parametrize("inside", ["await", "yield from"])
def test_coroutines_made_by_types_coroutine_work_and_are_traced(record, inside):
    @traced
    @types.coroutine
    def legacy():
        return (yield from work())

    async def main():
        return await legacy()

    @types.coroutine
    def from_generator():
        return (yield from legacy())

    async def main_from_generator():
        return await from_generator()

    record.start()
    got = asyncio.run(main() if inside == "await" else main_from_generator())
    recorded = record.stop()
    assert (got, recorded.outcomes("legacy"), recorded.outcomes("work")) == (7, ["OK"], ["OK"])


# ---- async generators ----


@traced
async def ticks(n):
    try:
        for i in range(n):
            await asyncio.sleep(0)
            yield i
    except ValueError:
        yield "caught"


async def take_all(generator):
    return [item async for item in generator]


async def take_one_and_close(generator):
    await anext(generator)
    await generator.aclose()


async def take_one_and_leave(generator):
    await anext(generator)


async def throw_and_go_on(generator):
    await anext(generator)
    assert await generator.athrow(ValueError("x")) == "caught"
    return await take_all(generator)


async def throw_through_it(generator):
    await anext(generator)
    with pytest.raises(KeyError):
        await generator.athrow(KeyError("x"))


async def close_unbegun(generator):
    await generator.aclose()


async def ask_too_early(generator):
    with pytest.raises(TypeError, match="just-started"):
        await generator.asend(5)
    await take_all(generator)


async def ask_twice_at_once(generator):
    first = asyncio.create_task(anext(generator))
    second = asyncio.create_task(anext(generator))
    results = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(result) for result in results] == [int, RuntimeError]
    await take_all(generator)


async def cancel_in_a_step(generator):
    async def one():
        await anext(generator)

    task = asyncio.create_task(one())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


ASYNC_TREATMENTS = {
    "all": (take_all, ["OK"]),
    "closed": (take_one_and_close, ["CLOSED"]),
    "left": (take_one_and_leave, ["CLOSED"]),
    "caught": (throw_and_go_on, ["OK"]),
    "thrown through": (throw_through_it, ["ERROR"]),
    "never begun": (close_unbegun, []),
    "too early": (ask_too_early, ["OK"]),
    "twice at once": (ask_twice_at_once, ["OK"]),
    "cancelled": (cancel_in_a_step, ["CANCELLED"]),
}


@pytest.mark.parametrize("name", ASYNC_TREATMENTS)
def test_an_async_generator_ends_its_span_once_with_how_it_ended(record, name):
    treat, outcomes = ASYNC_TREATMENTS[name]

    async def main():
        await treat(ticks(3))

    record.start()
    asyncio.run(main())
    gc.collect()
    assert record.stop().outcomes("ticks") == outcomes


def test_an_async_generator_gives_what_it_gives_untraced(record):
    record.start()
    got = asyncio.run(take_all(ticks(3)))
    record.stop()
    assert got == [0, 1, 2]


def test_the_span_of_an_async_generator_is_not_current_between_its_steps(record):
    async def main():
        async for _ in ticks(2):
            trace_tiny("t", "between", "", "")

    record.start()
    asyncio.run(main())
    assert [event.span for event in record.stop().named("between")] == [None, None]


def test_a_span_in_an_async_generator_holds_across_its_yields(record):
    @traced
    async def body():
        with span("t", "held"):
            yield
            await asyncio.sleep(0)
            trace_tiny("t", "inside", "", "")

    async def main():
        async for _ in body():
            trace_tiny("t", "between", "", "")

    record.start()
    asyncio.run(main())
    recorded = record.stop()
    assert (recorded.one("inside").span, recorded.one("between").span) == (
        recorded.begin("held").id,
        None,
    )
