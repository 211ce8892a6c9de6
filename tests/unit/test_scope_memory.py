"""What scopes with vram=True say beyond their edges: peaks, pools, and what is shared."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpu_narration import span, trace_fn
from gpu_narration._types import Kind
from gpu_narration.cuda import MockGpu
from gpu_narration.cuda.scopes import ScopeHook
from gpu_narration.cuda.session import Session
from tests.support.fake_pools import FakeTorch
from tests.support.recording import ManualClock, recorded_on_mock

GIB = 1 << 30


def _learned(directory: Path, program: Any, kind: Kind = Kind.SPAN) -> list[dict[str, Any]]:
    return recorded_on_mock(directory, program, vram=True).learned(kind)


# ---- pools ----


def test_memory_that_a_pool_keeps_is_told_apart_from_what_is_live(tmp_path: Path) -> None:
    """GIVEN 3 GiB kept and 1 GiB given back to the pool THEN only the 3 GiB are live."""

    def program(gpu: MockGpu, clock: ManualClock) -> None:
        with span("demo", "step", vram=True):
            gpu.pool().malloc(3 * GIB)
            gpu.pool().free(gpu.pool().malloc(GIB))

    [learned] = _learned(tmp_path, program)
    assert learned["vram_delta_bytes"] == 4 * GIB
    assert learned["vram_live_delta_bytes"] == 3 * GIB
    assert learned["vram_cached_delta_bytes"] == GIB
    assert learned["vram_pool"] == "mock"


def test_memory_from_the_cache_is_live_without_moving_the_device(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        gpu.pool().free(gpu.pool().malloc(GIB))
        with span("demo", "step", vram=True):
            gpu.pool().malloc(GIB)

    [learned] = _learned(tmp_path, program)
    assert learned["vram_delta_bytes"] == 0
    assert learned["vram_live_delta_bytes"] == GIB
    assert learned["vram_cached_delta_bytes"] == -GIB


def test_a_program_without_a_pool_has_no_fields_of_one(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        with span("demo", "step", vram=True):
            gpu.malloc(GIB)

    [learned] = _learned(tmp_path, program)
    assert not {"vram_live_delta_bytes", "vram_cached_delta_bytes", "vram_pool"} & set(learned)


# ---- peaks ----


def test_the_peak_of_a_pool_alone_is_exact(tmp_path: Path) -> None:
    """GIVEN memory that came and went WHEN only a pool moved THEN its peak is exact."""

    def program(gpu: MockGpu, clock: ManualClock) -> None:
        gpu.malloc(GIB)
        with span("demo", "step", vram=True):
            gpu.pool().free(gpu.pool().malloc(5 * GIB))
            gpu.pool().trim()

    [learned] = _learned(tmp_path, program)
    assert learned["vram_delta_bytes"] == 0
    assert learned["vram_peak_bytes"] == 6 * GIB
    assert learned["vram_peak_source"] == "exact"


def test_the_peak_is_sampled_where_something_beside_the_pool_moved(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        with span("demo", "step", vram=True):
            gpu.pool().malloc(2 * GIB)
            gpu.malloc(GIB)

    [learned] = _learned(tmp_path, program)
    assert learned["vram_peak_bytes"] == 3 * GIB
    assert learned["vram_peak_source"] == "sampled"


def test_a_reading_inside_counts_for_the_peak_of_the_scope_round_it(tmp_path: Path) -> None:
    """GIVEN memory that an inner scope's edge saw WHEN it is gone at the end THEN it is the peak."""

    def program(gpu: MockGpu, clock: ManualClock) -> None:
        with span("demo", "outer", vram=True):
            address = gpu.malloc(7 * GIB)
            with span("demo", "inner", vram=True):
                pass
            gpu.free(address)

    outer, _ = _learned(tmp_path, program)
    assert (outer["vram_after_bytes"], outer["vram_peak_bytes"]) == (0, 7 * GIB)


def test_a_peak_is_unknown_with_its_reason_where_nothing_samples(tmp_path: Path) -> None:
    from gpu_narration.cuda.scope_memory import ScopeMemory

    def program(gpu: MockGpu, clock: ManualClock) -> None:
        with span("demo", "step", vram=True):
            gpu.malloc(GIB)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScopeMemory, "attach", lambda self, _: self.refuse("no NVML here"))
        [learned] = _learned(tmp_path, program)

    assert learned["vram_delta_bytes"] == GIB
    assert learned["vram_peak_bytes"] is None
    assert learned["vram_peak_reason"] == "nothing reads memory between the edges: no NVML here"


