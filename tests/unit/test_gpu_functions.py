"""``@trace_fn(gpu=True)`` on every form of function: one interval, closed once, however it ends."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest

from gpu_narration import trace_fn
from gpu_narration._types import Kind
from gpu_narration.cuda import MockGpu
from tests.support.recording import ManualClock, recorded_on_mock, simulated_gpu

MS = 1_000_000


def _launch() -> None:
    simulated_gpu().launch("k", MS)


@trace_fn(actor="demo", gpu=True)
def function() -> None:
    _launch()


@trace_fn(actor="demo", gpu=True)
async def coroutine() -> None:
    _launch()
    await asyncio.sleep(0)
    _launch()


@trace_fn(actor="demo", gpu=True)
def generator() -> Any:
    _launch()
    yield 1
    _launch()
    yield 2


@trace_fn(actor="demo", gpu=True)
async def async_generator() -> Any:
    _launch()
    yield 1
    await asyncio.sleep(0)
    _launch()
    yield 2


async def _drain() -> list[int]:
    return [item async for item in async_generator()]


def _first_of_generator() -> None:
    body = generator()
    assert next(body) == 1
    body.close()


async def _first_of_async_generator() -> None:
    async with contextlib.aclosing(async_generator()) as body:
        assert await anext(body) == 1


async def _cancelled() -> None:
    task = asyncio.create_task(coroutine())
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _raised_into_generator() -> None:
    body = generator()
    next(body)
    with pytest.raises(KeyError):
        body.throw(KeyError())


WAYS = {
    "function": (function, 1),
    "coroutine": (lambda: asyncio.run(coroutine()), 2),
    "coroutine cancelled": (lambda: asyncio.run(_cancelled()), 1),
    "generator": (lambda: list(generator()), 2),
    "generator closed": (_first_of_generator, 1),
    "generator thrown into": (_raised_into_generator, 1),
    "async generator": (lambda: asyncio.run(_drain()), 2),
    "async generator closed": (lambda: asyncio.run(_first_of_async_generator()), 1),
}


@pytest.mark.parametrize("way", WAYS)
def test_it_is_timed_from_its_first_step_to_its_end(tmp_path: Path, way: str) -> None:
    run, launches = WAYS[way]

    def program(gpu: MockGpu, clock: ManualClock) -> None:
        run()
        gpu.launch("after", 9 * MS)
        clock.step(20 * MS)

    seen = recorded_on_mock(tmp_path, program)

    assert [answer["gpu_ns"] for answer in seen.learned(Kind.FUNCTION)] == [launches * MS]
    assert len(seen.ends(Kind.FUNCTION)) == 1


def test_a_generator_never_begun_has_no_interval(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        generator().close()
        clock.step(MS)

    assert recorded_on_mock(tmp_path, program).learned(Kind.FUNCTION) == []
