"""``cuda.range()`` to an attached tool: pushed and popped by exactly its name."""

from __future__ import annotations

import pytest

from gpu_narration._types import Kind
from gpu_narration.tracefile import Phase
from tests.support.nvtx import START, observe

MOCK = START.replace("none", "mock") + "from gpu_narration import cuda\n"


def test_a_range_is_pushed_by_its_name_and_popped(tmp_path):
    """GIVEN a range of a constant name WHEN its block runs THEN the tool can select by it."""
    seen = observe(
        tmp_path,
        """
        for _ in range(3):
            with cuda.range("prefill"):
                pass
        """,
        start=MOCK,
    )

    pushes = seen.log.of("push")
    begins = seen.events(Kind.SPAN, phase=Phase.BEGIN)
    assert [(push.domain, push.message) for push in pushes] == [("gpu_narration", "prefill")] * 3
    assert [push.payload for push in pushes] == [event.id for event in begins]
    assert (seen.log.count("pop"), seen.log.count("start")) == (3, 0)


@pytest.mark.parametrize("name", ["decode step", "layer 31"])
def test_a_name_that_is_no_identifier_is_used_from_the_first_time_on(tmp_path, name):
    seen = observe(tmp_path, f"with cuda.range({name!r}): pass", start=MOCK)

    assert seen.log.shape()[-2:] == [f"push {name}", "pop"]


def test_a_name_made_at_run_time_is_used_too(tmp_path):
    seen = observe(
        tmp_path,
        """
        for layer in range(3):
            with cuda.range(f"layer {layer}"):
                pass
        """,
        start=MOCK,
    )

    assert [push.message for push in seen.log.of("push")] == ["layer 0", "layer 1", "layer 2"]


def test_a_decorated_function_is_pushed_and_popped_at_each_call(tmp_path):
    seen = observe(
        tmp_path,
        """
        @cuda.range("step")
        def work(): pass
        work(); work()
        """,
        start=MOCK,
    )

    assert [line for line in seen.log.shape() if "step" in line or line == "pop"] == [
        "push step", "pop", "push step", "pop",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        """
        import asyncio
        async def work(n):
            with cuda.range("step"):
                for _ in range(n):
                    await asyncio.sleep(0)
        async def main():
            await asyncio.gather(work(1), work(3))
        asyncio.run(main())
        """,
        """
        import asyncio
        @cuda.range("step")
        async def work(n):
            for _ in range(n):
                await asyncio.sleep(0)
        async def main():
            await asyncio.gather(work(1), work(3))
        asyncio.run(main())
        """,
        """
        @cuda.range("step")
        def work():
            yield
        first, second = work(), work()
        next(first); next(second); first.close(); second.close()
        """,
    ],
)
def test_ranges_that_need_not_nest_are_started_and_ended(tmp_path, body):
    """GIVEN two bodies that take turns WHEN they end out of order THEN nothing was pushed."""
    seen = observe(tmp_path, body, start=MOCK)

    starts = seen.log.of("start")
    assert [start.message for start in starts] == ["step", "step"]
    assert (seen.log.count("push"), seen.log.count("pop"), seen.log.count("end")) == (0, 0, 2)


def test_waits_and_graph_launches_reach_the_tool_by_name(tmp_path):
    seen = observe(
        tmp_path,
        """
        from gpu_narration.cuda import MockKernel
        gpu = cuda.current().backend.gpu
        stream = gpu.stream()
        gpu.begin_capture(stream)
        cuda.kernel(MockKernel("k", 5))((1,), (1,), (), stream=stream)
        cuda.kernel(gpu.end_capture(stream), name="step").launch(stream)
        gpu.synchronize(stream)
        """,
        start=MOCK,
    )

    shown = [line for line in seen.log.shape() if "vram" not in line and "gpu0" not in line]
    assert [line for line in shown if line.split()[0] in ("mark", "push", "pop")][-4:] == [
        "mark k", "mark step", "push stream_synchronize", "pop",
    ]  # fmt: skip