# ---- nested and concurrent ----


def test_nested_scopes_share_nothing(tmp_path: Path) -> None:
    """GIVEN a scope in another one, a plain span between THEN neither speaks of the other."""

    def program(gpu: MockGpu, clock: ManualClock) -> None:
        inner = span("demo", "inner", vram=True)
        with span("demo", "outer", vram=True), span("demo", "plain"), inner:
            gpu.malloc(GIB)

    assert all("vram_shared" not in learned for learned in _learned(tmp_path, program))


def test_scopes_of_other_threads_are_counted_in_both(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        begun, done = threading.Barrier(3), threading.Event()

        def work() -> None:
            with span("demo", "worker", vram=True):
                begun.wait(10)
                done.wait(10)

        threads = [threading.Thread(target=work) for _ in range(2)]
        with span("demo", "main", vram=True):
            for thread in threads:
                thread.start()
            begun.wait(10)
            done.set()
            for thread in threads:
                thread.join()

    assert [learned["vram_shared"] for learned in _learned(tmp_path, program)] == [
        "2 scopes of other threads were open"
    ] * 3


def test_tasks_beside_each_other_say_so_though_one_thread_runs_them(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        async def work(inside: asyncio.Event, leave: asyncio.Event) -> None:
            with span("demo", "task", vram=True):
                inside.set()
                await leave.wait()

        async def main() -> None:
            first, second = asyncio.Event(), asyncio.Event()
            await asyncio.gather(work(first, second), work(second, first))

        asyncio.run(main())

    assert [learned["vram_shared"] for learned in _learned(tmp_path, program)] == [
        "1 scope of another task was open"
    ] * 2


def test_a_task_inside_a_scope_is_no_stranger_to_it(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        async def work() -> None:
            with span("demo", "task", vram=True):
                await asyncio.sleep(0)

        async def main() -> None:
            with span("demo", "main", vram=True):
                await asyncio.create_task(work())

        asyncio.run(main())

    assert all("vram_shared" not in learned for learned in _learned(tmp_path, program))


def test_the_consumer_of_a_suspended_generator_is_not_inside_it(tmp_path: Path) -> None:
    """GIVEN a generator's scope and one of its consumer, open at once THEN both say so."""

    @trace_fn(vram=True)
    def produce() -> Iterator[int]:
        yield 1

    def program(gpu: MockGpu, clock: ManualClock) -> None:
        with span("demo", "whole"):
            generator = produce()
            next(generator)
            with span("demo", "consumer", vram=True):
                pass
            list(generator)

    seen = recorded_on_mock(tmp_path, program, vram=True)
    learned = [*seen.learned(Kind.FUNCTION), seen.learned(Kind.SPAN)[1]]
    assert [each["vram_shared"] for each in learned] == ["1 scope of another task was open"] * 2


def test_scopes_on_another_device_are_none_of_its_concern(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpu_narration.cuda.mock_backend.MockGpu", lambda: MockGpu(devices=2))

    def program(gpu: MockGpu, clock: ManualClock) -> None:
        def work() -> None:
            with span("demo", "other", vram=True, stream=gpu.stream(1)):
                pass

        with span("demo", "main", vram=True):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()

    assert all("vram_shared" not in learned for learned in _learned(tmp_path, program))


def test_a_coroutine_keeps_its_memory_apart_by_its_edges(tmp_path: Path) -> None:
    def program(gpu: MockGpu, clock: ManualClock) -> None:
        @trace_fn(vram=True)
        async def load() -> None:
            gpu.malloc(GIB)
            await asyncio.sleep(0)
            gpu.malloc(GIB)

        asyncio.run(load())

    [learned] = _learned(tmp_path, program, Kind.FUNCTION)
    assert learned["vram_delta_bytes"] == 2 * GIB


# ---- who is asked ----


@pytest.mark.parametrize("initialized", [True, False])
def test_a_backend_is_chosen_once_pytorch_has_initialised_cuda(
    monkeypatch: pytest.MonkeyPatch, initialized: bool
) -> None:
    """GIVEN PyTorch in a program WHEN it uses a GPU, and not before, THEN memory is read exactly."""
    torch = FakeTorch()
    torch.initialized = initialized
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    session = Session("none", lambda: None)

    ScopeHook(session)._backend()

    assert session.chosen is initialized
